"""Joining: rows of many requests as one set, filled up where that is allowed, and every answer cut back to what it would have been alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tests.serving.kit import model

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.batching.joined import Joiner, Work
from aweigh.engine.batching.policy import choose_batching
from aweigh.engine.dataplane import DataPlane

RAGGED = Signature(
    inputs=(
        TensorSpec(name="ids", datatype=Datatype.INT64, shape=(BATCH, "n"), padding=-1),
        TensorSpec(name="text", datatype=Datatype.BYTES, shape=(BATCH, "n", 2), padding="[PAD]"),
        TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, "other")),
    ),
    outputs=(
        TensorSpec(name="each", datatype=Datatype.INT64, shape=(BATCH, "n")),
        TensorSpec(name="sum", datatype=Datatype.INT64, shape=(BATCH,)),
        TensorSpec(name="first", datatype=Datatype.BYTES, shape=(BATCH, 1, "n")),
    ),
)


def request(rows: int, size: int, other: int = 2, value: int = 1) -> dict[str, Tensor]:
    text = np.full((rows, size, 2), f"t{value}", dtype=object)
    return {"ids": np.full((rows, size), value), "text": text, "x": np.zeros((rows, other), np.float32)}


def masked(inputs: Tensors) -> Sequence[Tensor]:
    """What does not look at -1; answers per place and per row."""
    ids = np.asarray(inputs["ids"])
    return [ids * 2, np.where(ids < 0, 0, ids).sum(axis=1), np.asarray(inputs["text"])[:, None, :, 0]]


def work(inputs: Tensors) -> Work:
    return Work(inputs=inputs, rows=len(inputs["ids"]), done=lambda *_: None)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(0, 50)), min_size=1, max_size=6))
def test_everyone_gets_what_they_would_have_got_alone(asked: list[tuple[int, int, int]]) -> None:
    joiner = Joiner(RAGGED, padded=True)
    parts = [request(rows, size, value=value) for rows, size, value in asked]
    first = joiner.shapes(parts[0])
    assert all(joiner.fits(first, joiner.shapes(part)) for part in parts)
    whole = joiner.join(parts)
    assert {len(tensor) for tensor in whole.values()} == {sum(rows for rows, _, _ in asked)}
    assert all(whole[name].dtype == parts[0][name].dtype for name in whole)
    for part, outputs in zip(parts, joiner.cut(list(masked(whole)), map(work, parts)), strict=True):
        for mine, alone in zip(outputs, masked(part), strict=True):
            assert mine.shape == alone.shape
            assert mine.tolist() == alone.tolist()


def test_what_fills_up_is_the_declared_value() -> None:
    whole = Joiner(RAGGED, padded=True).join([request(1, 1), request(1, 3)])
    assert whole["ids"].tolist() == [[1, -1, -1], [1, 1, 1]]
    assert whole["text"][0].tolist() == [["t1", "t1"], ["[PAD]", "[PAD]"], ["[PAD]", "[PAD]"]]


@pytest.mark.parametrize(
    ("one", "other", "padded", "fits"),
    [
        ((4, 2), (4, 2), False, True),
        ((4, 2), (5, 2), False, False),
        ((4, 2), (5, 2), True, True),
        ((4, 2), (4, 3), True, False),
        ((10, 2), (36, 2), True, True),
        ((10, 2), (37, 2), True, False),
        ((1000, 2), (2016, 2), True, True),
        ((1000, 2), (2017, 2), True, False),
        ((0, 2), (0, 2), True, True),
        ((0, 2), (1, 2), True, False),
    ],
)
def test_which_sizes_run_together(one: tuple[int, int], other: tuple[int, int], padded: bool, fits: bool) -> None:
    joiner = Joiner(RAGGED, padded=padded)
    shapes = [joiner.shapes(request(1, *size)) for size in (one, other)]
    assert joiner.fits(*shapes) is joiner.fits(*reversed(shapes)) is fits


def evidence(**passed: bool) -> Evidence:
    checks = tuple(Check(name=name.replace("_", "-"), passed=value) for name, value in passed.items())
    machine = Machine(system="Linux", architecture="x86_64", processor="p", cores=2)
    return Evidence(
        passed=True,
        strength=Strength.FULL,
        data="d",
        made_at="t",
        machine=machine,
        checks=checks,
        batch_invariant=passed.get("batch_invariance", False),
    )


def test_padding_needs_evidence_of_its_own() -> None:
    assert choose_batching(RAGGED, evidence(batch_invariance=True, padding_invariance=True), Settings()).padded
    assert not choose_batching(RAGGED, evidence(batch_invariance=True, padding_invariance=False), Settings()).padded
    assert not choose_batching(RAGGED, evidence(batch_invariance=True), Settings()).padded
    assert not choose_batching(RAGGED, evidence(padding_invariance=True), Settings()).allowed


def test_a_padding_that_cannot_be_used_is_refused_at_load() -> None:
    broken = Signature(
        inputs=(TensorSpec(name="ids", datatype=Datatype.INT64, shape=(BATCH, "n"), padding="x"),), outputs=RAGGED.outputs[:1]
    )
    with pytest.raises(InvalidInput, match="cannot be padded with 'x'"):
        choose_batching(broken, evidence(batch_invariance=True, padding_invariance=True), Settings())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 60), st.integers(2, 3)), max_size=12), st.booleans())
def test_a_turn_runs_what_fits_together_and_answers_everyone(asked: list[tuple[int, int, int]], padded: bool) -> None:
    async def scene() -> None:
        made = model(masked, of=RAGGED, turn_rows=64, padded=padded)
        plane = DataPlane(Settings())
        plane.add(made)
        caller: Any = type("Caller", (), {"deadline": None, "cancelled": False, "priority": 0, "id": b"i"})()
        got: dict[int, list[list[Any]]] = {}
        for _ in range(2):  # the second turn begins as the first
            for at, (rows, size, other) in enumerate(asked):
                inputs = request(rows, size, other, value=at)
                plane.submit(
                    made, inputs, rows, caller, lambda outputs, error, at=at: got.update({at: [each.tolist() for each in outputs]})
                )
            await asyncio.sleep(0)
            assert got == {
                at: [each.tolist() for each in masked(request(rows, size, other, value=at))] for at, (rows, size, other) in enumerate(asked)
            }
            got.clear()
        done = made.statistics
        assert done.succeeded == 2 * len(asked)
        assert done.in_flight == 0
        shapes = {(size, other) for _, size, other in asked}
        assert done.executions == 2 * len(shapes) if not padded else done.executions <= 2 * len(shapes)

    asyncio.run(scene())


def test_different_sizes_in_one_turn_are_one_call_where_they_may_be_padded() -> None:
    async def scene() -> list[int]:
        found = []
        for padded in (True, False):
            made = model(masked, of=RAGGED, turn_rows=64, padded=padded)
            plane = DataPlane(Settings())
            plane.add(made)
            caller: Any = type("Caller", (), {"deadline": None, "cancelled": False, "priority": 0, "id": b"i"})()
            for size in (3, 5, 3, 8):
                plane.submit(made, request(1, size), 1, caller, lambda *_: None)
            await asyncio.sleep(0)
            found.append(made.statistics.executions)
        return found

    assert asyncio.run(scene()) == [1, 3]

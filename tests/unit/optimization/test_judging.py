"""Whether a candidate may be kept: forms of the same numbers are asked all rows too, since the golden set may hold none that they answer otherwise."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.optimization.test_trying import material, own

from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensors
from aweigh.optimization.budget import Figure, parse_budget
from aweigh.optimization.judging import Judge, Proof
from aweigh.optimization.likeness import likeness
from aweigh.optimization.material import Material, split
from aweigh.testing.fakes import FakeSession

COUNT = 300
ROWS = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)


def evidence(*, parity: bool = True) -> Evidence:
    machine = Machine(system="", architecture="", processor="", cores=1)
    checks = (Check(name="parity", passed=parity),)
    return Evidence(strength=Strength.FULL, data="", checks=checks, passed=parity, made_at="", machine=machine)


def proof(folder: Path, keep: str, spoilt: int, *, rows: Any = ROWS, by: float = -1.0, spec: str = "y") -> Proof:
    """Of a rewriting that the golden set says nothing against, and that answers so many rows otherwise."""
    bad = {row.tobytes() for row in rows[:spoilt]}

    def answer(name: str, inputs: Tensors) -> list[Any]:
        found = inputs["x"].copy()
        if name == "rewrite":
            for at, row in enumerate(inputs["x"]):
                found[at] = row * by if row.tobytes() in bad else row
        return [found if spec == "y" else np.array([f"{row.argmax()}" for row in found], dtype=object)]

    def load(variant: Variant, _files: Any) -> FakeSession:
        return FakeSession(partial(answer, variant.name))

    def measure(answers: Any, source: Any, counted: Any) -> dict[str, Figure]:
        return {metric: likeness(metric, signature, source, answers, counted) for metric in budget.metrics}

    budget = parse_budget(keep, lambda _: 1, ())
    given: Material = material(
        folder, rows={"x": rows}, split=split(len(rows)), budget=budget, load=load, measure=measure, prove=lambda *_: evidence()
    )
    signature: Signature = given.signature
    if spec != "y":
        signature = Signature(inputs=signature.inputs, outputs=(TensorSpec(name="label", datatype=Datatype.BYTES, shape=(BATCH,)),))
        given = dataclasses.replace(given, signature=signature)
    return Judge(given).prove(own(folder, "rewrite"))


@pytest.mark.parametrize("spec", ["y", "label"])
def test_what_answers_all_rows_as_the_source_does_stays_what_it_is(tmp_path: Path, spec: str) -> None:
    for keep in ("exact", "agreement >= 99%"):
        found = proof(tmp_path, keep, 0, spec=spec)
        assert found.evidence.passed
        assert not found.candidate.departs
        check = found.evidence.check("rows")
        assert check is not None
        assert (check.passed, check.figures["rows"], check.figures["answered otherwise"]) == (True, COUNT, 0)


@pytest.mark.parametrize("spec", ["y", "label"])
def test_exact_means_all_rows(tmp_path: Path, spec: str) -> None:
    found = proof(tmp_path, "exact", 1, spec=spec)
    assert (found.evidence.passed, found.candidate.departs, found.outside) == (False, False, False)
    assert found.why == f"rows failed: 1 of {COUNT} rows are answered otherwise"


def test_exact_means_within_the_tolerance_of_the_signature(tmp_path: Path) -> None:
    assert proof(tmp_path, "exact", COUNT, by=1 + 1e-5).evidence.passed
    assert not proof(tmp_path, "exact", COUNT, by=1 + 1e-3).evidence.passed


def test_a_budget_holds_for_what_should_answer_as_the_source_does(tmp_path: Path) -> None:
    found = proof(tmp_path, "agreement >= 99%", COUNT)
    assert not found.evidence.passed
    assert found.outside
    assert found.candidate.departs
    assert found.why.startswith("agreement >= 99%: found 0")


def test_what_departs_on_rows_within_the_budget_says_so(tmp_path: Path) -> None:
    found = proof(tmp_path, "agreement >= 98%", 1)
    assert found.evidence.passed
    assert found.candidate.departs
    assert found.candidate.variant.departure is not None
    assert any(f"1 of {COUNT} rows are answered otherwise" in note for note in found.candidate.notes)
    assert found.unseen[0].passed


def test_answers_that_are_no_numbers_are_the_source_s_own(tmp_path: Path) -> None:
    """Where all rows hold NaN there is no cosine of anything, not even of the source with itself."""
    rows = ROWS.copy()
    rows[:, 0] = np.nan
    for keep in ("exact", "cosine >= 99%", "agreement >= 99%"):
        found = proof(tmp_path, keep, 0, rows=rows)
        assert (found.evidence.passed, found.candidate.departs) == (True, False), keep

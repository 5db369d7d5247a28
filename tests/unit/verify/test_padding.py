"""Padding invariance on real transformers: passed where the mask hides what was filled up, failed with the reason where nothing does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.serving.models import encoder

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.padding import with_padding
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes import load_session
from aweigh.testing import FakeSession
from aweigh.verify import prove
from aweigh.verify.padding import padding_invariance

IDS, MASK = (TensorSpec(name=name, datatype=Datatype.INT64, shape=(BATCH, "sequence")) for name in ("ids", "mask"))
TOKENS = TensorSpec(name="tokens", datatype=Datatype.FP32, shape=(BATCH, "sequence", 8))
EMBEDDING = TensorSpec(name="embedding", datatype=Datatype.FP32, shape=(BATCH, 8))
VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("model.onnx",))


def proof(
    folder: Path, *, masked: bool = True, positions: int = 64, size: int = 6, outputs: Sequence[TensorSpec] = (TOKENS, EMBEDDING)
) -> Evidence:
    file = encoder(folder, masked=masked, positions=positions)
    inputs = (IDS, MASK) if masked else (IDS,)
    signature = Signature(inputs=inputs, outputs=tuple(outputs))
    random = np.random.default_rng(5)
    rows: dict[str, Tensor] = {"ids": random.integers(1, 50, (20, size))}
    if masked:
        rows["mask"] = (np.arange(size)[None] < random.integers(1, size + 1, (20, 1))).astype(np.int64)
    session = load_session(VARIANT, signature, lambda _: file)
    golden = [GoldenAnswers(name="sample", why="rows", inputs=rows, outputs=session.run(rows))]
    session.close()
    padded = with_padding(signature, dict.fromkeys(rows, 0))
    return prove(VARIANT, padded, golden, lambda _: file, strength=Strength.FULL, data="rows")


def test_a_mask_makes_padding_harmless(tmp_path: Path) -> None:
    evidence = proof(tmp_path)
    check = evidence.check("padding-invariance")
    assert check is not None
    assert (check.passed, check.note) == (True, "")
    assert check.figures["sizes"] == 4
    assert (check.figures["rows"] or 0) > 20
    assert evidence.passed
    assert evidence.batch_invariant


def test_without_a_mask_the_check_fails_and_says_where_without_gating(tmp_path: Path) -> None:
    evidence = proof(tmp_path, masked=False)
    check = evidence.check("padding-invariance")
    assert check is not None
    assert not check.passed
    assert "output 'tokens' of a row of size 6 that ran with one of size 7: a difference of" in check.note
    assert evidence.passed
    assert evidence.batch_invariant


def test_sizes_that_the_model_does_not_take_are_left_out(tmp_path: Path) -> None:
    check = proof(tmp_path, positions=6).check("padding-invariance")  # no row can be longer: shorter ones are tried
    assert check is not None
    assert (check.passed, check.figures["sizes"]) == (True, 3)


def test_a_model_of_one_size_alone_has_nothing_to_fill_up() -> None:
    def run(inputs: Tensors) -> Sequence[Tensor]:
        if inputs["x"].shape[1] != 5:
            raise InvalidInput("five")
        return [np.asarray(inputs["x"]).sum(axis=1)]

    rows = np.ones((4, 5), np.float32)
    golden = [GoldenAnswers(name="sample", why="rows", inputs={"x": rows}, outputs=list(run({"x": rows})))]
    check = padding_invariance(FakeSession(run), SUM, golden)
    assert not check.passed
    assert "rows of one size alone" in check.note


def test_an_axis_that_is_not_cut_back_is_named(tmp_path: Path) -> None:
    other = TensorSpec(name="tokens", datatype=Datatype.FP32, shape=(BATCH, "tokens_axis1", 8))
    check = proof(tmp_path, outputs=(other, EMBEDDING)).check("padding-invariance")
    assert check is not None
    assert not check.passed
    assert "axis 'tokens_axis1' is no axis of a padded input" in check.note


def test_without_declared_padding_there_is_no_such_check(tmp_path: Path) -> None:
    file = encoder(tmp_path)
    signature = Signature(inputs=(IDS, MASK), outputs=(TOKENS, EMBEDDING))
    evidence = prove(VARIANT, signature, [], lambda _: file, strength=Strength.WEAK, data="none")
    assert evidence.check("padding-invariance") is None


SUM = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, "n"), padding=0.0),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH,)),),
)


@pytest.mark.parametrize(
    ("function", "passed"),
    [
        (lambda x: x.sum(axis=1), True),
        (lambda x: x.mean(axis=1), False),
        (lambda x: x.max(axis=1), False),
        (lambda x: x[:, 0], True),
        (lambda x: x[:, -1], False),
        (lambda x: np.full(len(x), x.shape[1], np.float32), False),
        (lambda x: x.sum(axis=1)[:1], False),
    ],
    ids=["sum", "mean", "max", "first", "last", "size", "fewer-rows"],
)
def test_what_looks_at_the_padding_fails(function: Callable[[Tensor], Tensor], passed: bool) -> None:
    rows = -1 - np.random.default_rng(2).random((10, 5)).astype(np.float32)

    def run(inputs: Tensors) -> Sequence[Tensor]:
        return [np.asarray(function(inputs["x"]), dtype=np.float32)]

    golden = [GoldenAnswers(name="sample", why="rows", inputs={"x": rows}, outputs=list(run({"x": rows})))]
    check = padding_invariance(FakeSession(run), SUM, golden)
    assert check.passed is passed
    assert bool(check.note) is not passed


def test_padding_that_cannot_be_used_fails_with_the_reason() -> None:
    broken = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, "n"), padding="x"),), outputs=SUM.outputs)
    check = padding_invariance(FakeSession(lambda inputs: [inputs["x"][:, 0]]), broken, [])
    assert not check.passed
    assert "cannot be padded with 'x'" in check.note

"""Golden replay: agreement is summed up, the first difference is named with everything a person needs."""

import numpy as np
import pytest

from aweigh.core.errors import GoldenMismatch, InternalError
from aweigh.core.golden import GoldenAnswers
from aweigh.core.replay import describe_row, replay
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.testing import FakeSession

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 2)),
        TensorSpec(name="job", datatype=Datatype.BYTES, shape=("batch", 1)),
    ),
    outputs=(
        TensorSpec(name="label", datatype=Datatype.INT64, shape=("batch",), role="label"),
        TensorSpec(name="score", datatype=Datatype.FP32, shape=("batch",)),
    ),
    columns=(
        Column(name="age", kind=ColumnKind.NUMBER, input="x", index=0),
        Column(name="pay", kind=ColumnKind.NUMBER, input="x", index=1),
        Column(name="job", kind=ColumnKind.TEXT, input="job"),
    ),
)


def answers(inputs: Tensors) -> list[Tensor]:
    x = inputs["x"]
    return [(x[:, 0] > 1).astype(np.int64), x[:, 1] * np.float32(2)]


def golden() -> list[GoldenAnswers]:
    inputs: dict[str, Tensor] = {
        "x": np.array([[1, 2], [3, 4], [5, np.nan]], dtype=np.float32),
        "job": np.array([["clerk"], [None], ["x" * 100]], dtype=object),
    }
    return [GoldenAnswers(name="sample", why="rows of the sample", inputs=inputs, outputs=answers(inputs))]


def test_agreement_is_summed_up() -> None:
    seen = replay(FakeSession(lambda inputs: [answers(inputs)[0], answers(inputs)[1] + np.float32(1e-6)]), SIGNATURE, golden())
    assert (seen.cases, seen.rows) == (1, 3)
    assert 0 < seen.max_abs < 1e-5


def test_difference_names_case_row_inputs_expected_and_actual() -> None:
    def flipped(inputs: Tensors) -> list[Tensor]:
        label, score = answers(inputs)
        label = label.copy()
        label[1] = 9
        return [label, score]

    with pytest.raises(GoldenMismatch) as caught:
        replay(FakeSession(flipped), SIGNATURE, golden())
    text = str(caught.value)
    for part in ("case 'sample' (rows of the sample), row 1", "output 'label'", "expected 1, got 9", "age=3.0, pay=4.0, job=None"):
        assert part in text
    assert caught.value.context == {"case": "sample", "row": 1, "output": "label"}
    assert caught.value.hint


def test_wrong_shape_and_wrong_count() -> None:
    with pytest.raises(GoldenMismatch, match=r"shape \[3, 1\] where \[3\] was expected"):
        replay(FakeSession(lambda inputs: [answers(inputs)[0][:, None], answers(inputs)[1]]), SIGNATURE, golden())
    with pytest.raises(InternalError, match="gave 1 outputs where the signature has 2"):
        replay(FakeSession(lambda inputs: answers(inputs)[:1]), SIGNATURE, golden())


def test_long_rows_are_shortened() -> None:
    inputs = golden()[0].inputs
    assert len(describe_row(SIGNATURE, inputs, 2)) < 100
    wide = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 1000)),), outputs=SIGNATURE.outputs)
    assert describe_row(wide, {"x": np.zeros((1, 1000), np.float32)}, 0) == "x=[" + ", ".join(["0.0"] * 8) + ", …]"

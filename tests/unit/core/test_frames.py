"""Rows of named columns to tensors and back: what fits, and what is said of the rest."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.core.frames import columns_of_outputs, columns_of_rows, frame_columns, rows_of_columns, tensors_of_columns
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype

D, K = Datatype, ColumnKind
MIXED = Signature(
    inputs=(
        TensorSpec(name="numbers", datatype=D.FP32, shape=(BATCH, 2)),
        TensorSpec(name="job", datatype=D.BYTES, shape=(BATCH, 1)),
        TensorSpec(name="count", datatype=D.INT8, shape=(BATCH,)),
        TensorSpec(name="flag", datatype=D.BOOL, shape=(BATCH,)),
    ),
    outputs=(),
    columns=(
        Column(name="age", kind=K.NUMBER, input="numbers", index=0),
        Column(name="pay", kind=K.NUMBER, input="numbers", index=1, nullable=True),
        Column(name="job", kind=K.CATEGORY, input="job", categories=("nurse", "cook"), nullable=True),
        Column(name="count", kind=K.INTEGER, input="count"),
        Column(name="flag", kind=K.BOOLEAN, input="flag"),
    ),
)
ROW = {"age": 41, "pay": 2.5, "job": "nurse", "count": 3, "flag": True}


def tensors(*rows: dict[str, object]) -> dict[str, np.ndarray]:
    return tensors_of_columns(columns_of_rows(rows, MIXED), MIXED)  # type: ignore[return-value]


def test_columns_go_where_they_belong() -> None:
    found = tensors(ROW, {**ROW, "pay": None, "job": None, "count": 4.0, "flag": np.bool_(False)})
    assert found["numbers"][0].tolist() == [41.0, 2.5]
    assert math.isnan(found["numbers"][1, 1])
    assert found["job"].tolist() == [["nurse"], [None]]
    assert (found["count"].tolist(), found["count"].dtype) == ([3, 4], np.int8)
    assert found["flag"].tolist() == [True, False]
    assert [tensor.shape[0] for tensor in tensors().values()] == [0, 0, 0, 0]


def test_columns_that_may_be_missing_may_be_left_out() -> None:
    found = tensors({name: value for name, value in ROW.items() if name not in {"pay", "job"}})
    assert math.isnan(found["numbers"][0, 1])
    assert found["job"].tolist() == [[None]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": None}, "column 'age', row 1: got null, expected a number"), ({"age": "41"}, "got '41', expected a number"),
        ({"age": True}, "got True"), ({"age": [1]}, "got [1]"), ({"age": 10**400}, "expected a number"), ({"age": 1e39}, "1e+39 does not fit FP32"),
        ({"job": 7}, "got 7, expected a text (known values: nurse, cook)"), ({"job": "\ud800"}, "lone surrogate"),
        ({"count": 1.5}, "expected a whole number"), ({"count": math.inf}, "expected a whole number"), ({"count": 300}, "row 1: 300 does not fit INT8"),
        ({"count": None}, "got null"), ({"count": True}, "got True"), ({"flag": 1}, "expected true or false"), ({"flag": None}, "got null"),
        ({"agee": 1}, "row 1: unexpected column 'agee'"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_said_with_column_and_row(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tensors(ROW, {**ROW, **change})
    assert said in caught.value.message


def test_missing_columns_and_uneven_ones() -> None:
    with pytest.raises(InvalidInput, match="row 0: column 'age' is missing"):
        tensors({name: value for name, value in ROW.items() if name != "age"})
    with pytest.raises(InvalidInput, match="not an object"):
        columns_of_rows([[1]], MIXED)  # type: ignore[list-item]
    columns = columns_of_rows([ROW, ROW], MIXED)
    with pytest.raises(InvalidInput, match="column 'pay' has 1 values, other columns 2"):
        tensors_of_columns({**columns, "pay": [1]}, MIXED)
    with pytest.raises(InvalidInput, match="the frame: unexpected column 'x'"):
        tensors_of_columns({**columns, "x": [1, 2]}, MIXED)


def test_infinities_and_arrays_are_taken_as_they_are() -> None:
    columns = columns_of_rows([{**ROW, "age": math.inf}], MIXED)
    assert tensors_of_columns(columns, MIXED)["numbers"][0, 0] == math.inf
    ready = {**columns, "count": np.array([5], dtype=np.int8)}
    assert tensors_of_columns(ready, MIXED)["count"].tolist() == [5]


def test_inputs_that_are_columns_need_none_declared_and_others_have_none() -> None:
    def of(*specs: tuple[str, Datatype, tuple[int | str, ...]]) -> Signature:
        return Signature(inputs=tuple(TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in specs), outputs=())

    found = frame_columns(of(("a", D.FP32, (BATCH,)), ("b", D.BYTES, (BATCH, 1)), ("c", D.BOOL, (BATCH,)), ("d", D.INT8, (BATCH, 1))))
    assert [(column.name, column.kind) for column in found] == [("a", K.NUMBER), ("b", K.TEXT), ("c", K.BOOLEAN), ("d", K.INTEGER)]
    with pytest.raises(Unsupported, match="takes tensors"):
        frame_columns(of(("image", D.FP32, (BATCH, 3, 8, 8))))


def output(role: str, datatype: Datatype, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=role or "own", datatype=datatype, shape=(BATCH, *shape), role=role)


def test_outputs_become_columns_by_their_role() -> None:
    classifier = Signature(inputs=(), outputs=(output("label", D.BYTES), output("probability", D.FP32, 2)), labels=("no", "yes"))
    label = np.array(["yes", b"no"], dtype=object)
    found = columns_of_outputs(classifier, [label, np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)])
    assert rows_of_columns(found) == [
        {"label": "yes", "probability_no": 0.25, "probability_yes": 0.75},
        {"label": "no", "probability_no": 1.0, "probability_yes": 0.0},
    ]
    regressor = Signature(inputs=(), outputs=(output("prediction", D.FP64, 1),))
    assert columns_of_outputs(regressor, [np.array([[1.5], [2.5]])]) == {"prediction": [1.5, 2.5]}
    several = Signature(inputs=(), outputs=(output("prediction", D.FP64, 2),))
    assert columns_of_outputs(several, [np.array([[1.0, 2.0]])]) == {"prediction_0": [1.0], "prediction_1": [2.0]}
    other = Signature(inputs=(), outputs=(output("", D.FP64, 2), TensorSpec(name="total", datatype=D.FP64, shape=())))
    assert columns_of_outputs(other, [np.array([[1.0, 2.0]]), np.array(3.0)]) == {"own": [[1.0, 2.0]], "total": [3.0]}


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
names = st.sampled_from([*ROW, "x", ""])


@given(st.lists(st.dictionaries(names, values, max_size=6) | values, max_size=3))
def test_any_rows_are_tensors_or_an_error_of_ours(rows: list[object]) -> None:
    try:
        made = tensors_of_columns(columns_of_rows(rows, MIXED), MIXED)  # type: ignore[arg-type]
    except AweighError:
        return
    MIXED.check(made)

import numpy as np
import pytest

from aweigh.client.frames import predictions_of, rows_of, tensors_of
from aweigh.client.values import InferResult, ModelMetadata, TensorMetadata
from aweigh.core.errors import InvalidInput, Unsupported


def model(**inputs: tuple[str, tuple[int, ...]]) -> ModelMetadata:
    return ModelMetadata(
        name="m", inputs=tuple(TensorMetadata(name=name, datatype=kind, shape=shape) for name, (kind, shape) in inputs.items())
    )


def test_one_tensor_per_column() -> None:
    spec = model(a=("FP32", (-1, 1)), n=("INT64", (-1,)), t=("BYTES", (-1, 1)), b=("BOOL", (-1,)))
    made = tensors_of([{"a": 1, "n": 2, "t": "x", "b": True}, {"t": "y", "a": None, "n": 3.0, "b": False}], spec)
    np.testing.assert_array_equal(made["a"], np.array([[1], [np.nan]], dtype=np.float32))
    assert made["n"].tolist() == [2, 3]
    assert made["n"].dtype == np.int64
    assert made["t"].tolist() == [["x"], ["y"]]
    assert made["b"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "'n' is missing"),
        ({"n": 1, "z": 2}, "unexpected column 'z'"),
        ({"n": None}, "missing a value"),
        ({"n": 1.5}, "'n' holds"),
        ({"n": "x"}, "'n' holds"),
        ({"n": 2**70}, "'n' holds"),
    ],
)
def test_wrong_cells_name_the_column(row: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        tensors_of([row], model(n=("INT64", (-1,))))


def test_inputs_that_are_no_columns() -> None:
    with pytest.raises(Unsupported, match="shape"):
        tensors_of([{"X": 1}], model(X=("FP32", (-1, 4))))
    with pytest.raises(InvalidInput, match="no rows"):
        tensors_of([], model(n=("INT64", (-1,))))


@pytest.mark.parametrize("data", [{"a": 1}, 3, "text", [1, 2]])
def test_what_rows_are_not(data: object) -> None:
    with pytest.raises(InvalidInput):
        rows_of(data)


def test_predictions_take_one_column_per_value() -> None:
    result = InferResult(tensors={"label": np.array([3, 4]), "p": np.array([[0.1, 0.9], [0.2, 0.8]])}, model_name="m")
    assert predictions_of(result, 2) == [{"label": 3, "p_0": 0.1, "p_1": 0.9}, {"label": 4, "p_0": 0.2, "p_1": 0.8}]
    with pytest.raises(Unsupported, match="'label'"):
        predictions_of(result, 3)

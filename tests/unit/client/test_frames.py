import numpy as np
import pytest

from aweigh.client.frames import predictions_of, rows_of, signature_of, tensors_of
from aweigh.client.values import InferResult, ModelMetadata, TensorMetadata
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.signature import Signature


def model(**inputs: tuple[str, tuple[int, ...]]) -> Signature:
    specs = tuple(TensorMetadata(name=name, datatype=kind, shape=shape) for name, (kind, shape) in inputs.items())
    return signature_of(ModelMetadata(name="m", inputs=specs))


def test_one_tensor_per_column() -> None:
    spec = model(a=("FP32", (-1, 1)), n=("INT64", (-1,)), t=("BYTES", (-1, 1)), b=("BOOL", (-1,)))
    made = tensors_of([{"a": 1, "n": 2, "t": "x", "b": True}, {"t": "y", "a": None, "n": 3.0, "b": False}], spec)
    np.testing.assert_array_equal(made["a"], np.array([[1], [np.nan]], dtype=np.float32))
    assert made["n"].tolist() == [2, 3]
    assert made["n"].dtype == np.int64
    assert made["t"].tolist() == [["x"], ["y"]]
    assert made["b"].tolist() == [True, False]


@pytest.mark.parametrize("row", [{}, {"n": 1, "z": 2}, {"n": None}, {"n": 1.5}, {"n": "x"}, {"n": 2**70}])
def test_wrong_cells_name_the_column_and_the_way_out(row: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"'[nz]'") as caught:
        tensors_of([row], model(n=("INT64", (-1,))))
    assert "REST" in caught.value.hint


def test_inputs_that_are_no_columns() -> None:
    with pytest.raises(Unsupported, match="X"):
        tensors_of([{"X": 1}], model(X=("FP32", (-1, -1, 4))))
    with pytest.raises(Unsupported, match="FP8"):
        model(n=("FP8", (-1,)))
    with pytest.raises(InvalidInput, match="no rows"):
        tensors_of([], model(n=("INT64", (-1,))))


@pytest.mark.parametrize("data", [{"a": 1}, 3, "text", [1, 2]])
def test_what_rows_are_not(data: object) -> None:
    with pytest.raises(InvalidInput):
        rows_of(data)


def test_one_answer_per_row() -> None:
    result = InferResult(tensors={"label": np.array([[3], [4]]), "p": np.array([[0.1, 0.9], [0.2, 0.8]])}, model_name="m")
    assert predictions_of(result, 2) == [{"label": 3, "p": [0.1, 0.9]}, {"label": 4, "p": [0.2, 0.8]}]
    with pytest.raises(Unsupported, match="'label'"):
        predictions_of(result, 3)

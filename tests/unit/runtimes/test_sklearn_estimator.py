"""Tensors become what the estimator was trained on, and its answers become tensors again."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.runtimes.sklearn_estimator import answer, as_tensor, to_frame_or_matrix


def spec(name: str, datatype: Datatype, *tail: int, role: str = "") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=("batch", *tail), role=role)


def objects(*values: object) -> Tensor:
    return np.array([[value] for value in values], dtype=object)


def signature(*columns: tuple[str, Datatype, ColumnKind, tuple[str, ...]]) -> Signature:
    return Signature(
        inputs=tuple(spec(name, datatype, 1) for name, datatype, _, _ in columns),
        outputs=(spec("y", Datatype.FP64),),
        columns=tuple(Column(name=name, kind=kind, input=name, categories=found) for name, _, kind, found in columns),
    )


def test_frame_gets_its_dtypes_missing_values_and_categories_back() -> None:
    told = signature(
        ("text", Datatype.BYTES, ColumnKind.TEXT, ()),
        ("none", Datatype.BYTES, ColumnKind.TEXT, ()),
        ("size", Datatype.BYTES, ColumnKind.CATEGORY, ("s", "m")),
        ("grade", Datatype.INT64, ColumnKind.CATEGORY, ("3", "1")),
        ("age", Datatype.FP32, ColumnKind.NUMBER, ()),
        ("count", Datatype.FP64, ColumnKind.INTEGER, ()),
        ("flag", Datatype.BOOL, ColumnKind.BOOLEAN, ()),
    )
    tensors = {
        "text": objects("a", None, b"\xc3\xa9"),
        "none": objects("a", None, "c"),
        "size": objects("m", "unseen", None),
        "grade": np.array([[1], [3], [9]]),
        "age": np.array([[1.5], [np.nan], [3]], dtype=np.float32),
        "count": np.array([[1.0], [2.0], [3.0]]),
        "flag": np.array([[True], [False], [True]]),
    }
    options: dict[str, Any] = {
        "input_form": "frame", "missing:none": "none", "dtype:size": "category", "dtype:grade": "category", "ordered:grade": True, "dtype:count": "int64",
    }  # fmt: skip
    frame = to_frame_or_matrix(told, tensors, options)
    assert list(frame.columns) == list(tensors)
    assert frame["text"].dtype == object
    assert frame["text"].tolist()[::2] == ["a", "é"]
    assert np.isnan(frame["text"][1])
    assert frame["none"].tolist() == ["a", None, "c"]
    assert frame["size"].cat.codes.tolist() == [1, -1, -1]
    assert frame["size"].cat.categories.tolist() == ["s", "m"]
    assert frame["grade"].cat.codes.tolist() == [1, 0, -1]
    assert frame["grade"].cat.ordered
    assert (frame["age"].dtype, frame["count"].dtype, frame["flag"].dtype) == (np.float32, np.int64, np.bool_)


def test_columns_of_one_wide_input() -> None:
    told = Signature(
        inputs=(spec("x", Datatype.FP64, 2),),
        outputs=(spec("y", Datatype.FP64),),
        columns=tuple(Column(name=name, kind=ColumnKind.NUMBER, input="x", index=1 - at) for at, name in enumerate("ab")),
    )
    frame = to_frame_or_matrix(told, {"x": np.array([[1.0, 2.0]])}, {"input_form": "frame"})
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [2.0], "b": [1.0]}))


def test_column_that_cannot_be_what_it_was_is_named() -> None:
    told = signature(("count", Datatype.FP64, ColumnKind.INTEGER, ()))
    with pytest.raises(InvalidInput, match="column 'count' cannot be int64"):
        to_frame_or_matrix(told, {"count": np.array([[np.nan]])}, {"input_form": "frame", "dtype:count": "int64"})


def test_text_and_matrix() -> None:
    text = Signature(inputs=(spec("t", Datatype.BYTES, 1),), outputs=(spec("y", Datatype.FP64),))
    assert to_frame_or_matrix(text, {"t": objects("a", b"b")}, {"input_form": "text"}) == ["a", "b"]
    with pytest.raises(InvalidInput, match="missing document"):
        to_frame_or_matrix(text, {"t": objects(None)}, {"input_form": "text"})
    with pytest.raises(InvalidInput, match="not UTF-8"):
        to_frame_or_matrix(text, {"t": objects(b"\xff")}, {"input_form": "text"})
    x = np.zeros((2, 3))
    assert to_frame_or_matrix(Signature(inputs=(spec("x", Datatype.FP64, 3),), outputs=()), {"x": x}, {}) is x
    with pytest.raises(Unsupported, match="'cube'"):
        to_frame_or_matrix(text, {"t": objects("a")}, {"input_form": "cube"})


@pytest.mark.parametrize(
    ("given", "to", "expected"),
    [
        (np.array(["a", "b"]), spec("l", Datatype.BYTES), np.array(["a", "b"], dtype=object)),
        (np.array([1, 0]), spec("l", Datatype.BOOL), np.array([True, False])),
        (np.array([1.0, 2.0]), spec("p", Datatype.FP32, 1), np.array([[1], [2]], dtype=np.float32)),
        (np.array([[1.0], [2.0]]), spec("p", Datatype.FP64), np.array([1.0, 2.0])),
        (sparse.csr_matrix(np.eye(2)), spec("o", Datatype.FP64, 2), np.eye(2)),
        ([np.ones((2, 2)), np.zeros((2, 3))], spec("p", Datatype.FP64, 5), np.array([[1, 1, 0, 0, 0]] * 2, dtype=np.float64)),
        (pd.DataFrame({"a": [1.0]}), spec("o", Datatype.FP64, 1), np.array([[1.0]])),
    ],
)
def test_answers_become_what_the_signature_promises(given: Any, to: TensorSpec, expected: Tensor) -> None:
    tensor = as_tensor(given, to)
    assert tensor.dtype == expected.dtype
    np.testing.assert_array_equal(tensor, expected)


def test_each_method_is_asked_once_and_a_missing_one_is_named() -> None:
    asked: list[str] = []

    def predict(x: Tensor) -> Tensor:
        asked.append("predict")
        return x[:, 0]

    estimator = SimpleNamespace(predict=predict)
    outputs = (spec("a", Datatype.FP64, role="label"), spec("b", Datatype.FP64, role="prediction"), spec("own", Datatype.FP64))
    told = Signature(inputs=(spec("x", Datatype.FP64, 1),), outputs=outputs)
    assert [tensor.tolist() for tensor in answer(estimator, told, {"x": np.array([[3.0]])}, {})] == [[3.0]] * 3
    assert asked == ["predict"]
    wanting = Signature(inputs=told.inputs, outputs=(spec("p", Datatype.FP64, 2, role="probability"),))
    with pytest.raises(Unsupported, match=r"output 'p' needs predict_proba\(\)"):
        answer(estimator, wanting, {"x": np.array([[3.0]])}, {})

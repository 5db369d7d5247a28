"""Requests as the matrix of a tree library: order of the columns, places of categories, what is unseen, missing or text."""

import numpy as np
import pytest

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes.features import FeatureMatrix


def column(name: str, kind: ColumnKind, *categories: str) -> Column:
    return Column(name=name, kind=kind, input=name, categories=categories)


def spec(name: str, datatype: Datatype, *tail: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=("batch", *tail))


MIXED = Signature(
    inputs=(spec("city", Datatype.BYTES, 1), spec("size", Datatype.INT64, 1), spec("age", Datatype.FP64, 1)),
    outputs=(),
    columns=(
        column("age", ColumnKind.NUMBER),
        column("city", ColumnKind.CATEGORY, "Oslo", "Rome"),
        column("size", ColumnKind.CATEGORY, "3", "5"),
    ),
)
OPTIONS = {"dtype:city": "category", "dtype:size": "category"}


def test_columns_follow_the_signature_and_categories_become_places() -> None:
    given = FeatureMatrix(MIXED, OPTIONS, np.float32)(
        {
            "city": np.array([["Rome"], [None], [b"Oslo"], ["Lima"]], dtype=object),
            "size": np.array([[5], [3], [4], [5]]),
            "age": np.array([[0.1], [np.nan], [2.0], [3.0]]),
        }
    )
    assert given.dtype == np.float32
    nan = np.nan
    np.testing.assert_array_equal(given, np.array([[0.1, 1, 1], [nan, nan, 0], [2, 0, nan], [3, nan, 1]], dtype=np.float32))


def test_a_matrix_goes_through_as_it_is() -> None:
    signature = Signature(inputs=(spec("X", Datatype.FP32, 2),), outputs=())
    rows = np.array([[1.0, 2.0]], dtype=np.float32)
    assert FeatureMatrix(signature, {}, np.float32)({"X": rows}) is rows


def test_texts_stay_texts_where_the_library_takes_them() -> None:
    matrix = FeatureMatrix(MIXED, {}, np.float32, frozenset({1, 2}))
    tensors = {"city": np.array([[b"Rome"]], dtype=object), "size": np.array([[5]]), "age": np.array([[1.0]])}
    assert [list(part) for part in matrix.columns(tensors)] == [[1.0], ["Rome"], ["5"]]
    with pytest.raises(InvalidInput, match="missing element"):
        matrix.columns({**tensors, "city": np.array([[None]], dtype=object)})


def test_text_without_categories_is_no_number() -> None:
    with pytest.raises(InvalidFile, match="'city'"):
        FeatureMatrix(MIXED, {"dtype:size": "category"}, np.float32)

"""The road for large JSON says the same as the ordinary one, or nothing."""

import math
from typing import Any

import numpy as np
import orjson
import pytest

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.acceptance import Acceptance
from aweigh.serve.large_json import LargeJson


def acceptance(datatype: Datatype = Datatype.FP32, tail: tuple[int, ...] = (2, 3)) -> Acceptance:
    spec = TensorSpec(name="X", datatype=datatype, shape=(BATCH, *tail))
    return Acceptance(Signature(inputs=(spec,), outputs=(spec,)))


def body(data: Any, shape: Any = (2, 2, 3), **more: Any) -> bytes:
    given = {"name": "X", "shape": list(shape), "datatype": "FP32", "data": data}
    return orjson.dumps({"inputs": [given], **more})


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.FP64])
def test_flat_and_nested_floats(nested: bool, datatype: Datatype) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 2, 3))
    asked = body(rows.tolist() if nested else rows.ravel().tolist(), id="7").replace(b"FP32", datatype.value.encode())
    found = LargeJson(1 << 20).read(asked, acceptance(datatype), 10)
    assert found is not None
    assert found.id == "7"
    assert found.tensor.dtype == datatype.dtype
    np.testing.assert_array_equal(found.tensor, rows.astype(datatype.dtype))


def test_integers_are_floats_too() -> None:
    found = LargeJson(1 << 20).read(body([1, 2.5, -3, 0, 5, 6], (1, 2, 3)), acceptance(), 10)
    assert found is not None
    assert found.tensor.ravel().tolist() == [1.0, 2.5, -3.0, 0.0, 5.0, 6.0]
    assert found.id is None


FLAT = [float(number) for number in range(12)]


@pytest.mark.parametrize(
    "asked",
    [
        body([[1, 2], [3]], (1, 2, 3)),
        body([[[0, 1, 2], [3, 4]], [[5, 6, 7], [8, 9, 10, 11]]]),
        body([[[0, 1, 2, 3], [4, 5]], [[6, 7, 8], [9, 10, 11]]]),
        body([FLAT, FLAT]),
        body(FLAT[:-1]),
        body(FLAT, (-2, 2, 3)),
        body(FLAT, (2, 3, 2)),
        body(FLAT, (2, 6)),
        body(FLAT, (True, 2, 3)),
        body([], (0, 2, 3)),
        body([True, *FLAT[1:]]),
        body([None, *FLAT[1:]]),
        body(["1", *FLAT[1:]]),
        body([1e39, *FLAT[1:]]),
        body(FLAT, outputs=[{"name": "X"}]),
        body(FLAT, id=7),
        body(FLAT).replace(b'"X"', b'"Y"'),
        body(FLAT).replace(b"FP32", b"FP64"),
        body(FLAT).replace(b'"inputs"', b'"inputs":[],"inputs"'),
        body(FLAT).replace(b'"data"', b'"data":[],"data"'),
        body(FLAT).replace(b"0.0", b"NaN"),
        body(FLAT).replace(b"0.0", b"1e999"),
        body(FLAT)[:-1],
        body(FLAT) + b"x",
        b"[]",
        b"",
        b"\xff" * 64,
        b"[" * 100_000,
    ],
)
def test_anything_else_is_left_to_the_ordinary_road(asked: bytes) -> None:
    reader = LargeJson(1 << 20)
    assert reader.read(asked, acceptance(), 10) is None
    assert reader.read(body(FLAT), acceptance(), 10) is not None  # and the next request is read


def test_too_many_rows_are_left_to_the_ordinary_road() -> None:
    assert LargeJson(1 << 20).read(body(FLAT), acceptance(), 1) is None


def test_the_tensor_outlives_the_next_request() -> None:
    reader = LargeJson(1 << 20)
    first = reader.read(body(FLAT), acceptance(), 10)
    assert first is not None
    reader.read(body([math.pi] * 12), acceptance(), 10)
    assert first.tensor.ravel().tolist() == FLAT

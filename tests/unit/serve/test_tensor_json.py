"""Tensors in JSON: nested and flat, and everything that is neither."""

import json
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from aweigh.core.errors import AweighError, InvalidInput, TooLarge
from aweigh.core.signature import TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.serve.tensor_json import check_depth, check_shape, json_to_tensor, parse_json, values_encoder

PLACE = "$.inputs[0]"
D = Datatype


def tensor(data: object, datatype: Datatype = D.FP32, shape: tuple[int, ...] = (2, 2)) -> np.ndarray:
    return json_to_tensor(data, datatype, list(shape), PLACE)


def test_nested_and_flat_are_the_same() -> None:
    assert tensor([[1, 2], [3, 4]]).tolist() == tensor([1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    assert tensor([[[1], [2]], [[3], [4]]], shape=(2, 2, 1)).shape == (2, 2, 1)
    assert tensor([], shape=(0, 4)).shape == (0, 4)
    assert tensor([5], shape=()).shape == ()
    assert tensor([["a", None]], D.BYTES, (1, 2)).tolist() == [["a", None]]
    assert np.isnan(tensor([None, 1], shape=(2,))[0])
    assert tensor([True, False], D.BOOL, (2,)).dtype == np.bool_
    assert tensor([2**64 - 1], D.UINT64, (1,)).tolist() == [2**64 - 1]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "said"),
    [
        ([[1, 2], [3]], D.FP32, (2, 2), "on axis 1 expected lists of 2, got a list of 1"),
        ([[1, 2], 3], D.FP32, (2, 2), "got a number"),
        ([[1, 2, 3, 4]], D.FP32, (4,), "holds 1 rows"),
        ([[1, 2]], D.FP32, (2, 2), "holds 1 rows"),
        ([1, 2, 3], D.FP32, (2, 2), "has 3 elements, but shape [2, 2] needs 4"),
        ([1, [2], 3, 4], D.FP32, (2, 2), "Expected `float | null`, got `array`"),
        ([True, 1, 1, 1], D.FP32, (2, 2), "got `bool`"),
        ([True, 1, 1, 1], D.INT32, (2, 2), "got `bool`"),
        ([1, 0], D.BOOL, (2,), "Expected `bool`, got `int`"),
        ([1.5], D.INT8, (1,), "got `float`"),
        ([None], D.INT8, (1,), "got `null`"),
        (["1"], D.FP32, (1,), "got `str`"),
        ([1], D.BYTES, (1,), "got `int`"),
        ([300], D.UINT8, (1,), "$.inputs[0].data[0] is 300: UINT8 holds 0 to 255"),
        ([-1], D.UINT64, (1,), "UINT64 holds 0 to"),
        ([1, 2**63], D.INT64, (2,), "data[1] is 9223372036854775808"),
        ([10**400], D.FP64, (1,), "out of range"),
        ([1, 1e308], D.FP32, (2,), "data[1] is 1e+308: FP32 holds -3.40"),
        ([-1e39], D.FP32, (1,), "FP32 holds"),
        ({"a": 1}, D.FP32, (1,), "an object: expected a list"),
        ("abcd", D.BYTES, (4,), "a string: expected a list"),
        (7, D.FP32, (1,), "a number: expected a list"),
        ([1], D.FP16, (1,), "data via JSON is not supported"),
        ([1], D.BF16, (1,), "data via JSON is not supported"),
        (["\ud800"], D.BYTES, (1,), "lone surrogate"),
        (["a"], D.BYTES, (2,), "has 1 elements"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_its_place(data: object, datatype: Datatype, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tensor(data, datatype, shape)
    assert said in caught.value.message
    assert PLACE in caught.value.message


def test_infinities_are_no_overflow() -> None:
    assert np.isinf(tensor([float("inf"), -float("inf")], shape=(2,))).all()
    assert tensor(["a\0b"], D.BYTES, (1,)).tolist() == ["a\0b"]


@pytest.mark.parametrize(
    "shape", [[-1], [2**31, 2**31], [2**63, 2], [2**21] * 3, [1] * 33, [1] * 1_000_000, [10**4000, 10**4000], [0, 10**4000], [2**26 + 1]]
)
def test_shapes_that_no_server_takes(shape: list[int]) -> None:
    with pytest.raises((InvalidInput, TooLarge)) as caught:
        check_shape(shape, 2**26, PLACE)
    assert len(caught.value.message) < 400


def test_shapes_that_are_empty_but_too_large_to_hold() -> None:
    for datatype in (D.FP32, D.BYTES):
        with pytest.raises(InvalidInput, match="cannot be held"):
            tensor([], datatype, (0, 2**26, 2**26, 2**26))
    assert check_shape([0, 5], 10, PLACE) == 0


NESTS = [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b'{"a":"\\n",' + b'"b":' + b"[" * 90 + b"]" * 90 + b"}"]


@pytest.mark.parametrize("body", NESTS)
def test_nesting_has_a_limit_and_costs_nothing(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="nests deeper than 64"):
        check_depth(body, 64)


def test_brackets_in_text_are_no_nesting() -> None:
    texts = ["[" * 200, 'a"[' * 200, "\\" * 7 + "[" * 200, "\n" * 99 + "{" * 99, '\\"' * 99 + "[" * 99]
    for text in texts:
        check_depth(json.dumps({"data": [text], "more": [[text]]}).encode(), 4)
    check_depth(b"[[],[],[]," * 3 + b"[]]]]" + b"[]" * 1000, 5)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40))
def test_depth_is_counted_as_json_counts_it(value: object) -> None:
    def depth(part: object) -> int:
        if isinstance(part, dict | list):
            return 1 + max((depth(inner) for inner in (part.values() if isinstance(part, dict) else part)), default=0)
        return 0

    body, real = json.dumps(value).encode(), depth(value)
    check_depth(body, max(real, 1))
    if real > 1 and body.count(b"[") + body.count(b"{") > real - 1:
        with pytest.raises(InvalidInput):
            check_depth(body, real - 1)


def test_depth_is_judged_in_time() -> None:
    started = time.process_time()
    check_depth(b"[" + b"[]," * 8_000_000 + b"[]]", 64)
    check_depth(b'["' + b'","' * 8_000_000 + b'"]' + b"[]" * 100, 64)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nope", b"{}{}", b'{"a":1,}', b"\xff", b"NaN NaN", b"[NaN", b'{"a":Infinity', b"[1" + b"0" * 5000 + b",NaN]", b"\x00"],
)
def test_what_is_no_json_is_said_so(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        parse_json(body, 64)


def test_bare_tokens_and_duplicate_keys() -> None:
    found = parse_json(b"[NaN, Infinity, -Infinity]", 64)
    assert np.isnan(found[0])
    assert found[1:] == [float("inf"), -float("inf")]
    assert parse_json(b'{"a":1,"a":2}', 64) == {"a": 2}


def spec(datatype: Datatype, *, name: str = "Y") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=("n",))


@pytest.mark.parametrize(
    ("datatype", "values", "text"),
    [
        (D.FP32, [0.1, -0.0, 1e30], b"[0.1,-0.0,1e+30]"), (D.FP32, [np.nan, 0.1, np.inf, -np.inf], b"[NaN,0.1,Infinity,-Infinity]"),
        (D.INT64, [2**63 - 1], b"[9223372036854775807]"), (D.UINT64, [2**64 - 1, 0], b"[18446744073709551615,0]"), (D.BOOL, [True], b"[true]"),
        (D.BYTES, ["a", None, b"\xc3\xa4", 7], '["a",null,"ä","7"]'.encode()), (D.INT8, [], b"[]"), (D.BYTES, ["null"], b'["null"]'),
    ],
)  # fmt: skip
def test_answers_are_flat_json(datatype: Datatype, values: list[object], text: bytes) -> None:
    array = np.empty(len(values), dtype=datatype.dtype)
    array[:] = values
    assert values_encoder(spec(datatype), array.size)(array.reshape(1, -1)) == text


def test_answers_without_json_form_are_refused() -> None:
    for datatype in (D.FP16, D.BF16):
        with pytest.raises(InvalidInput, match="data via JSON is not supported"):
            values_encoder(spec(datatype), 1)(np.zeros(1, dtype=np.float32))
    with pytest.raises(InvalidInput, match="not UTF-8"):
        values_encoder(spec(D.BYTES), 1)(np.array([b"\xff"], dtype=object))


@given(st.data())
def test_anything_at_all_is_a_tensor_or_an_error_of_ours(data: st.DataObject) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    given_data = data.draw(st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    datatype = data.draw(st.sampled_from(list(Datatype)))
    try:
        made = json_to_tensor(given_data, datatype, shape, PLACE)
    except AweighError:
        return
    assert list(made.shape) == shape
    assert made.dtype == datatype.dtype

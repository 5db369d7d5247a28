"""The runner's JSON: what Python's own reads, less what two readers would read differently."""

import json
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from aweigh.runner.errors import Refusal
from aweigh.runner.jsontext import Ready, read, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert read(write(value)) == value
    assert json.loads(write(value)) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "expecting a value"),
        (b"[1,]", "expecting a value"),
        (b'{"a": 1} x', "something follows"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b"1e999", "beyond all floats"),
        (b'"\x01"', "control character"),
        (b"9" * 5000, "not JSON"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(body: bytes, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        read(body)
    assert refused.value.status == 400


def test_brackets_in_texts_are_not_counted() -> None:
    assert read(json.dumps(["[" * 100, '\\"{' * 40]).encode()) == ["[" * 100, '\\"{' * 40]
    assert read(b"[" * 64 + b"]" * 64)


def test_what_is_not_finite() -> None:
    assert [math.isnan(read(b"NaN")), read(b"-Infinity")] == [True, -math.inf]
    assert write([math.nan, math.inf, -math.inf]) == b"[null,null,null]"
    assert write([math.nan, math.inf, -math.inf], tokens=True) == b"[NaN,Infinity,-Infinity]"
    assert write([Ready("1.50"), True, None]) == b"[1.50,true,null]"


def test_a_lone_surrogate_can_be_told_of() -> None:
    assert json.loads(write({"error": "got \ud800"})) == {"error": "got \\ud800"} or write("\ud800")

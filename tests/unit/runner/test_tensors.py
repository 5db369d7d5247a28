"""The runner's tensors: raw forms and casts are numpy's."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from tests.runner.kit import array_of, tensor_of

from aweigh.core.tensors import Datatype, from_raw, to_raw
from aweigh.runner import tensors
from aweigh.runner.errors import Refusal

NUMBERS = [datatype for datatype in Datatype if datatype not in {Datatype.BF16, Datatype.BYTES}]
WHOLE = st.integers(-(2**31), 2**31)


@pytest.mark.parametrize("datatype", [*NUMBERS, Datatype.BYTES])
def test_raw_forms_are_those_of_core(datatype: Datatype) -> None:
    values = np.array([["a", "é\0"]], dtype=object) if datatype is Datatype.BYTES else np.array([[0, 1]]).astype(datatype.dtype)
    raw = to_raw(values, datatype)
    found = tensors.from_raw(raw, datatype.value, (1, 2), "x")
    assert tensors.to_raw(found) == raw
    np.testing.assert_array_equal(array_of(found), from_raw(raw, datatype, (1, 2)))
    for wrong in (raw[:-1], raw + b"\0"):
        with pytest.raises(Refusal):
            tensors.from_raw(wrong, datatype.value, (1, 2), "x")


@pytest.mark.parametrize("to", NUMBERS)
@pytest.mark.parametrize("of", NUMBERS)
def test_casts_are_those_of_numpy(of: Datatype, to: Datatype) -> None:
    values = np.array([0, 1, 3, 100]).astype(of.dtype)
    np.testing.assert_array_equal(array_of(tensors.cast(tensor_of(values, of), to.value)), values.astype(to.dtype))


@given(npst.arrays(np.float64, 5, elements=st.floats()))
def test_wide_floats_become_narrow_as_in_numpy(values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        for to in (Datatype.FP32, Datatype.FP16):
            found = array_of(tensors.cast(tensor_of(values, Datatype.FP64), to.value))
            np.testing.assert_array_equal(found, values.astype(to.dtype))


@pytest.mark.parametrize(
    ("datatype", "value"), [("INT8", 128), ("UINT8", -1), ("UINT64", 2**64), ("FP32", 1e39), ("FP16", 70000.0), ("FP32", 10**400)]
)
def test_numbers_that_do_not_fit_are_refused(datatype: str, value: float) -> None:
    with pytest.raises(Refusal, match=rf"X\[1\].*{datatype}"):
        tensors.of_numbers(datatype, (2,), [0, value], "X")


def test_infinities_fit_every_float() -> None:
    assert tensors.of_numbers("FP32", (2,), [float("inf"), float("nan")], "X").data[0] == float("inf")


@given(st.lists(st.integers(0, 3), max_size=4))
def test_nested_lists_are_those_of_numpy(shape: list[int]) -> None:
    values = np.arange(int(np.prod(shape, dtype=int)))
    assert tensors.nested(values.tolist(), tuple(shape)) == values.reshape(shape).tolist()


@pytest.mark.parametrize("shape", ["x", [1.0], [True], [-1], [1] * 33, [2**40], [2**20, 2**20]])
def test_shapes_are_checked(shape: object) -> None:
    with pytest.raises(Refusal):
        tensors.check_shape(shape, 1000, "$")

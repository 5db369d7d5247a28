"""How far floats may stray: by datatype, by meaning, by the size of their row, and as a person says. A weight that is off by 1% is found all the same."""

import numpy as np
import pytest

from aweigh.core.compare import compare
from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature, TensorSpec, Tolerance
from aweigh.core.tensors import Datatype
from aweigh.core.tolerances import TOLERANCES, parse_tolerance, tolerance_of, with_tolerances

RANDOM = np.random.default_rng(3)


def spec(shape: tuple[int | str, ...] = ("batch", 3), role: str = "", datatype: Datatype = Datatype.FP32) -> TensorSpec:
    return TensorSpec(name="y", datatype=datatype, shape=shape, role=role)


def agrees(one: TensorSpec, expected: object, actual: object) -> bool:
    dtype = one.datatype.dtype
    return compare((one,), [np.array(expected, dtype)], [np.array(actual, dtype)]).agrees


def test_a_value_near_zero_may_stray_by_the_rounding_of_its_rows_largest() -> None:
    assert agrees(spec(), [[300.0, 0.001, -250.0]], [[300.0, 0.0012, -250.0]])
    assert not agrees(spec(), [[300.0, 0.001, -250.0]], [[300.0, 0.002, -250.0]])


def test_another_rows_values_allow_nothing() -> None:
    assert not agrees(spec(), [[300.0, 0, 0], [1, 0.001, 0]], [[300.0, 0, 0], [1, 0.0012, 0]])


def test_without_a_batch_axis_the_whole_output_is_one_row() -> None:
    assert agrees(spec((2, 2)), [[300.0, 0], [1, 0.001]], [[300.0, 0], [1, 0.0012]])


@pytest.mark.parametrize("role", ["prediction", "probability"])
def test_what_has_a_meaning_of_its_own_is_held_to_its_own_size(role: str) -> None:
    assert not agrees(spec(role=role), [[300.0, 0.001, 0]], [[300.0, 0.0012, 0]])


def test_infinities_and_nan_allow_nothing() -> None:
    assert not agrees(spec(), [[np.inf, 0.001, np.nan]], [[np.inf, 0.0012, np.nan]])
    assert not agrees(spec(), [[np.inf, 1e30, 0]], [[1e30, 1e30, 0]])


def test_labels_are_never_loosened() -> None:
    integers = spec(datatype=Datatype.INT64)
    assert not agrees(integers, [[1_000_000, 1, 0]], [[1_000_000, 2, 0]])
    signature = Signature(inputs=(), outputs=(integers,))
    assert with_tolerances(signature, {"": (0.1, 1.0)}) == signature
    with pytest.raises(InvalidInput, match="no output of floats"):
        with_tolerances(signature, {"y": (0.1, 1.0)})


@pytest.mark.parametrize("layers", [1, 3])
def test_one_weight_off_by_one_percent_is_found(layers: int) -> None:
    """Unnormalised outputs in the hundreds, as a small network gives them; the summation in float32 is not what is found."""
    weights = [RANDOM.normal(0, 1, (16, 16)) for _ in range(layers)]
    inputs = RANDOM.normal(0, 20, (8, 16))

    def answer(matrices: list[np.ndarray], dtype: type) -> np.ndarray:
        hidden = inputs.astype(dtype)
        for matrix in matrices:
            hidden = np.maximum(hidden @ matrix.astype(dtype), 0) if matrix is not matrices[-1] else hidden @ matrix.astype(dtype)
        return hidden.astype(np.float32)

    output = spec(("batch", 16))
    expected = answer(weights, np.float64)
    assert np.abs(expected).max() > 100
    assert agrees(output, expected, answer(weights, np.float32))
    for at in range(layers):
        wrong = [matrix.copy() for matrix in weights]
        wrong[at][3, 5] *= 1.01
        assert not agrees(output, expected, answer(wrong, np.float32)), at


def test_bounds_that_a_person_gives() -> None:
    signature = Signature(inputs=(), outputs=(spec(), TensorSpec(name="p", datatype=Datatype.FP32, shape=("batch",), role="probability")))
    given = with_tolerances(signature, {"y": (1e-2, None)})
    assert given.outputs[0].tolerance == Tolerance(atol=1e-5, rtol=1e-2, scale=2e-6)
    assert given.outputs[1].tolerance is None
    every = with_tolerances(signature, {"": (1e-2, 1e-3)})
    assert [tolerance_of(one).atol for one in every.outputs] == [1e-3, 1e-3]
    assert agrees(given.outputs[0], [[1.0, 2, 3]], [[1.009, 2, 3]])
    assert not agrees(signature.outputs[0], [[1.0, 2, 3]], [[1.009, 2, 3]])


def test_reading_bounds() -> None:
    assert parse_tolerance("1e-3") == ("", 1e-3, None)
    assert parse_tolerance("a=b=1e-3,0") == ("a=b", 1e-3, 0.0)
    for text in ("", "y=", "1,2,3", "nan", "-1", "0.5", "y=inf"):
        with pytest.raises(InvalidInput):
            parse_tolerance(text)


def test_every_float_datatype_has_bounds() -> None:
    assert set(TOLERANCES) == {one for one in Datatype if one.is_float}

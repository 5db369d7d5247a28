import numpy as np
import pytest

from aweigh.core.compare import compare
from aweigh.core.signature import TensorSpec, Tolerance
from aweigh.core.tensors import Datatype


def one(datatype: Datatype, expected: object, actual: object, **more: object):
    spec = TensorSpec(name="y", datatype=datatype, shape=("batch",))
    dtype = datatype.dtype
    difference = compare((spec,), [np.array(expected, dtype=dtype)], [np.array(actual, dtype=dtype)], **more)
    return difference, difference.outputs[0]


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("datatype", [Datatype.FP64, Datatype.FP32, Datatype.FP16, Datatype.BF16])
def test_equal_floats_agree_nan_and_infinities_included(datatype):
    items = [0.0, -0.0, 1.0, -1e3, INF, -INF, NAN]
    difference, output = one(datatype, items, items)
    assert difference.agrees
    assert (output.max_abs, output.max_rel, output.max_ulp, output.bad_rows) == (0.0, 0.0, 0.0, ())
    assert one(datatype, [0.0], [-0.0])[0].agrees


@pytest.mark.parametrize(
    ("expected", "actual"),
    [(INF, -INF), (-INF, INF), (INF, 1.0), (1.0, INF), (NAN, 1.0), (1.0, NAN), (NAN, INF), (INF, NAN), (INF, 3.4e38), (0.0, INF)],
)
@pytest.mark.parametrize("datatype", [Datatype.FP64, Datatype.FP32])
def test_what_is_not_finite_agrees_only_with_itself(datatype, expected, actual):
    difference, output = one(datatype, [1.0, expected], [1.0, actual])
    assert not difference.agrees
    assert output.mismatches == 1
    assert output.bad_rows == (1,)
    assert output.max_abs == output.max_rel == output.max_ulp == INF


def test_floats_agree_within_absolute_and_relative_bounds():
    bounds = {Datatype.FP32: Tolerance(atol=0.5, rtol=0.1)}
    assert one(Datatype.FP32, [0.0, 10.0], [0.5, 11.5], tolerances=bounds)[0].agrees
    difference, output = one(Datatype.FP32, [0.0, 10.0], [0.501, 11.6], tolerances=bounds)
    assert output.mismatches == 2
    assert output.bad_rows == (1, 0), "worst first"
    assert difference.flips == 0, "a float is no label"


def test_figures():
    step = np.spacing(np.float32(1.0))
    _, output = one(Datatype.FP32, [1.0, 2.0], [1.0 + 3 * float(step), 2.0])
    assert output.max_ulp == pytest.approx(3)
    assert output.max_rel == pytest.approx(3 * step)


@pytest.mark.parametrize(
    ("datatype", "expected", "actual"),
    [
        (Datatype.INT64, [1, 2, 3], [1, 0, 0]),
        (Datatype.UINT64, [2**63, 2**63, 2**64 - 1], [2**63, 2**63 + 1, 2**63]),
        (Datatype.BOOL, [True, True, False], [True, False, True]),
        (Datatype.BYTES, ["a", "b", "c"], ["a", "x", "y"]),
        (Datatype.BYTES, ["a", None, ""], [b"a", "", None]),
    ],
)
def test_everything_else_is_equal_or_not(datatype, expected, actual):
    difference, output = one(datatype, expected, actual)
    assert output.exact
    assert output.mismatches == 2
    assert set(output.bad_rows) == {1, 2}
    assert difference.flips == 2


def test_text_is_the_same_as_its_bytes():
    assert one(Datatype.BYTES, ["ø", "a", None], ["ø".encode(), b"a", None])[0].agrees
    spec = TensorSpec(name="y", datatype=Datatype.BYTES, shape=("batch",))
    assert compare((spec,), [np.array(["a", "b"])], [np.array([b"a", b"b"])]).agrees
    assert not compare((spec,), [np.array(["a", "b"])], [np.array(["a", "c"], dtype=object)]).agrees


def test_another_shape_is_a_mismatch_of_every_row():
    difference, output = one(Datatype.FP32, [[1.0], [2.0]], [1.0, 2.0])
    assert output.problem == "shape [2] where [2, 1] was expected"
    assert (output.mismatches, difference.bad_rows) == (2, (0, 1))
    assert not one(Datatype.FP32, [], [1.0])[0].agrees
    assert not one(Datatype.INT64, 5, [5])[0].agrees


def test_empty_and_scalar_tensors():
    assert one(Datatype.FP32, [], [])[0].agrees
    assert one(Datatype.BYTES, [], [])[0].agrees
    assert one(Datatype.FP32, 1.0, 1.0)[0].agrees
    assert one(Datatype.FP32, 1.0, 2.0)[0].bad_rows == (0,)
    assert one(Datatype.BYTES, "a", "b")[0].bad_rows == (0,)
    assert one(Datatype.FP32, np.zeros((0, 3)), np.zeros((0, 3)))[0].agrees
    assert one(Datatype.FP32, np.zeros((3, 0)), np.zeros((3, 0)))[0].agrees


def test_bad_rows_over_several_outputs_come_once():
    specs = [TensorSpec(name=name, datatype=kind, shape=("batch",)) for name, kind in (("label", Datatype.INT64), ("p", Datatype.FP32))]
    expected = [np.array([0, 1, 1]), np.array([[0.1], [0.9], [0.8]], dtype=np.float32)]
    actual = [np.array([0, 1, 0]), np.array([[0.1], [0.1], [0.2]], dtype=np.float32)]
    difference = compare(specs, expected, actual)
    assert difference.bad_rows == (2, 1)
    assert difference.flips == 1

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 2)),
        TensorSpec(name="text", datatype=Datatype.BYTES, shape=("batch", "length")),
    ),
    outputs=(TensorSpec(name="label", datatype=Datatype.INT64, shape=("batch",), role="label"),),
)
X = np.zeros((3, 2), dtype=np.float32)
TEXT = np.full((3, 4), "a", dtype=object)


def test_what_fits_passes():
    SIGNATURE.check({"x": X, "text": TEXT})
    SIGNATURE.check({"text": TEXT[:0], "x": X[:0]})
    assert SIGNATURE.batch_size({"x": X, "text": TEXT}) == 3
    assert SIGNATURE.batched


@pytest.mark.parametrize(
    ("tensors", "message", "hint"),
    [
        ({}, "expected 2 inputs but got 0: 'x' is missing", "inputs given: none"),
        ({"x": X}, "expected 2 inputs but got 1: 'text' is missing", "inputs given: 'x'"),
        ({"x": X, "y": X}, "unexpected input 'y'", "this model takes 'x', 'text'"),
        ({"x": X, "text": TEXT, "y": X}, "unexpected input 'y'", "this model takes 'x', 'text'"),
        ({"x": X.astype(np.float64), "text": TEXT}, "input 'x': expected datatype FP32, got float64", ""),
        ({"x": X.astype(">f4"), "text": TEXT}, "input 'x': expected datatype FP32, got >f4", ""),
        ({"x": X, "text": TEXT.astype("U")}, "input 'text': expected datatype BYTES, got <U1", ""),
        ({"x": X[0], "text": TEXT}, "unexpected shape for input 'x': expected [-1, 2], got [2]", ""),
        ({"x": X[:, :1], "text": TEXT}, "unexpected shape for input 'x': expected [-1, 2], got [3, 1]", ""),
        (
            {"x": X[:2], "text": TEXT},
            "unexpected shape for input 'text': expected [-1, -1], got [3, 4] (axis 'batch' is 2 in another input)",
            "",
        ),
    ],
)
def test_what_does_not_fit_names_the_input(tensors, message, hint):
    with pytest.raises(InvalidInput) as caught:
        SIGNATURE.check(tensors)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def signature_that_takes(missing: bool, infinite: bool) -> Signature:
    inputs = tuple(
        TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape, takes_missing=missing, takes_infinite=infinite)
        for spec in SIGNATURE.inputs
    )
    return Signature(inputs=inputs, outputs=SIGNATURE.outputs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_the_source_refuses(value):
    x = X.copy()
    x[1, 1] = value
    takes_it = signature_that_takes(missing=bool(np.isnan(value)), infinite=bool(np.isinf(value)))
    takes_it.check_finite({"x": x, "text": TEXT})
    SIGNATURE.check_finite({"x": x, "text": TEXT})
    refuses_it = signature_that_takes(missing=not np.isnan(value), infinite=not np.isinf(value))
    with pytest.raises(InvalidInput, match=r"input 'x': .* at \[1, 1\], which this model does not take"):
        refuses_it.check_finite({"x": x, "text": TEXT})


def test_text_that_the_source_refuses():
    text = TEXT.copy()
    text[2, 3] = None
    signature_that_takes(missing=True, infinite=False).check_finite({"x": X, "text": text})
    with pytest.raises(InvalidInput, match=r"input 'text': a missing element at \[2, 3\]") as caught:
        signature_that_takes(missing=False, infinite=False).check_finite({"x": X, "text": text})
    assert "send a text" in caught.value.hint
    signature_that_takes(missing=False, infinite=False).check_finite({"x": X, "text": TEXT})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_the_source_refuses_in_some_columns_alone_is_refused_there(value):
    shape = ("batch", 2, 3)
    at = {"refuses_missing_at": (4,)} if np.isnan(value) else {"refuses_infinite_at": (4,)}
    some = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=shape, **at),), outputs=())
    x = np.zeros((5, 2, 3), dtype=np.float32)
    x[3, 0, 1] = x[3, 1, 0] = x[3, 1, 2] = value
    some.check_finite({"x": x})
    x[3, 1, 1] = value
    with pytest.raises(InvalidInput, match=r"at \[3, 1, 1\], which this model does not take"):
        some.check_finite({"x": x})


def test_texts_that_the_source_refuses_in_some_columns_alone_are_refused_there():
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=("batch", 2), refuses_missing_at=(1,))
    some = Signature(inputs=(spec,), outputs=())
    some.check_finite({"x": np.array([["a", "b"], [None, "c"]], dtype=object)})
    with pytest.raises(InvalidInput, match=r"a missing element at \[1, 1\]"):
        some.check_finite({"x": np.array([[None, "b"], [None, None]], dtype=object)})


def test_roles_and_names():
    assert SIGNATURE.with_role("label") is SIGNATURE.outputs[0]
    assert SIGNATURE.with_role("probability") is None
    assert SIGNATURE.input("text").wire_shape == [-1, -1]
    with pytest.raises(InvalidInput):
        SIGNATURE.input("label")


def test_a_fixed_first_axis_is_no_batch():
    fixed = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(1, 2)),), outputs=SIGNATURE.outputs)
    assert not fixed.batched
    assert fixed.batch_size({"x": X}) == 1

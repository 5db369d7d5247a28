"""Padding: what may be declared, what is refused and why, and that whatever passes fills a tensor."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from aweigh.core.errors import InvalidInput
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, decode_manifest, encode_manifest
from aweigh.core.padding import check_padding, ragged_axes, with_padding
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype


def spec(name: str, *axes: int | str, datatype: Datatype = Datatype.INT64, **more: object) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(BATCH, *axes), **more)  # type: ignore[arg-type]


def of(*inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs=(spec("y", datatype=Datatype.FP32),))


TWO = of(spec("ids", "sequence"), spec("mask", "sequence"), spec("x", 4, datatype=Datatype.FP32))


def test_padding_is_kept_in_the_signature_and_in_the_manifest() -> None:
    made = with_padding(TWO, {"ids": "7", "mask": 0})
    assert [each.padding for each in made.inputs] == [7, 0, None]
    assert ragged_axes(made) == {"sequence"}
    manifest = PackageManifest(
        format_version=FORMAT_VERSION, signature=made, variants=(), golden=(), provenance=Provenance(framework="onnx")
    )
    assert decode_manifest(encode_manifest(manifest)).signature == made
    assert ragged_axes(TWO) == frozenset()
    check_padding(TWO)


@pytest.mark.parametrize(
    ("fills", "message", "hint"),
    [
        ({"idz": 0}, "unexpected input 'idz'", "this model takes 'ids', 'mask', 'x'"),
        ({"ids": 0}, "axis 'sequence' is shared by 'ids' and 'mask'", "--pad mask=VALUE"),
        ({"x": 0}, r"input 'x' cannot be padded: its shape \['batch', 4\] has no symbolic axis", "only for inputs"),
        ({"ids": "a", "mask": 0}, "input 'ids' cannot be padded with 'a'", "a finite number that INT64 holds"),
        ({"ids": 1.5, "mask": 0}, "cannot be padded with '1.5'", "INT64"),
        ({"ids": 2**63, "mask": 0}, "cannot be padded with", "INT64"),
        ({"ids": None, "mask": 0}, "cannot be padded with 'None'", "INT64"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(fills: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        with_padding(TWO, fills)  # type: ignore[arg-type]
    assert hint in caught.value.hint


def test_a_model_without_a_batch_axis_has_no_use_for_it() -> None:
    alone = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(1, "n")),), outputs=(spec("y"),))
    with pytest.raises(InvalidInput, match="no batch axis"):
        with_padding(alone, {"x": 0})
    with pytest.raises(InvalidInput, match="of its own"):
        with_padding(of(spec("x", BATCH)), {"x": 0})


FITTING = {
    Datatype.INT8: [0, "-128", 127, 1.0],
    Datatype.UINT64: [0, 2**64 - 1, str(2**64 - 1)],
    Datatype.FP16: [0, "-1e4", 65504.0],
    Datatype.BF16: ["1e38"],
    Datatype.FP32: ["0.5", -3.4e38],
    Datatype.FP64: ["1e308"],
    Datatype.BOOL: [True, "false", 0, "1"],
    Datatype.BYTES: ["", "[PAD]"],
}
UNFIT = {
    Datatype.INT8: [128, "-129", "0.5", "", float("nan"), float("inf"), True.__class__],
    Datatype.UINT64: [-1, 2**64],
    Datatype.FP16: ["7e4", "nan", "-inf", ""],
    Datatype.FP32: [1e39, "inf", "zero"],
    Datatype.FP64: ["1e309", 10**400],
    Datatype.BOOL: [2, "yes", 0.5],
    Datatype.BYTES: [0, None, b"x"],
}


@pytest.mark.parametrize(("datatype", "fill"), [(datatype, fill) for datatype, fills in FITTING.items() for fill in fills], ids=str)
def test_values_that_a_datatype_holds(datatype: Datatype, fill: object) -> None:
    made = with_padding(of(spec("x", "n", datatype=datatype)), {"x": fill})  # type: ignore[dict-item]
    filled = np.full((2, 3), made.inputs[0].padding, dtype=datatype.dtype)
    assert filled.dtype == datatype.dtype
    if datatype.is_float:
        assert np.isfinite(filled).all()
    elif datatype.is_integer:
        assert int(filled[0, 0]) == int(fill)  # type: ignore[call-overload]
    check_padding(made)


@pytest.mark.parametrize(
    ("datatype", "fill"), [(datatype, fill) for datatype, fills in UNFIT.items() for fill in fills], ids=lambda each: str(each)[:40]
)
def test_values_that_it_does_not_hold(datatype: Datatype, fill: object) -> None:
    with pytest.raises(InvalidInput, match="cannot be padded with"):
        with_padding(of(spec("x", "n", datatype=datatype)), {"x": fill})  # type: ignore[dict-item]


FILLS = st.none() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Datatype)), st.lists(st.sampled_from(["n", "m", BATCH, 2]), max_size=2), FILLS),
        min_size=1,
        max_size=3,
    )
)
def test_a_signature_from_elsewhere_is_refused_or_can_be_used(
    inputs: list[tuple[Datatype, list[int | str], int | float | str | None]],
) -> None:
    made = of(*(spec(f"x{at}", *axes, datatype=datatype, padding=fill) for at, (datatype, axes, fill) in enumerate(inputs)))
    try:
        check_padding(made)
    except InvalidInput:
        return
    ragged = ragged_axes(made)
    assert BATCH not in ragged
    for each in made.inputs:
        if ragged.intersection(axis for axis in each.shape[1:] if isinstance(axis, str)):
            np.full((2,), each.padding, dtype=each.datatype.dtype)

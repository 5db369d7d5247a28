"""Which models stand in for which: how the setting is read, and what cannot stand in."""

import pytest

from aweigh.core.errors import InvalidSetting
from aweigh.core.fallback import check_fallbacks, fallbacks_of
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype


def signature(inputs: dict[str, Datatype], *, width: int = 4, output: str = "Y") -> Signature:
    return Signature(
        inputs=tuple(TensorSpec(name=name, datatype=datatype, shape=(BATCH, width)) for name, datatype in inputs.items()),
        outputs=(TensorSpec(name=output, datatype=Datatype.FP32, shape=(BATCH, 2)),),
    )


FP32 = signature({"X": Datatype.FP32})


def test_pairs_are_read() -> None:
    assert fallbacks_of(Settings()) == {}
    assert fallbacks_of(Settings(fallback="a=b, c = b ,")) == {"a": "b", "c": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a", "names one model"), ("a=", "not a model name"), ("A=b", "not a model name"), ("a=a", "for itself"), ("a=b,a=c", "'a' twice")],
)
def test_what_is_no_pair(text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        fallbacks_of(Settings(fallback=text))


def test_equal_signatures_may_stand_in() -> None:
    check_fallbacks(Settings(fallback="a=b"), [("a", FP32), ("b", FP32), ("c", signature({}))])


@pytest.mark.parametrize(
    ("other", "gap"),
    [
        (signature({"Z": Datatype.FP32}), "it has no input 'X'"),
        (signature({"X": Datatype.FP32, "Z": Datatype.FP32}), "'Z'"),
        (signature({"X": Datatype.FP64}), "input 'X' is FP64 there and FP32 here"),
        (signature({"X": Datatype.FP32}, width=5), "input 'X' is of shape"),
        (signature({"X": Datatype.FP32}, output="other"), "it has no output 'Y'"),
    ],
)
def test_a_difference_is_named(other: Signature, gap: str) -> None:
    with pytest.raises(InvalidSetting, match="'b' cannot stand in for 'a'") as raised:
        check_fallbacks(Settings(fallback="a=b"), [("a", FP32), ("b", other)])
    assert gap in raised.value.message


def test_both_must_be_served() -> None:
    with pytest.raises(InvalidSetting, match="names 'b', which is not served"):
        check_fallbacks(Settings(fallback="a=b"), [("a", FP32)])

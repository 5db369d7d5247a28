"""What a profile suggests, in words: each hint with the figures it rests on. Suggestions, to be measured; called by `profile`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from aweigh.optimization.arithmetic import MADE_OF_PRODUCTS

if TYPE_CHECKING:
    from aweigh.optimization.profile import KindTime, OperatorTime, Profile

_MUCH: Final = 0.5
_SOME: Final = 0.15
_SHORT_US: Final = 3.0
_MANY: Final = 10
_NEAR: Final = 0.6
_LONG_CALL_US: Final = 500.0
_MOVES: Final = frozenset({"Transpose", "Reshape", "Concat", "Split", "Slice", "Cast", "Expand", "Tile", "ReorderInput", "ReorderOutput"})
_CONVOLVES: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})
_TREES: Final = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})
_INTEGERS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"})
"""Instruction sets that multiply 8-bit integers faster than floats."""


def hints_for(profile: "Profile", *, features: Sequence[str], cores: int) -> Iterator[str]:
    """None where nothing stands out."""
    shares = {kind.kind: kind for kind in profile.kinds}
    yield from _outside(profile)
    yield from _moving(profile.kinds)
    yield from _short(profile)
    yield from _products(profile, features)
    yield from _bound_by_memory(profile)
    if profile.threads == 1 and cores > 1 and profile.call_us > _LONG_CALL_US and _product_share(profile.kinds) > _MUCH:
        yield f"one call takes {profile.call_us / 1000:.1f} ms on one of {cores} cores: more threads (setting session_threads) shorten it, at the cost of throughput"
    if any(shares[kind].share > _MUCH for kind in _TREES & set(shares)):
        yield "trees take most of the time: for many rows at once the trees' own library may be quicker than ONNX; a package of such a model holds both"


def _outside(profile: "Profile") -> Iterator[str]:
    if profile.call_us and profile.outside_us / profile.call_us > _MUCH:
        share = profile.outside_us / profile.call_us
        yield f"{share:.0%} of a call is spent outside its operators: ask with more rows at once (--rows), or let requests run together"


def _moving(kinds: "Sequence[KindTime]") -> Iterator[str]:
    moving = [kind for kind in kinds if kind.kind in _MOVES]
    share = sum(kind.share for kind in moving)
    if share > _SOME:
        named = ", ".join(kind.kind for kind in moving[:3])
        yield f"{share:.0%} of the time is spent moving data ({named}): another layout or axis order in the source model would save it"


def _short(profile: "Profile") -> Iterator[str]:
    short = [operator for operator in profile.operators if operator.time_us <= _SHORT_US]
    share = sum(operator.share for operator in short)
    if len(short) >= _MANY and share > _SOME:
        yield f"{len(short)} operators of {_SHORT_US:g} us or less make {share:.0%} of the time: fewer and larger ones (fusing), or more rows at once, would pay"


def _products(profile: "Profile", features: Sequence[str]) -> Iterator[str]:
    floats = [operator for operator in profile.operators if operator.kind in MADE_OF_PRODUCTS and operator.datatype == "float"]
    share = sum(operator.share for operator in floats)
    if share <= _MUCH or profile.outside_us > _MUCH * profile.call_us:
        return
    quick = sorted(_INTEGERS.intersection(features))
    convolved = sum(operator.share for operator in floats if operator.kind in _CONVOLVES)
    how = (
        "static INT8 with calibration data (dynamic INT8 makes convolutions slower)" if convolved > share / 2 else "INT8 of matrix products"
    )
    why = (
        f"this processor multiplies 8-bit integers faster ({', '.join(quick)})"
        if quick
        else "this processor has no fast 8-bit products, so it may not pay"
    )
    yield f"{share:.0%} of the time is products of float32: {how} is worth measuring; {why}"


def _bound_by_memory(profile: "Profile") -> Iterator[str]:
    bound = [operator for operator in profile.operators if _by_weights(operator, profile)]
    share = sum(operator.share for operator in bound)
    if share > _MUCH:
        size = sum(operator.weight_bytes for operator in bound) / 1e6
        yield f"{share:.0%} of the time is reading {size:.1f} MB of weights: smaller ones (INT8 or INT4 weights), or more rows for each reading, would pay"


def _by_weights(operator: "OperatorTime", profile: "Profile") -> bool:
    """Whether it is near what reading its weights takes, which is longer than what computing takes. One that is quicker than that reads them from somewhere faster."""
    reading = profile.roofline.reading_s(operator.weight_bytes, profile.weight_bytes) * 1e6
    computing = operator.operations / profile.roofline.operations_s * 1e6
    return operator.weight_bytes > 0 and reading > computing and _NEAR * operator.time_us < reading <= operator.time_us


def _product_share(kinds: "Sequence[KindTime]") -> float:
    return sum(kind.share for kind in kinds if kind.kind in MADE_OF_PRODUCTS)

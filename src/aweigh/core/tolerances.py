"""How far a float may stray: bounds by datatype and by what an output means, and those that a person gives instead, which the signature keeps.

|actual - expected| <= atol + rtol * |expected| + scale * (the largest magnitude of the expected row).

The last part is for outputs without a stated meaning: scores, embeddings, maps. They are sums of terms as large as the row's largest value, so that
rounding alone moves a value near zero by that much. What has a meaning of its own (a prediction, a probability) may be small beside its neighbours and
matter, so it has no such part; and what is no float is equal or not.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature, TensorSpec, Tolerance
from aweigh.core.tensors import Datatype

TOLERANCES: Final[dict[Datatype, Tolerance]] = {
    Datatype.FP64: Tolerance(atol=1e-5, rtol=1e-4, scale=2e-6),
    Datatype.FP32: Tolerance(atol=1e-5, rtol=1e-4, scale=2e-6),
    Datatype.FP16: Tolerance(atol=1e-3, rtol=1e-2, scale=2e-3),
    Datatype.BF16: Tolerance(atol=1e-2, rtol=3e-2, scale=8e-3),
}
"""Float64 is held to float32's bounds: converted graphs answer in float32. A scale of 2e-6 is some 16 float32 units in the last place."""
_MEANINGFUL: Final = frozenset({"prediction", "probability"})
MAX_RTOL: Final = 0.1
_EXAMPLE: Final = "write RTOL, RTOL,ATOL or OUTPUT=RTOL,ATOL: --tolerance 1e-3, --tolerance logits=1e-3,1e-4"


def tolerance_of(spec: TensorSpec) -> Tolerance:
    """The bounds of a float output: those given when it was packed, else its datatype's."""
    if spec.tolerance is not None:
        return spec.tolerance
    bound = TOLERANCES[spec.datatype]
    return msgspec.structs.replace(bound, scale=0.0) if spec.role in _MEANINGFUL else bound


def parse_tolerance(text: str) -> tuple[str, float, float | None]:
    """Read `[OUTPUT=]RTOL[,ATOL]`: output ("" for all), rtol, atol (None for the datatype's own). Raises InvalidInput."""
    output, _, bounds = text.rpartition("=")
    try:
        numbers = [float(part) for part in bounds.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InvalidInput(f"--tolerance {text[:80]!r} is no tolerance", hint=_EXAMPLE)
    if numbers[0] > MAX_RTOL:
        raise InvalidInput(f"--tolerance {text[:80]!r}: a relative bound above {MAX_RTOL:g} proves nothing", hint=_EXAMPLE)
    return output.strip(), numbers[0], numbers[1] if len(numbers) > 1 else None


def with_tolerances(signature: Signature, given: Mapping[str, tuple[float, float | None]]) -> Signature:
    """The signature with these bounds (rtol, atol) for its float outputs; "" means all of them. Raises InvalidInput for a name that is none."""
    floats = {spec.name for spec in signature.outputs if spec.datatype.is_float}
    for name in given:
        if name and name not in floats:
            raise InvalidInput(
                f"--tolerance: '{name}' is no output of floats",
                hint=f"there are: {', '.join(sorted(floats)) or 'none'}; all others are equal or not",
            )
    return msgspec.structs.replace(signature, outputs=tuple(_with(spec, given) for spec in signature.outputs))


def _with(spec: TensorSpec, given: Mapping[str, tuple[float, float | None]]) -> TensorSpec:
    bounds = given.get(spec.name, given.get(""))
    if bounds is None or not spec.datatype.is_float:
        return spec
    own = tolerance_of(spec)
    atol = own.atol if bounds[1] is None else bounds[1]
    return msgspec.structs.replace(spec, tolerance=Tolerance(atol=atol, rtol=bounds[0], scale=own.scale))

"""Padding: what inputs of different sizes are filled up with so that requests can run together. Declared at pack time, read by the engine.

A symbolic axis behind the batch axis is ragged where padding is declared for the inputs that have it. `check_padding` holds a signature to its
rules, one from elsewhere too: whatever passes can be written into a tensor of its input.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import INTEGER_RANGE, Datatype

Fill = int | float | str


def with_padding(signature: Signature, fills: Mapping[str, Fill]) -> Signature:
    """The signature with padding for the named inputs; numbers may come as text. Raises InvalidInput that says what does not fit."""
    chosen = {name: _value(signature.input(name), fill) for name, fill in fills.items()}
    inputs = tuple(msgspec.structs.replace(spec, padding=chosen.get(spec.name, spec.padding)) for spec in signature.inputs)
    padded = msgspec.structs.replace(signature, inputs=inputs)
    check_padding(padded)
    return padded


def ragged_axes(signature: Signature) -> frozenset[str]:
    """The axes that padding makes longer."""
    return frozenset(axis for spec in signature.inputs if spec.padding is not None for axis in _symbolic(spec) if axis != BATCH)


def check_padding(signature: Signature) -> None:
    """Raise InvalidInput unless every declared padding can be used."""
    declared = [spec for spec in signature.inputs if spec.padding is not None]
    if declared and not signature.batched:
        raise InvalidInput(
            "padding is declared for a model that has no batch axis that every input and output shares",
            hint="requests of such a model never run together: leave the padding out",
        )
    for spec in declared:
        axes = _symbolic(spec)
        if not axes or BATCH in axes:
            raise InvalidInput(
                f"input '{spec.name}' cannot be padded: its shape {list(spec.shape)} has no symbolic axis of its own behind the batch axis",
                hint="declare padding only for inputs whose size differs from request to request",
                input=spec.name,
            )
        if spec.padding != _value(spec, spec.padding):
            raise _no_fit(spec, spec.padding)
    for axis in sorted(ragged_axes(signature)):
        missing = [spec.name for spec in signature.inputs if axis in _symbolic(spec) and spec.padding is None]
        if missing:
            given = ", ".join(f"'{spec.name}'" for spec in declared if axis in _symbolic(spec))
            raise InvalidInput(
                f"axis '{axis}' is shared by {given} and '{missing[0]}', and padding is declared for {given} alone",
                hint=f"say what '{missing[0]}' is padded with too: --pad {missing[0]}=VALUE",
                input=missing[0],
            )


def _symbolic(spec: TensorSpec) -> list[str]:
    """The names of the axes behind the first whose size a request chooses."""
    return [axis for axis in spec.shape[1:] if isinstance(axis, str)]


def _value(spec: TensorSpec, fill: object) -> Fill:
    """The padding as the input's datatype holds it. Raises InvalidInput."""
    datatype = spec.datatype
    if datatype is Datatype.BYTES:
        if not isinstance(fill, str):
            raise _no_fit(spec, fill)
        return fill
    if datatype is Datatype.BOOL:
        found = {"true": 1, "1": 1, "false": 0, "0": 0}.get(str(fill).lower())
        if found is None:
            raise _no_fit(spec, fill)
        return found
    if datatype in INTEGER_RANGE:
        low, high = INTEGER_RANGE[datatype]
        whole = _integer(fill)
        if whole is None or not low <= whole <= high:
            raise _no_fit(spec, fill)
        return whole
    number = _float(fill)
    with np.errstate(all="ignore"):
        if number is None or not np.isfinite(np.asarray(number).astype(datatype.dtype)):
            raise _no_fit(spec, fill)
    return number


def _integer(fill: object) -> int | None:
    if isinstance(fill, float):
        return int(fill) if fill.is_integer() else None
    try:
        return int(fill)  # type: ignore[call-overload, no-any-return]  # whatever is no number raises
    except (TypeError, ValueError):
        return None


def _float(fill: object) -> float | None:
    try:
        return float(fill)  # type: ignore[arg-type]  # as above
    except (TypeError, ValueError, OverflowError):
        return None


def _no_fit(spec: TensorSpec, fill: object) -> InvalidInput:
    kind = "a text" if spec.datatype is Datatype.BYTES else f"a finite number that {spec.datatype.value} holds"
    return InvalidInput(
        f"input '{spec.name}' cannot be padded with {str(fill)[:40]!r}",
        hint=f"the padding of this input must be {kind}",
        input=spec.name,
    )

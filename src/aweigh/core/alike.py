"""Whether one model can answer what another does: a version that is tried out, or a model that another falls back on. Pure."""

from aweigh.core.signature import Signature, TensorSpec


def gap_between(mine: Signature, theirs: Signature) -> str:
    """The first difference that a client would notice."""
    for what, ours, others in (("input", mine.inputs, theirs.inputs), ("output", mine.outputs, theirs.outputs)):
        wanted, offered = {spec.name: spec for spec in ours}, {spec.name: spec for spec in others}
        for name in [*wanted, *offered]:
            if name not in offered:
                return f"it has no {what} '{name}'"
            if name not in wanted:
                return f"it has one more {what}, '{name}'"
            if gap := _unlike(wanted[name], offered[name], shapes=what == "input"):
                return f"{what} '{name}' is {gap}"
    return ""


def _unlike(mine: TensorSpec, theirs: TensorSpec, *, shapes: bool) -> str:
    if mine.datatype is not theirs.datatype:
        return f"{theirs.datatype.value} there and {mine.datatype.value} here"
    if shapes and mine.wire_shape != theirs.wire_shape:
        return f"of shape {theirs.wire_shape} there and {mine.wire_shape} here"
    return ""

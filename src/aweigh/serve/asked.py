"""What is asked of a model, checked against its signature: inputs and outputs by name. The same words at both doors of Open Inference."""

from collections.abc import Container, Sequence
from typing import Final

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype

_DATATYPES: Final = frozenset(datatype.value for datatype in Datatype)


def input_spec(signature: Signature, name: str, datatype: str, taken: Container[str], place: str) -> TensorSpec:
    """The input of that name. Raises InvalidInput for a name that is unknown or already taken, and for another datatype than its own."""
    spec = signature.input(name)
    if datatype != spec.datatype.value:
        known = "" if datatype in _DATATYPES else " (no such datatype)"
        raise InvalidInput(
            f"input '{name}': expected datatype {spec.datatype.value}, got {datatype[:40]!r}{known}",
            hint="the model's metadata lists datatypes",
        )
    if name in taken:
        raise InvalidInput(f"{place}: input '{name}' is given twice")
    return spec


def output_positions(signature: Signature, names: Sequence[str]) -> tuple[int, ...]:
    """Where the outputs of those names stand in the signature. Raises InvalidInput for one that is unknown, or asked for twice."""
    by_name = {spec.name: at for at, spec in enumerate(signature.outputs)}
    for at, name in enumerate(names):
        if name not in by_name:
            raise InvalidInput(f"unexpected output '{name}'", hint=f"this model gives {', '.join(by_name)}")
        if name in names[:at]:
            raise InvalidInput(f"output '{name}' is asked for twice")
    return tuple([by_name[name] for name in names])

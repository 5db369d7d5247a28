"""What stands between a signature and a runtime's own tensor types: text, missing elements, number widths, a trailing axis of one.

Used by the ONNX runtimes at load to plan, and on each call only where something is to be done. Must never change a value silently:
whatever it casts is compared with the golden set before a session serves.
"""

from collections.abc import Callable, Sequence

import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.signature import TensorSpec
from aweigh.core.tensors import Datatype, Tensor, text_of

Adapter = Callable[[Tensor], Tensor]


def input_adapter(spec: TensorSpec, wanted: Datatype, missing_text: str | None, *, lowercase: bool = False) -> Adapter | None:
    """How an input gets from the signature's datatype to the one the model wants; None when there is nothing to do.

    `lowercase` lowers text as Python does (full Unicode), which ONNX's StringNormalizer does only for ASCII without an installed locale.
    """
    if (spec.datatype is Datatype.BYTES) != (wanted is Datatype.BYTES):
        raise InvalidFile(f"input '{spec.name}' is {spec.datatype.value} in the signature but {wanted.value} in the model")
    if wanted is Datatype.BYTES:
        return _LowerText(spec.name, missing_text) if lowercase else _Text(spec.name, missing_text)
    return None if spec.datatype is wanted else _Cast(wanted)


def output_adapter(spec: TensorSpec, given: Datatype, rank: int | None) -> Adapter | None:
    """How an output gets from the model's datatype and rank to the signature's; None when there is nothing to do."""
    steps: list[Adapter] = []
    if spec.datatype is not given:
        if Datatype.BYTES in (spec.datatype, given):
            raise InvalidFile(f"output '{spec.name}' is {spec.datatype.value} in the signature but {given.value} in the model")
        steps.append(_Cast(spec.datatype))
    wanted = len(spec.shape)
    if rank is not None and rank != wanted:
        if abs(rank - wanted) != 1:
            raise InvalidFile(f"output '{spec.name}' has {wanted} axes in the signature but {rank} in the model")
        steps.append(_drop_last_axis if rank > wanted else _add_last_axis)
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else lambda tensor: steps[1](steps[0](tensor))


class _Text:
    """Text for a model: bytes are read as UTF-8, a missing element becomes `missing_text`."""

    __slots__ = ("_missing", "_name")

    def __init__(self, name: str, missing: str | None) -> None:
        self._name = name
        self._missing = missing

    def __call__(self, tensor: Tensor) -> Tensor:
        flat: list[object] = tensor.ravel().tolist()
        texts = [item if item.__class__ is str else self._one(item) for item in flat]
        filled = np.empty(len(texts), dtype=object)
        filled[:] = texts
        return filled.reshape(tensor.shape)

    def _one(self, item: object) -> str:
        if item is not None:
            return text_of(item, self._name)
        if self._missing is None:
            raise InvalidInput(f"input '{self._name}' has a missing element, and this model takes none", hint="send text for every element")
        return self._missing


class _LowerText(_Text):
    """As `_Text`, lowered."""

    __slots__ = ()

    def __call__(self, tensor: Tensor) -> Tensor:
        texts = super().__call__(tensor)
        flat = texts.ravel()
        flat[:] = [item.lower() for item in flat.tolist()]
        return flat.reshape(texts.shape)


class _Cast:
    __slots__ = ("_dtype",)

    def __init__(self, datatype: Datatype) -> None:
        self._dtype = datatype.dtype

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.astype(self._dtype)


def _drop_last_axis(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[:-1])


def _add_last_axis(tensor: Tensor) -> Tensor:
    return tensor.reshape((*tensor.shape, 1))


def chosen(adapters: Sequence[Adapter | None]) -> list[tuple[int, Adapter]]:
    """The adapters that do something, with their positions."""
    return [(at, adapter) for at, adapter in enumerate(adapters) if adapter is not None]

"""The null runtime: answers zeros of the right shape at once, to measure what aweigh itself costs and to test servers without a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors

_MAX_KEPT: Final = 256


class NullRuntime:
    """Needs no file and no library."""

    name = "null"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:  # of Runtime
        """A session for any signature."""
        return _NullSession(signature)


class _NullSession:
    concurrent = True
    isolated = False

    def __init__(self, signature: Signature) -> None:
        self._outputs = signature.outputs
        self._axes = [(spec.name, at, axis) for spec in signature.inputs for at, axis in enumerate(spec.shape) if isinstance(axis, str)]
        self._kept: dict[tuple[int, ...], list[Tensor]] = {}

    def run(self, inputs: Tensors) -> list[Tensor]:
        """Zeros (empty text), shared between calls and read-only; a symbolic axis that no input has is 1 long."""
        sizes = tuple(inputs[name].shape[at] for name, at, _ in self._axes)
        found = self._kept.get(sizes)
        if found is None:
            named = {axis: size for (_, _, axis), size in zip(self._axes, sizes, strict=True)}
            found = [_empty(spec, named) for spec in self._outputs]
            if len(self._kept) < _MAX_KEPT:
                self._kept[sizes] = found
        return found.copy()

    def close(self) -> None:
        self._kept.clear()


def _empty(spec: TensorSpec, sizes: dict[str, int]) -> Tensor:
    shape = tuple(axis if isinstance(axis, int) else sizes.get(axis, 1) for axis in spec.shape)
    tensor: Tensor = np.full(shape, "", dtype=object) if spec.datatype is Datatype.BYTES else np.zeros(shape, dtype=spec.datatype.dtype)
    tensor.flags.writeable = False
    return tensor

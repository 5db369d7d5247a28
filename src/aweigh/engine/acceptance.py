"""Whether tensors fit a signature, asked the quick way: prepared once per model for the usual request, a matrix of one input.

Says yes or "ask the signature", never no: the signature explains. On the request path, so nothing here may be slower than it looks.
"""

from math import isfinite
from typing import Final

import numpy as np

from aweigh.core.errors import TooLarge
from aweigh.core.signature import Signature
from aweigh.core.tensors import NO_JSON, Datatype, Tensor, Tensors

_MAX: Final = {Datatype.FP32: float(np.finfo(np.float32).max), Datatype.FP64: float(np.finfo(np.float64).max)}
_SMALL: Final = 64
"""Up to here a Python loop over the values beats the array machinery."""


class Acceptance:
    """Prepared from a signature. `name`, `datatype`, `rank` and `tail` describe the only input, where `simple`."""

    __slots__ = ("_batched", "_finite", "_signature", "datatype", "dtype", "floats", "max_value", "name", "rank", "simple", "tail")

    def __init__(self, signature: Signature) -> None:
        spec = signature.inputs[0]
        self._signature = signature
        self._batched = signature.batched
        self.name = spec.name
        self.datatype = spec.datatype.value
        self.dtype = spec.datatype.dtype
        self.rank = len(spec.shape)
        self.tail = spec.shape[1:]
        self.simple = len(signature.inputs) == 1 and self._batched and all(isinstance(axis, int) for axis in self.tail)
        """One input, a batch axis first and fixed sizes after it."""
        in_json = all(output.datatype not in NO_JSON for output in signature.outputs)
        self.floats = self.simple and spec.datatype in _MAX and in_json
        """The only input holds floats, and every output has a form in JSON."""
        self.max_value = _MAX[spec.datatype] if self.floats else 0.0
        self._finite = not all(spec.takes_all for spec in signature.inputs)

    def rows(self, tensors: Tensors, max_rows: int) -> int:
        """Check everything and return the number of rows. Raises InvalidInput, TooLarge."""
        if self.simple and len(tensors) == 1:
            tensor = tensors.get(self.name)
            if tensor is not None and tensor.dtype is self.dtype and len(tensor.shape) == self.rank and tensor.shape[1:] == self.tail:
                rows: int = tensor.shape[0]
                if rows <= max_rows and (not self._finite or _all_finite(tensor)):
                    return rows
        self._signature.check(tensors)
        self._signature.check_finite(tensors)
        rows = self._signature.batch_size(tensors) if self._batched else 1
        if rows > max_rows:
            raise TooLarge(
                f"{rows} rows in one request; this server takes {max_rows}", hint="send fewer rows, or raise max_rows", max_rows=max_rows
            )
        return rows

    def takes_rows(self, tensor: Tensor) -> bool:
        """Whether a tensor of the only input's datatype and shape holds nothing that the model refuses. False: ask `rows`."""
        return not self._finite or _all_finite(tensor)

    def takes(self, values: list[float]) -> bool:
        """Whether a list of floats holds nothing that the model refuses, or that would overflow its datatype."""
        if not values:
            return True
        return max(values) <= self.max_value and min(values) >= -self.max_value


def _all_finite(tensor: Tensor) -> bool:
    if tensor.dtype.kind != "f":
        return False
    if tensor.size <= _SMALL:
        return isfinite(sum(tensor.ravel().tolist()))
    return bool(np.isfinite(tensor).all())

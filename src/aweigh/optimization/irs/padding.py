"""Rows of different lengths, padded to one: how long each is by its mask, so that ranges are taken from what it holds and not from its padding. Pure arithmetic."""

import numpy as np
from numpy.typing import NDArray

from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor


def unpadded(signature: Signature, row: dict[str, Tensor]) -> dict[str, Tensor]:
    """One row without its padding: every input that shares the mask's axis is cut at the mask's last one. As it is where there is no mask."""
    mask = next((spec for spec in signature.inputs if _is_mask(spec, row[spec.name])), None)
    if mask is None:
        return row
    length, axis = int(np.asarray(row[mask.name]).sum()), mask.shape[1]
    return {
        spec.name: row[spec.name][:, :length] if len(spec.shape) > 1 and spec.shape[1] == axis else row[spec.name]
        for spec in signature.inputs
    }


def _is_mask(spec: TensorSpec, tensor: Tensor) -> bool:
    """Ones and then noughts along a symbolic axis, at least one of each: "attention_mask" of a text that is shorter than its neighbours."""
    if len(spec.shape) != 2 or not isinstance(spec.shape[1], str) or tensor.dtype.kind not in "biu" or len(tensor) != 1:
        return False
    values: NDArray[np.int64] = tensor[0].astype(np.int64)
    ones = int(values.sum())
    return bool(0 < ones < len(values) and (values[:ones] == 1).all() and not values[ones:].any())

"""Sample rows for a model of named tensors: what a person gave, laid out as its inputs, or rows made from its signature. Called by `network.py` and `onnx.py`."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.sample import Sample, column_tensor

MADE_ROWS: Final = 32
MADE_AXIS: Final = 8
_SEED: Final = 11
_PICTURES: Final = ((0, 3, 1, 2), (0, 2, 3, 1))
"""Orders that move the channels to the front, and to the end."""


def shaped_tensors(signature: Signature | None, sample: Sample) -> dict[str, Tensor]:
    """The sample as input tensors. Raises InvalidInput that names what does not fit. Without a signature: as it is, arrays by name."""
    if sample.form == "frame":
        columns = {str(name): column_tensor(sample.data[name], str(name)) for name in sample.data.columns}
        return _from_columns(signature, columns) if signature else {name: tensor.reshape(-1, 1) for name, tensor in columns.items()}
    given: dict[str, Tensor] = dict(sample.data) if sample.form == "tensors" else {}
    if sample.form != "tensors":
        if signature and len(signature.inputs) != 1:
            names = ", ".join(f"'{spec.name}'" for spec in signature.inputs)
            raise InvalidInput(f"the sample is one array, the model takes {names}", hint="give an .npz with one array per input")
        given = {signature.inputs[0].name if signature else "X": sample.data}
    if signature is None:
        return given
    missing = [spec.name for spec in signature.inputs if spec.name not in given]
    if missing:
        raise InvalidInput(f"the sample has no array '{missing[0]}'", hint=f"it has {', '.join(given)}")
    return {spec.name: _cast(given[spec.name], spec) for spec in signature.inputs}


def _from_columns(signature: Signature, columns: dict[str, Tensor]) -> dict[str, Tensor]:
    names = [spec.name for spec in signature.inputs]
    if all(name in columns for name in names):
        return {spec.name: _cast(_as_rank(columns[spec.name], len(spec.shape)), spec) for spec in signature.inputs}
    if len(names) == 1 and all(tensor.dtype != object for tensor in columns.values()):
        return {names[0]: _cast(np.column_stack(list(columns.values())), signature.inputs[0])}
    raise InvalidInput(f"the sample's columns ({', '.join(list(columns)[:10])}) are not the model's inputs ({', '.join(names)})")


def _as_rank(tensor: Tensor, rank: int) -> Tensor:
    return tensor.reshape(-1, *[1] * (rank - 1)) if rank > 1 else tensor


def _cast(tensor: Tensor, spec: TensorSpec) -> Tensor:
    array: NDArray[Any] = np.asarray(tensor)
    if (array.dtype == object) != (spec.datatype is Datatype.BYTES):
        raise InvalidInput(f"the sample for '{spec.name}' has dtype {array.dtype}, the model takes {spec.datatype.value}")
    if array.ndim == len(spec.shape) - 1 and spec.shape[-1] == 1:
        array = array.reshape(*array.shape, 1)
    fixed = [(size, axis) for size, axis in zip(array.shape[1:], spec.shape[1:], strict=False) if isinstance(axis, int)]
    if array.ndim == len(spec.shape) and any(size != axis for size, axis in fixed):
        turned = _turned(array, spec)
        raise InvalidInput(
            f"the sample for '{spec.name}' has shape {list(array.shape)}, the model takes {spec.wire_shape}"
            + (": the channels stand at the other end" if turned else ""),
            hint=f"numpy.transpose(sample, {turned})" if turned else "",
        )
    if array.ndim not in {len(spec.shape), len(spec.shape) + 1}:
        raise InvalidInput(f"the sample for '{spec.name}' has {array.ndim} axes, the model takes {spec.wire_shape}")
    return np.ascontiguousarray(array.astype(spec.datatype.dtype, copy=False))


def _turned(array: NDArray[Any], spec: TensorSpec) -> tuple[int, ...]:
    """The order of axes in which pictures would fit whose channels stand at the other end, () where none does."""
    if array.ndim != len(spec.shape) or array.ndim != 4:
        return ()
    fits = (
        order
        for order in _PICTURES
        if all(axis == array.shape[at] or isinstance(axis, str) for at, axis in zip(order[1:], spec.shape[1:], strict=True))
    )
    return next(fits, ())


def made_tensors(signature: Signature, known: Iterable[str] = ()) -> dict[str, Tensor]:
    """Rows from the signature alone: normal floats, small whole numbers, texts among `known`. Equal axes get equal sizes."""
    random = np.random.default_rng(_SEED)
    texts = [*list(dict.fromkeys(known))[:500], "unseen", ""]
    made: dict[str, Tensor] = {}
    for spec in signature.inputs:
        shape = tuple(axis if isinstance(axis, int) else MADE_ROWS if axis == BATCH else MADE_AXIS for axis in spec.shape)
        if spec.datatype is Datatype.BYTES:
            filled = np.empty(int(np.prod(shape)), dtype=object)
            filled[:] = [texts[at] for at in random.integers(0, len(texts), len(filled))]
            made[spec.name] = filled.reshape(shape)
        elif spec.datatype.is_float:
            made[spec.name] = random.normal(size=shape).astype(spec.datatype.dtype)
        else:
            made[spec.name] = random.integers(0, 2, size=shape).astype(spec.datatype.dtype)
    return made

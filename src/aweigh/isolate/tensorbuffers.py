"""Tensors as a description plus raw buffers, for the channel between a parent and its worker. Used by both sides.

Numeric tensors travel as their memory; object tensors as msgpack, so that text, bytes, numbers and missing elements arrive as they were.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensor, count_of
from aweigh.isolate.channel import Buffer

_NUMERIC: Final = "biuf"
_MAX_RANK: Final = 64
_ELEMENTS: Final = frozenset({str, bytes, int, float, bool, type(None)})


class Described(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One tensor: name, numpy dtype ("O" for objects), shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def describe(tensors: Mapping[str, Tensor]) -> tuple[tuple[Described, ...], list[Buffer]]:
    """The descriptions and buffers of named tensors. Raises InvalidInput for a dtype or element that cannot travel."""
    descriptions, buffers = [], []
    for name, tensor in tensors.items():
        numeric = tensor.dtype.kind in _NUMERIC
        if not numeric and tensor.dtype.kind not in "OUST":
            raise InvalidInput(f"tensor '{name}': dtype {tensor.dtype} does not cross to another process")
        descriptions.append(Described(name=name, dtype=tensor.dtype.str if numeric else "O", shape=tensor.shape))
        buffers.append(_numbers(tensor) if numeric else _objects(name, tensor))
    return tuple(descriptions), buffers


def restore(descriptions: Sequence[Described], buffers: Sequence[bytearray]) -> dict[str, Tensor]:
    """The tensors again; numeric ones are writable arrays over the buffers. Raises InvalidFile when description and buffer disagree."""
    if len(descriptions) != len(buffers):
        raise InvalidFile(f"{len(descriptions)} tensors were told between processes, but {len(buffers)} came")
    return {told.name: _restore_one(told, buffer) for told, buffer in zip(descriptions, buffers, strict=True)}


def _numbers(tensor: Tensor) -> Buffer:
    flat = np.ascontiguousarray(tensor).reshape(-1)
    return flat.view(np.uint8).data if flat.size else b""


def _objects(name: str, tensor: Tensor) -> Buffer:
    try:
        return msgspec.msgpack.encode(tensor.ravel().tolist(), enc_hook=_plain)
    except (TypeError, ValueError, OverflowError) as error:  # a UnicodeEncodeError (lone surrogate) is a ValueError
        raise InvalidInput(f"tensor '{name}': an element does not cross to another process: {error}") from error


def _plain(item: object) -> object:
    if isinstance(item, np.generic):
        return item.item()
    if isinstance(item, str):
        return str.__str__(item)
    raise TypeError(f"a {type(item).__name__}")


def _restore_one(told: Described, buffer: bytearray) -> Tensor:
    count = count_of(told.shape)
    if len(told.shape) > _MAX_RANK or any(size < 0 for size in told.shape):
        raise InvalidFile(f"tensor '{told.name}' between processes has shape {list(told.shape)}")
    if told.dtype == "O":
        items = msgspec.msgpack.decode(buffer, type=list)
        if len(items) != count or not _ELEMENTS.issuperset(map(type, items)):
            raise InvalidFile(f"tensor '{told.name}' between processes: {len(items)} elements do not make {list(told.shape)} of text")
        filled = np.empty(count, dtype=object)
        filled[:] = items
        return filled.reshape(told.shape)
    dtype = np.dtype(told.dtype)
    if dtype.kind not in _NUMERIC or count * dtype.itemsize != len(buffer):
        raise InvalidFile(f"tensor '{told.name}' between processes: {len(buffer)} bytes do not make {list(told.shape)} of {told.dtype}")
    array: Tensor = np.frombuffer(buffer, dtype=dtype).reshape(told.shape)
    return array

"""Tensors in memory that a parent and its child share: a header that describes them, then their bytes. Used by both sides.

Numeric tensors lie there as their memory; object tensors as msgpack, so that text, bytes, numbers and missing elements arrive as they were.
Must never trust a size or place that the other side told: each is held against the memory there is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensor, count_of
from aweigh.isolate.channel import Buffer

_NUMERIC: Final = "biuf"
_MAX_RANK: Final = 64
_ALIGNMENT: Final = 64
_ELEMENTS: Final = frozenset({str, bytes, int, float, bool, type(None)})
_ITEMS: Final = msgspec.msgpack.Decoder(list[Any])


class Described(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One tensor: name, numpy dtype ("O" for objects), shape, and how many bytes it takes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


class Header(msgspec.Struct, frozen=True, array_like=True):
    """Of a request and of an answer: what was said, and the tensors that follow."""

    said: dict[str, Any]
    tensors: tuple[Described, ...] = ()


_HEADER: Final = msgspec.msgpack.Decoder(Header)
_ENCODER: Final = msgspec.msgpack.Encoder()


def describe(said: dict[str, Any], tensors: Mapping[str, Tensor]) -> tuple[bytes, list[Buffer]]:
    """The header and the bytes of named tensors. Raises InvalidInput for a dtype or element that cannot travel."""
    described, buffers = [], []
    for name, tensor in tensors.items():
        dtype = tensor.dtype
        if dtype.kind in _NUMERIC:
            kind, buffer = dtype.str, _numbers(tensor)
        elif dtype.kind in "OUST":
            kind, buffer = "O", _objects(name, tensor)
        else:
            raise InvalidInput(f"tensor '{name}': dtype {dtype} does not cross to another process")
        described.append(Described(name, kind, tensor.shape, len(buffer)))
        buffers.append(buffer)
    return _ENCODER.encode(Header(said, tuple(described))), buffers


def room_of(header: bytes, buffers: Sequence[Buffer]) -> int:
    """How many bytes `write` takes."""
    at = len(header)
    for buffer in buffers:
        at = _aligned(at) + len(buffer)
    return at


def write(view: memoryview, header: bytes, buffers: Sequence[Buffer]) -> None:
    """Lay header and tensors into memory that has room for them."""
    at = len(header)
    view[:at] = header
    for buffer in buffers:
        at = _aligned(at)
        end = at + len(buffer)
        view[at:end] = buffer
        at = end


def read(view: memoryview, header_bytes: int, *, copy: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write` laid there; without `copy`, numeric tensors are the memory itself. Raises InvalidFile where the header does not fit it."""
    try:
        header = _HEADER.decode(bytes(view[:header_bytes]))
    except msgspec.DecodeError as error:
        raise InvalidFile(f"a header between processes cannot be read: {error}") from error
    tensors: dict[str, Tensor] = {}
    at = header_bytes
    for told in header.tensors:
        at = _aligned(at)
        end = at + told.size
        if told.size < 0 or end > len(view):
            raise InvalidFile(f"tensor '{told.name}' between processes claims {told.size} bytes, which are not there")
        tensors[told.name] = _restored(told, view[at:end], copy=copy)
        at = end
    return header.said, tensors


def _aligned(at: int) -> int:
    return -(-at // _ALIGNMENT) * _ALIGNMENT


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


def _restored(told: Described, data: memoryview, *, copy: bool) -> Tensor:
    if len(told.shape) > _MAX_RANK or (told.shape and min(told.shape) < 0):
        raise InvalidFile(f"tensor '{told.name}' between processes has shape {list(told.shape)}")
    count = count_of(told.shape)
    if told.dtype == "O":
        return _restored_objects(told, data, count)
    try:
        dtype = np.dtype(told.dtype)
    except TypeError as error:
        raise InvalidFile(f"tensor '{told.name}' between processes has a dtype that is none") from error
    if dtype.kind not in _NUMERIC or count * dtype.itemsize != told.size:
        raise InvalidFile(f"tensor '{told.name}' between processes: {told.size} bytes do not make {list(told.shape)} of {told.dtype}")
    array: Tensor = np.frombuffer(bytearray(data) if copy else data, dtype=dtype).reshape(told.shape)
    return array


def _restored_objects(told: Described, data: memoryview, count: int) -> Tensor:
    try:
        items = _ITEMS.decode(bytes(data))  # its own copy: the other side could change it while it is judged
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFile(f"tensor '{told.name}' between processes cannot be read: {error}") from error
    if len(items) != count or not _ELEMENTS.issuperset(map(type, items)):
        raise InvalidFile(f"tensor '{told.name}' between processes: {len(items)} elements do not make {list(told.shape)} of text")
    filled = np.empty(count, dtype=object)
    filled[:] = items
    return filled.reshape(told.shape)

"""Tensors in memory that a parent and its child share: a header that describes them, then their bytes. Used by both sides.

Numeric tensors lie there as their memory; object tensors as msgpack, so that text, bytes, numbers and missing elements arrive as they were.
Must never trust a size or place that the other side told: each is held against the memory there is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensor, count_of
from aweigh.isolate.channel import Buffer

_NUMERIC: Final = "biuf"
_MAX_RANK: Final = 64
_ALIGNMENT: Final = 64
_MAX_REMEMBERED: Final = 256
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


class Layout(NamedTuple):
    """A header, where each tensor's bytes begin behind it, and how many bytes all take."""

    header: bytes
    starts: tuple[int, ...]
    size: int


_HEADER: Final = msgspec.msgpack.Decoder(Header)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Packer:
    """Lays tensors out. Remembers the layouts of numeric tensors, because requests are alike: making one costs more than all the rest."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], Layout] = {}

    def pack(self, said: dict[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Layout, list[Buffer]]:
        """The layout and the bytes of named tensors. Raises InvalidInput for a dtype or element that cannot travel."""
        key = tuple([(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()])
        layout = None if said else self._layouts.get(key)
        if layout is not None:
            return layout, [_numbers(tensor) for tensor in tensors.values()]
        told, buffers = _describe(tensors)
        layout = _layout(said, told)
        if not said and all(one.dtype != "O" for one in told):
            if len(self._layouts) >= _MAX_REMEMBERED:
                self._layouts.clear()
            self._layouts[key] = layout
        return layout, buffers


def write(view: memoryview, layout: Layout, buffers: Sequence[Buffer]) -> None:
    """Lay header and tensors into memory that has room for them."""
    header = layout.header
    view[: len(header)] = header
    for start, buffer in zip(layout.starts, buffers, strict=True):
        view[start : start + len(buffer)] = buffer


_Place = tuple[str, np.dtype[Any], tuple[int, ...], int, int]


class Unpacker:
    """Reads what `write` laid down. Remembers the headers of numeric tensors that it has judged."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[int, tuple[_Place, ...]]] = {}

    def unpack(self, view: memoryview, header_bytes: int, *, copy: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What was said, and the tensors; without `copy`, numeric ones are the memory itself. Raises InvalidFile where the header does not fit it."""
        data = bytes(view[:header_bytes])
        known = self._places.get(data)
        if known is None or known[0] > len(view):
            return self._judge(data, view, copy=copy)
        if copy:
            return {}, {name: np.ndarray(shape, dtype, bytearray(view[start:end])) for name, dtype, shape, start, end in known[1]}
        return {}, {name: np.ndarray(shape, dtype, view, start) for name, dtype, shape, start, _ in known[1]}

    def _judge(self, data: bytes, view: memoryview, *, copy: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            header = _HEADER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidFile(f"a header between processes cannot be read: {error}") from error
        tensors: dict[str, Tensor] = {}
        places: list[_Place] = []
        at = len(data)
        for told in header.tensors:
            start = _aligned(at)
            at = start + told.size
            if told.size < 0 or at > len(view):
                raise InvalidFile(f"tensor '{told.name}' between processes claims {told.size} bytes, which are not there")
            tensor = tensors[told.name] = _restored(told, view[start:at], copy=copy)
            places.append((told.name, tensor.dtype, told.shape, start, at))
        if not header.said and all(told.dtype != "O" for told in header.tensors):
            if len(self._places) >= _MAX_REMEMBERED:
                self._places.clear()
            self._places[data] = at, tuple(places)
        return header.said, tensors


def _layout(said: dict[str, Any], told: Sequence[Described]) -> Layout:
    header = _ENCODER.encode(Header(said, tuple(told)))
    starts: list[int] = []
    at = len(header)
    for one in told:
        starts.append(_aligned(at))
        at = starts[-1] + one.size
    return Layout(header, tuple(starts), at)


def _describe(tensors: Mapping[str, Tensor]) -> tuple[list[Described], list[Buffer]]:
    told: list[Described] = []
    buffers: list[Buffer] = []
    for name, tensor in tensors.items():
        dtype = tensor.dtype
        if dtype.kind in _NUMERIC:
            kind, buffer = dtype.str, _numbers(tensor)
        elif dtype.kind in "OUST":
            kind, buffer = "O", _objects(name, tensor)
        else:
            raise InvalidInput(f"tensor '{name}': dtype {dtype} does not cross to another process")
        told.append(Described(name, kind, tensor.shape, len(buffer)))
        buffers.append(buffer)
    return told, buffers


def _aligned(at: int) -> int:
    return -(-at // _ALIGNMENT) * _ALIGNMENT


def _numbers(tensor: Tensor) -> Buffer:
    try:
        return memoryview(tensor).cast("B")  # type: ignore[arg-type]  # numpy's arrays are buffers
    except (TypeError, ValueError):  # not in C order, empty, or of the other byte order
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
    except (TypeError, ValueError, SyntaxError) as error:  # numpy reads some texts as Python
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

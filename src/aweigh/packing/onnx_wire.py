"""Walks the top level of an ONNX file (protobuf wire format) without a protobuf library: is it a ModelProto, is it whole?

Called by `recognise`, and to tell which opset a file has. Reads keys and lengths only, through a memory map, so a file of any size costs microseconds.
"""

import mmap
from pathlib import Path
from typing import Final

_VARINT, _BYTES = 0, 2
_FIELDS: Final = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES} | dict.fromkeys(
    (14, 20, 25, 26), _BYTES
)
"""Field numbers of ModelProto and their wire types (onnx.proto)."""
_GRAPH, _OPSETS = 7, 8
_STANDARD: Final = (b"", b"ai.onnx")
_MAX_FIELDS: Final = 100_000
_MAX_IR_VERSION: Final = 100


class _NotAModel(Exception):
    """The bytes are no ModelProto."""


class _Truncated(Exception):
    """The bytes begin as a ModelProto and end too early; the text says where."""


def looks_like_model(path: Path, size: int) -> bool:
    """Whether the file is, field by field to its last byte, a ModelProto with a graph."""
    try:
        return _walk(path, size)
    except (_NotAModel, _Truncated):
        return False


def truncation(path: Path, size: int) -> str:
    """Where a file that begins as a ModelProto breaks off, or "" when it does not begin as one."""
    try:
        _walk(path, size)
    except _Truncated as error:
        return str(error)
    except _NotAModel:
        return ""
    return ""


def opset(path: Path) -> int:
    """The opset of the standard operators as the file says it; 0 where it says none, or is no model."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, size = 0, len(data)
            while at < size:
                key, at = _varint(data, at, size)
                value, at = _varint(data, at, size)
                if key & 7 == _BYTES:
                    version = _standard(data, at, min(at + value, size)) if key >> 3 == _OPSETS else 0
                    if version:
                        return version
                    at += value
    except (_NotAModel, _Truncated):
        return 0
    return 0


def _standard(data: mmap.mmap, at: int, end: int) -> int:
    """The version in an OperatorSetIdProto of the standard domain, else 0."""
    domain, version = b"", 0
    while at < end:
        key, at = _varint(data, at, end)
        value, at = _varint(data, at, end)
        if key & 7 == _BYTES:
            domain = data[at : at + value]
            at += value
        else:
            version = value
    return version if domain in _STANDARD else 0


def _walk(path: Path, size: int) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        seen: set[int] = set()
        for _ in range(_MAX_FIELDS):
            if at >= size:
                return _GRAPH in seen
            start = at
            key, at = _varint(data, at, size)
            field, wire = key >> 3, key & 7
            if _FIELDS.get(field) != wire or (not seen and field not in {1, 2, 7, 8}):
                raise _NotAModel
            value, at = _varint(data, at, size)
            if field == 1 and not 0 < value <= _MAX_IR_VERSION:
                raise _NotAModel
            if wire == _BYTES:
                if value > size - at:
                    if not seen:
                        raise _NotAModel
                    raise _Truncated(f"the field at byte {start} claims {value} bytes, {size - at} are left at byte {size}")
                at += value
            seen.add(field)
        raise _NotAModel


def _varint(data: mmap.mmap, at: int, size: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= size:
            raise _Truncated(f"a number is cut off at byte {size}") if at > 2 else _NotAModel
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _NotAModel

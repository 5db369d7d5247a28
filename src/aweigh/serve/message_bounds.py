"""Large gRPC inference requests, looked over before protobuf builds anything of them: two bytes of an empty submessage take a hundred in memory.

Called by the gRPC dialect. Walks tags and lengths as the protobuf encoding has them (protobuf.dev/programming-guides/encoding), stops at what
is malformed (the parser stops there too), and copies nothing.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.core.tensors import count_of

LARGE: Final = 64 * 1024
"""Below this many bytes the worst message costs little, whatever it holds."""
_MAX_FIELDS: Final = 8192
"""Fields that a request may have beside the values of its tensors."""
_MAX_SHAPE_BYTES: Final = 4096
_VARINT, _BYTES = 0, 2
_FIXED: Final = {1: 8, 5: 4}
_WIDTH: Final = {6: 4, 7: 8}
"""Bytes of a packed value of InferTensorContents' floats, by field number; all other packed values are varints."""
_TEXTS: Final = 8
_RAW: Final = 7


class _Field(NamedTuple):
    number: int
    wire: int
    data: memoryview
    """The bytes of a length-delimited field; empty for a number."""
    value: int
    end: int
    """Where the next field begins."""


def parted(data: memoryview, most_elements: Callable[[str, str], int]) -> tuple[bytes, list[memoryview]]:
    """A ModelInferRequest without its raw contents, and these, not copied.

    Raises TooLarge, InvalidInput for more values than the model takes (`most_elements` of its name and version) or the shapes say.
    """
    left, texts, inputs = _MAX_FIELDS, {1: "", 2: ""}, list[memoryview]()
    beside, raw, end = list[memoryview](), list[memoryview](), 0
    for field in _fields(data):
        left = _less(left, 1)
        if field.number == _RAW and field.wire == _BYTES:
            raw.append(field.data)
        elif field.number < _RAW:  # unknown ones are for nobody: protobuf would keep them
            beside.append(data[end : field.end])
        end = field.end
        if field.number in texts:
            texts[field.number] = bytes(field.data[:256]).decode("utf-8", "replace")
        elif field.number == 5:
            inputs.append(field.data)
        elif field.number in (4, 6):
            left = _less(left, _count(field.data, left))
    allowed = most_elements(texts[1], texts[2])
    for at, tensor in enumerate(inputs):
        left, allowed = _check_tensor(tensor, left, allowed, f"$.inputs[{at}]")
    return b"".join((*beside, data[end:])), raw


def text_of_field(data: memoryview, number: int) -> str:
    """The text of a field at the top of a message, as far as it can be found at little cost."""
    for at, field in enumerate(_fields(data)):
        if field.number == number and field.wire == _BYTES:
            return bytes(field.data[:1024]).decode("utf-8", "replace")
        if at > _MAX_FIELDS:
            break
    return ""


def _check_tensor(data: memoryview, left: int, allowed: int, place: str) -> tuple[int, int]:
    """What is left of fields and elements after this tensor."""
    shape: list[int] = []
    elements = 0
    for field in _fields(data):
        left = _less(left, 1)
        if field.number == 3:
            if len(field.data) > _MAX_SHAPE_BYTES:
                raise InvalidInput(f"{place}.shape takes {len(field.data)} bytes", hint="a shape has a handful of axes")
            shape += _varints(field.data) if field.wire == _BYTES else [field.value]
        elif field.number == 4:
            left = _less(left, _count(field.data, left))
        elif field.number == 5:
            elements += _elements(field.data, allowed)
    if elements > allowed:
        raise TooLarge(f"{place}.contents holds more than {allowed} elements", hint="send fewer rows in one request")
    if shape and min(shape) >= 0 and elements > count_of(shape):
        raise InvalidInput(f"{place}.contents has {elements} elements, but shape {shape[:40]} needs {count_of(shape)}")
    return left, allowed - elements


def _elements(contents: memoryview, most: int) -> int:
    """Values in an InferTensorContents; counts no further than just past `most`."""
    count = 0
    for field in _fields(contents):
        if field.wire != _BYTES or field.number == _TEXTS:
            count += 1
        elif field.number in _WIDTH:
            count += len(field.data) // _WIDTH[field.number]
        else:
            count += int(np.count_nonzero(np.frombuffer(field.data, np.uint8) < 0x80)) if field.data else 0
        if count > most:
            break
    return count


def _count(data: memoryview, most: int) -> int:
    """Fields of a message and of all in it, as if every length-delimited field were a message; no further than just past `most`."""
    count, waiting = 0, [data]
    while waiting and count <= most:
        for field in _fields(waiting.pop()):
            count += 1
            if count > most:
                break
            if len(field.data) > 1:
                waiting.append(field.data)
    return count


def _less(left: int, count: int) -> int:
    if count > left:
        raise TooLarge(f"the message has more than {_MAX_FIELDS} fields beside its data", hint="send fewer rows in one request")
    return left - count


def _fields(data: memoryview) -> Iterator[_Field]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at, end)
        wire, size, value = tag & 7, 0, 0
        if wire == _BYTES:
            size, at = _varint(data, at, end)
        elif wire == _VARINT:
            value, at = _varint(data, at, end)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise InvalidInput("the message holds a group, which no request has", hint="check the client's .proto file")
        if at > end or size > end - at:
            return
        yield _Field(tag >> 3, wire, data[at : at + size], value, at + size)
        at += size


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends; past the end where it is cut off or too long."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, end + 1


def _varints(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at, len(data))
        found.append(value - (1 << 64) if value >> 63 else value)
    return found

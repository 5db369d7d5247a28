"""Tensors without numpy: a datatype's name, a shape, and the elements in an `array` (a list for BYTES, bits for FP16). Raw forms are Open Inference's.

A string of bytes comes out of an array, and goes into one, without a look at its elements: only what speaks of rows makes Python numbers of them.
"""

from __future__ import annotations

import struct
from array import array

from .errors import Refusal, too_large

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CODES = {
    "BOOL": "B", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "H", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""Codes of `array` by datatype, of the sizes that they have on every Linux."""
SIZES = {name: array(code).itemsize for name, code in CODES.items()}
FLOATS = ("FP16", "FP32", "FP64")
RANGES = {
    "UINT8": (0, 2**8 - 1), "UINT16": (0, 2**16 - 1), "UINT32": (0, 2**32 - 1), "UINT64": (0, 2**64 - 1),
    "INT8": (-(2**7), 2**7 - 1), "INT16": (-(2**15), 2**15 - 1), "INT32": (-(2**31), 2**31 - 1), "INT64": (-(2**63), 2**63 - 1),
}  # fmt: skip
LARGEST = {"FP16": 65504.0, "FP32": (2.0 - 2.0**-23) * 2.0**127, "FP64": (2.0 - 2.0**-52) * 2.0**1023}
MAX_RANK = 32
_INFINITY = float("inf")


class Tensor:
    """One tensor."""

    __slots__ = ("data", "datatype", "shape")

    def __init__(self, datatype: str, shape: tuple[int, ...], data: Any) -> None:
        self.datatype = datatype
        self.shape = shape
        self.data = data


def count_of(shape: tuple[int, ...] | list[int]) -> int:
    """Elements of a shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def of_numbers(datatype: str, shape: tuple[int, ...], values: list[Any], place: str) -> Tensor:
    """A tensor of numbers that are of the datatype's sort. Raises Refusal for one that it does not hold."""
    try:
        data = _bits(values) if datatype == "FP16" else array(CODES[datatype], values)
    except (OverflowError, struct.error):
        raise _beyond(datatype, values, place) from None
    if datatype in FLOATS and datatype != "FP16" and (_INFINITY in data or -_INFINITY in data):
        _check_range(datatype, values, place)
    return Tensor(datatype, shape, data)


def _bits(values: list[float]) -> array[int]:
    """Halves, as their bits."""
    return array("H", struct.pack(f"<{len(values)}e", *values))


def _check_range(datatype: str, values: list[Any], place: str) -> None:
    largest = LARGEST[datatype]
    if any(largest < value < _INFINITY or -_INFINITY < value < -largest for value in values):
        raise _beyond(datatype, values, place)


def _beyond(datatype: str, values: list[Any], place: str) -> Refusal:
    low, high = RANGES.get(datatype) or (-LARGEST[datatype], LARGEST[datatype])
    at = next((at for at, value in enumerate(values) if not low <= value <= high and abs(value) != _INFINITY), 0)
    return Refusal(f"{place}[{at}] is {str(values[at])[:40]}: {datatype} holds {low} to {high}")


def values_of(tensor: Tensor) -> list[Any]:
    """The elements as Python values."""
    if tensor.datatype == "FP16":
        return list(struct.unpack(f"<{len(tensor.data)}e", tensor.data.tobytes()))
    if tensor.datatype == "BOOL":
        return [item != 0 for item in tensor.data]
    return list(tensor.data)


def cast(tensor: Tensor, datatype: str) -> Tensor:
    """The tensor in another datatype of numbers, as C casts it; what it changes, the golden set tells."""
    if tensor.datatype == datatype:
        return tensor
    values = values_of(tensor)
    if datatype in RANGES:
        low, high = RANGES[datatype]
        span = high - low + 1
        values = [(int(value) - low) % span + low if value - value == 0 else low for value in values]
    elif datatype == "BOOL":
        values = [value != 0 for value in values]
    elif datatype == "FP16":
        values = [value if abs(value) <= LARGEST["FP16"] or value != value else value * _INFINITY for value in values]
        return Tensor(datatype, tensor.shape, _bits(values))
    return Tensor(datatype, tensor.shape, array(CODES[datatype], values))


def from_raw(raw: bytes | memoryview, datatype: str, shape: tuple[int, ...], name: str) -> Tensor:
    """Read the raw form. Raises Refusal where the length does not fit the shape."""
    count = count_of(shape)
    if datatype == "BYTES":
        return Tensor(datatype, shape, _split(bytes(raw), count, name))
    if len(raw) != count * SIZES[datatype]:
        needed = count * SIZES[datatype]
        raise Refusal(f"input '{name}': {len(raw)} raw bytes, but shape {list(shape)[:8]} of {datatype} needs {needed}")
    data = array(CODES[datatype])
    data.frombytes(raw)
    if datatype == "BOOL" and data and max(data) > 1:
        raise Refusal(f"input '{name}': a BOOL byte must be 0 or 1, got {max(data)}")
    return Tensor(datatype, shape, data)


def to_raw(tensor: Tensor) -> bytes:
    """The raw form."""
    if tensor.datatype != "BYTES":
        return tensor.data.tobytes()  # type: ignore[no-any-return]  # an array's
    parts = []
    for item in tensor.data:
        text = item if isinstance(item, bytes) else b"" if item is None else text_bytes(item)
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


def text_bytes(text: str) -> bytes:
    """A text as UTF-8. Raises Refusal where it has no such form."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        place = f"text holds a lone surrogate at position {error.start}: it has no UTF-8 form"
        raise Refusal(place, hint="send valid Unicode") from None


def _split(raw: bytes, count: int, name: str) -> list[Any]:
    items: list[Any] = []
    at, end = 0, len(raw)
    while at + 4 <= end and len(items) < count:
        size = int.from_bytes(raw[at : at + 4], "little")
        if size > end - at - 4:
            raise Refusal(f"input '{name}': element {len(items)} of BYTES claims {size} bytes, {end - at - 4} are left")
        items.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    if len(items) != count or at != end:
        raise Refusal(f"input '{name}': raw BYTES hold {len(items)} whole elements in {at} of {end} bytes, the shape needs {count}")
    return items


def check_shape(shape: Any, max_elements: int, place: str) -> tuple[int, ...]:
    """A shape as a request states it. Raises Refusal for what is none, or has more elements than are taken."""
    if not isinstance(shape, list) or not all(size.__class__ is int for size in shape):
        raise Refusal(f"{place}.shape is no list of whole numbers")
    if len(shape) > MAX_RANK:
        raise Refusal(f"{place}.shape has {len(shape)} axes; {MAX_RANK} is the most")
    if any(size < 0 for size in shape):
        raise Refusal(f"{place}.shape: sizes are 0 or more", hint="-1 stands for a variable size in metadata only")
    if any(size > max_elements for size in shape) or count_of(shape) > max_elements:
        raise too_large(f"{place}.shape has more than {max_elements} elements", hint="send fewer rows")
    return tuple(shape)


def nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """Row-major elements as lists within lists."""
    if not shape:
        return values[0]
    if len(shape) == 1:
        return values
    step = count_of(shape[1:])
    return [nested(values[at * step : (at + 1) * step], shape[1:]) for at in range(shape[0])]

"""Tensors: the datatypes of Open Inference V2 over numpy arrays, and their raw little-endian form.

A tensor is a plain `numpy.ndarray`; its `Datatype` is told by the signature. Two datatypes have no numpy dtype of their own:
BYTES is an object array of `str` or `bytes` (`None` = missing), BF16 is carried as float32, which holds every bfloat16 exactly.
Must never copy where a view will do: this is on the request path.
"""

import enum
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput

Tensor = NDArray[np.generic] | NDArray[np.object_]
Tensors = Mapping[str, Tensor]
MAX_AXES_SHOWN: Final = 8


class Datatype(enum.StrEnum):
    """Names as in the Open Inference Protocol V2; BF16 is Triton's extension."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_integer(self) -> bool:
        return self.value.startswith(("INT", "UINT"))

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy dtype that carries this datatype in memory."""
        return DTYPES[self]

    @property
    def item_bytes(self) -> int | None:
        """Bytes of one element in raw form; None for BYTES, whose elements vary."""
        return None if self is Datatype.BYTES else (2 if self is Datatype.BF16 else DTYPES[self].itemsize)


_FLOATS: Final = frozenset({Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64})
DTYPES: Final[dict[Datatype, np.dtype[np.generic]]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype("<u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("<i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.BF16: np.dtype("<f4"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
    Datatype.BYTES: np.dtype(object),
}
_BY_DTYPE: Final = {dtype: name for name, dtype in DTYPES.items() if name is not Datatype.BF16}


NO_JSON: Final = frozenset({Datatype.FP16, Datatype.BF16})
"""Datatypes without a form in JSON (Open Inference V2)."""
PACKED: Final = frozenset({Datatype.BYTES, Datatype.BF16})
"""Datatypes whose raw form is not the bytes of their array."""
INTEGER_RANGE: Final[dict[Datatype, tuple[int, int]]] = {
    datatype: (-(2 ** (8 * dtype.itemsize - 1)), 2 ** (8 * dtype.itemsize - 1) - 1)
    if dtype.kind == "i"
    else (0, 2 ** (8 * dtype.itemsize) - 1)
    for datatype, dtype in DTYPES.items()
    if dtype.kind in "iu"
}
"""Smallest and largest value of each integer datatype."""


def out_of_range(values: Sequence[Any], datatype: Datatype) -> tuple[int, int | float, int | float]:
    """Position of the first number that the datatype cannot hold, and the datatype's bounds; infinities and NaN are held by every float."""
    low, high = INTEGER_RANGE[datatype] if datatype in INTEGER_RANGE else _float_range(datatype)
    for at, value in enumerate(values):
        if not low <= value <= high and (datatype in INTEGER_RANGE or math.isfinite(value)):
            return at, low, high
    raise InvalidInput(f"a number does not fit {datatype.value}")


def _float_range(datatype: Datatype) -> tuple[float, float]:
    largest = float(np.finfo(cast("np.dtype[np.floating[Any]]", datatype.dtype)).max)
    return -largest, largest


def datatype_of(array: Tensor) -> Datatype:
    """The datatype a numpy array stands for; text and object arrays are BYTES. Raises InvalidInput for any other dtype."""
    if array.dtype.kind in "OUST":
        return Datatype.BYTES
    found = _BY_DTYPE.get(array.dtype.newbyteorder("<")) if array.dtype.kind in "biuf" else None
    if found is None:
        raise InvalidInput(
            f"numpy dtype {array.dtype} has no Open Inference datatype", hint="cast it to a float, integer, bool or string array"
        )
    return found


def bf16_to_float32(raw: bytes | memoryview) -> NDArray[np.float32]:
    """Widen little-endian bfloat16 bytes; exact."""
    return (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)


def float32_to_bf16(array: NDArray[np.float32]) -> bytes:
    """Round float32 to bfloat16, ties to even, NaN kept quiet (IEEE 754); little-endian bytes."""
    bits = np.ascontiguousarray(array, dtype="<f4").view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype("<u2").tobytes()


def text_of(item: object, name: str = "") -> str:
    """One BYTES element of the input `name` as text. Raises InvalidInput when it is not UTF-8."""
    if isinstance(item, bytes):
        try:
            return item.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"input '{name}': " if name else ""
            raise InvalidInput(f"{where}a BYTES element is not UTF-8: {error}", hint="this model takes text: send UTF-8") from error
    return str(item)


def bytes_of(item: object) -> bytes:
    """One BYTES element as bytes; text is encoded as UTF-8, a missing element is empty. Raises InvalidInput on a lone surrogate."""
    if isinstance(item, bytes):
        return item
    try:
        return b"" if item is None else str(item).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text holds a lone surrogate at position {error.start}: it has no UTF-8 form", hint="send valid Unicode"
        ) from error


def to_raw(array: Tensor, datatype: Datatype) -> bytes:
    """Raw form of Open Inference V2: little-endian, row-major; BYTES as 4-byte length + bytes each (missing elements become empty)."""
    if datatype is Datatype.BYTES:
        parts: list[bytes] = []
        for item in array.ravel().tolist():
            data = bytes_of(item)
            parts += (struct.pack("<I", len(data)), data)
        return b"".join(parts)
    if datatype is Datatype.BF16:
        return float32_to_bf16(array.astype(np.float32, copy=False))
    return array.astype(DTYPES[datatype], copy=False).tobytes()


def count_of(shape: tuple[int, ...] | list[int]) -> int:
    """Number of elements of a shape, in exact integers."""
    count = 1
    for size in shape:
        count *= size
    return count


def from_raw(raw: bytes | memoryview, datatype: Datatype, shape: tuple[int, ...], *, name: str = "") -> Tensor:
    """Read the raw form. Raises InvalidInput, naming the tensor, when the length does not fit the shape. Numeric results are read-only views."""
    count = count_of(shape)
    if datatype is Datatype.BYTES:
        return _shaped(np.array(_split_bytes(raw, count, name), dtype=object), shape, name)
    expected = count * (datatype.item_bytes or 0)
    if len(raw) != expected:
        raise InvalidInput(f"input '{name}': {len(raw)} raw bytes, but shape {list(shape)} of {datatype.value} needs {expected}")
    if datatype is Datatype.BF16:
        return _shaped(bf16_to_float32(raw), shape, name)
    if datatype is Datatype.BOOL and raw and max(raw) > 1:
        raise InvalidInput(f"input '{name}': a BOOL byte must be 0 or 1, got {max(raw)}")
    return _shaped(np.frombuffer(raw, dtype=DTYPES[datatype]), shape, name)


def _shaped(flat: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if shape and min(shape) < 0:
        raise InvalidInput(f"input '{name}': shape {list(shape)} has a negative axis", input=name)
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # axes whose product is 0 but which numpy cannot hold, or too many of them
        raise InvalidInput(f"input '{name}': shape {list(shape[:MAX_AXES_SHOWN])} cannot be held: {error}", input=name) from error


def _split_bytes(raw: bytes | memoryview, count: int, name: str) -> list[object]:
    items: list[object] = []
    at, end = 0, len(raw)
    while at < end and len(items) < count:
        if end - at < 4:
            break
        size = int.from_bytes(raw[at : at + 4], "little")
        if size > end - at - 4:
            raise InvalidInput(f"input '{name}': element {len(items)} of BYTES claims {size} bytes, {end - at - 4} are left")
        items.append(bytes(raw[at + 4 : at + 4 + size]))
        at += 4 + size
    if len(items) != count or at != end:
        raise InvalidInput(f"input '{name}': raw BYTES hold {len(items)} whole elements in {at} of {end} bytes, the shape needs {count}")
    return items

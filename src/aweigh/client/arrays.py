"""Arrays to and from what both protocols carry; used by the transports. Must never change a value on the way: what has no form is refused."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from aweigh.core.arrays import array_of
from aweigh.core.errors import InternalError, InvalidInput
from aweigh.core.tensors import DTYPES, Datatype, Tensor, count_of, datatype_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WireArray:
    """One input, ready for the wire: little-endian and row-major, or an object array of text, bytes and None."""

    name: str
    datatype: Datatype
    array: Tensor


def wire_arrays(inputs: Iterable[tuple[str, object]]) -> list[WireArray]:
    """Check and normalise a caller's arrays (lists are taken too). Raises InvalidInput, naming the input."""
    return [_wire_array(name, value) for name, value in inputs]


def _wire_array(name: str, value: object) -> WireArray:
    try:
        array = array_of(value)
        if array.dtype.name == "bfloat16":  # ml_dtypes' own dtype; core carries BF16 as float32
            return WireArray(name=name, datatype=Datatype.BF16, array=np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape))
        datatype = datatype_of(array)
    except InvalidInput as error:
        raise InvalidInput(f"input '{name}': {error.message}", hint=error.hint, input=name) from error
    except ValueError as error:
        raise InvalidInput(f"input '{name}' is no array: {error}", hint="give an array, or lists of equal length", input=name) from error
    if datatype is Datatype.BYTES:
        return WireArray(name=name, datatype=datatype, array=_text_array(name, array))
    # ascontiguousarray makes a scalar one-dimensional
    plain = np.ascontiguousarray(array, dtype=DTYPES[datatype]).reshape(array.shape)
    return WireArray(name=name, datatype=datatype, array=plain)


def _text_array(name: str, array: Tensor) -> NDArray[np.object_]:
    items: list[object] = array.ravel().tolist()
    for at, item in enumerate(items):
        if isinstance(item, float) and item != item:  # NaN: how frames mark a missing text
            items[at] = None
        elif item is not None and not isinstance(item, str | bytes):
            raise InvalidInput(
                f"input '{name}': element {at} is {item!r} of type {type(item).__name__}, not text",
                hint="give text, bytes or None, or cast the array to a numeric dtype",
                input=name,
            )
    return object_array(items, array.shape)


def object_array(items: Sequence[object], shape: tuple[int, ...]) -> NDArray[np.object_]:
    """An object array of these items; numpy would otherwise make arrays of items that are sequences."""
    filled = np.empty(len(items), dtype=object)
    filled[:] = items
    return filled.reshape(shape)


def text_where_possible(items: Sequence[object]) -> list[object]:
    """BYTES elements of an answer: `str`, or the bytes themselves where they are not UTF-8."""
    return [_text(item) if isinstance(item, bytes) else item for item in items]


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        return item


def answered(name: str, datatype: str, shape: Sequence[int], items: Sequence[object]) -> Tensor:
    """An output from a flat or nested list, None being NaN. Raises InternalError, naming the output, when it does not add up."""
    try:
        kind = Datatype(datatype)
        if kind is Datatype.BYTES:
            flat = _flat(items)
            return object_array(text_where_possible(flat), tuple(shape))
        if not kind.is_float and None in items:
            raise ValueError(f"null has no {kind.value} form")
        array = np.array(items, dtype=DTYPES[kind])
        if array.size != count_of(list(shape)):
            raise ValueError(f"{array.size} elements for shape {list(shape)}")
        return array.reshape(tuple(shape))
    except (ValueError, TypeError, OverflowError) as error:
        raise InternalError(
            f"output '{name}' of the server cannot be read: {error}", hint="is the server an Open Inference server?"
        ) from error


def _flat(items: Sequence[object]) -> list[object]:
    found: list[object] = list(items)
    while any(isinstance(item, list) for item in found):
        found = [inner for item in found for inner in (item if isinstance(item, list) else [item])]
    return found

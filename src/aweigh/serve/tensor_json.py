"""Tensors in JSON, both ways, as Open Inference V2 has them: `data` flat or nested, row-major. Shared by the REST dialects.

The usual request (one list of numbers) is decoded straight into typed lists; everything else takes the slower, explaining road.
NaN and the infinities travel as the bare tokens NaN, Infinity and -Infinity, both ways; null stands for a missing value.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.core.signature import MAX_RANK, TensorSpec
from aweigh.core.tensors import INTEGER_RANGE, NO_JSON, Datatype, Tensor, bytes_of, count_of, out_of_range
from aweigh.serve.json_structure import structure

_FLOAT_LIST: Final = list[float | None]
_LISTS: Final[dict[Datatype, Any]] = {
    **dict.fromkeys(INTEGER_RANGE, list[int]),
    **{datatype: _FLOAT_LIST for datatype in Datatype if datatype.is_float},
    Datatype.BOOL: list[bool],
    Datatype.BYTES: list[str | None],
}
_ORJSON: Final = orjson.OPT_SERIALIZE_NUMPY
_MAX_LENIENT_BYTES: Final = 256 * 1024
"""Of a body with half a surrogate pair that is read a second time, to say in which field it is: one reader refuses it, the other lets it pass."""


def parse_json(body: bytes, max_depth: int, *, hint: str = "send a JSON object") -> Any:
    """Any JSON, bare NaN tokens included. Raises InvalidInput with the position, or for nesting deeper than `max_depth`."""
    check_depth(body, max_depth)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lenient = b"NaN" in body or b"Infinity" in body or ("surrogate" in str(error) and len(body) <= _MAX_LENIENT_BYTES)
        if not lenient:
            raise InvalidInput(f"the body is not JSON: {error}", hint=hint) from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", hint=hint) from None


def check_depth(body: bytes, max_depth: int) -> None:
    """Raise InvalidInput when brackets nest deeper than `max_depth`. Counts at C speed, and looks closer only where the count is high."""
    if body.count(b"[") + body.count(b"{") > max_depth:
        structure(body, max_depth)


def check_shape(shape: list[int], max_elements: int, place: str) -> int:
    """Elements of a shape. Raises InvalidInput for a negative size or too many axes, TooLarge past `max_elements`; exact integers throughout."""
    if len(shape) > MAX_RANK:
        raise InvalidInput(f"{place}.shape has {len(shape)} axes; {MAX_RANK} is the most")
    if shape and min(shape) < 0:
        raise InvalidInput(f"{place}.shape is {shape}: sizes are 0 or more", hint="-1 stands for a variable size in metadata only")
    if shape and max(shape) > max_elements:  # one of these may have thousands of digits: it is neither multiplied nor shown
        raise TooLarge(f"{place}.shape has an axis of more than {max_elements} elements", hint="max_elements sets the limit")
    count = count_of(shape)
    if count > max_elements:
        raise TooLarge(f"{place}.shape {shape} has {count} elements; this server takes {max_elements}", hint="max_elements sets the limit")
    return count


def numbers_to_tensor(data: list[Any], datatype: Datatype, shape: list[int], place: str) -> Tensor:
    """A flat list of numbers of the right sort to a tensor of `shape` (already checked). Raises InvalidInput for a count or value that does not fit."""
    _check_count(data, shape, place)
    try:
        with np.errstate(over="raise"):
            flat = np.array(data, dtype=datatype.dtype)
    except (OverflowError, FloatingPointError):
        at, low, high = out_of_range(data, datatype)
        raise InvalidInput(f"{place}[{at}] is {str(data[at])[:40]}: {datatype.value} holds {low} to {high}") from None
    return _shaped(flat, shape, place)


def texts_to_tensor(data: list[Any], shape: list[int], place: str) -> Tensor:
    """A flat list of texts, bytes or None to a BYTES tensor. Raises InvalidInput for a count that does not fit, or text without a UTF-8 form."""
    _check_count(data, shape, place)
    for at, item in enumerate(data):
        try:
            bytes_of(item)
        except InvalidInput as error:
            raise InvalidInput(f"{place}[{at}]: {error.message}", hint=error.hint) from None
    flat = np.empty(len(data), dtype=object)
    flat[:] = data
    return _shaped(flat, shape, place)


def _check_count(data: list[Any], shape: list[int], place: str) -> None:
    if len(data) != count_of(shape):
        raise InvalidInput(f"{place} has {len(data)} elements, but shape {shape} needs {count_of(shape)}")


def _shaped(flat: Tensor, shape: list[int], place: str) -> Tensor:
    try:
        return flat.reshape(shape)
    except ValueError as error:  # axes whose product is 0, but which numpy cannot hold
        raise InvalidInput(f"{place}: shape {shape} cannot be held: {error}") from None


def json_to_tensor(data: Any, datatype: Datatype, shape: list[int], place: str, name: str = "") -> Tensor:
    """Flat or nested JSON data to a tensor; null is NaN in floats and missing in BYTES. Raises InvalidInput with the JSON path."""
    if datatype in NO_JSON:
        raise InvalidInput(
            f"receiving {datatype.value} data via JSON is not supported. Please use the binary data format for input {name or place}",
            hint=f"{place}: send it with binary_data_size, or over gRPC",
        )
    if not isinstance(data, list):
        raise InvalidInput(f"{place}.data is {_sort(data)}: expected a list")
    flat = data
    if data and isinstance(data[0], list):
        flat = _flatten(data, shape, place)
    try:
        typed = msgspec.convert(flat, _LISTS[datatype])
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{place}.data: {_explain(error)} (datatype {datatype.value})") from None
    if datatype is Datatype.BYTES:
        return texts_to_tensor(typed, shape, f"{place}.data")
    if datatype.is_float and None in typed:
        typed = [np.nan if item is None else item for item in typed]
    return numbers_to_tensor(typed, datatype, shape, f"{place}.data")


def _flatten(data: list[Any], shape: list[int], place: str) -> list[Any]:
    """Row-major elements of nested lists whose nesting is exactly `shape`."""
    rows: list[Any] = data
    for axis, size in enumerate(shape[1:], 1):
        deeper: list[Any] = []
        for row in rows:
            if not isinstance(row, list) or len(row) != size:
                found = f"a list of {len(row)}" if isinstance(row, list) else _sort(row)
                raise InvalidInput(
                    f"{place}.data: on axis {axis} expected lists of {size}, got {found}", hint=f"the declared shape is {shape}"
                )
            deeper.extend(row)
        rows = deeper
    if shape and len(data) != shape[0]:
        raise InvalidInput(f"{place}.data holds {len(data)} rows, but shape {shape} needs {shape[0]}")
    return rows


def _sort(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _explain(error: msgspec.ValidationError) -> str:
    return str(error).replace(" - at `$", " - at `data")


def check_json_form(spec: TensorSpec) -> None:
    """Raise InvalidInput for an output that has no form in JSON, before a model is run for it."""
    if spec.datatype in NO_JSON:
        raise _no_json_form(spec)


def values_encoder(spec: TensorSpec, size: int) -> Callable[[Tensor], bytes]:
    """What turns an output of `size` elements into a flat JSON list; calling it raises InvalidInput where there is no JSON form."""
    if spec.datatype is Datatype.BYTES:
        return _encode_texts
    if spec.datatype in NO_JSON:
        return partial(_refuse, spec)
    return _encode_integer if spec.datatype.is_integer and size == 1 else _encode_numbers


def rows_encoder(spec: TensorSpec) -> Callable[[Tensor], list[bytes]]:
    """What turns an output of many rows into the inside of one flat JSON list for each of them; raises InvalidInput where there is no JSON form."""
    if spec.datatype is Datatype.BYTES:
        return _rows_of_texts
    if spec.datatype in NO_JSON:
        return partial(_refuse_rows, spec)
    return _rows_of_numbers


def _rows_of_numbers(array: Tensor) -> list[bytes]:
    table = np.ascontiguousarray(array.reshape(len(array), array.size // len(array)) if array.ndim > 1 else array)
    encoded = orjson.dumps(table, option=_ORJSON)
    if b"null" in encoded:
        encoded = _with_tokens(encoded, table.ravel())
    return encoded[2:-2].split(b"],[") if array.ndim > 1 else encoded[1:-1].split(b",")


def _rows_of_texts(array: Tensor) -> list[bytes]:
    return [_encode_texts(row)[1:-1] for row in array.reshape(len(array), array.size // len(array))]


def _refuse_rows(spec: TensorSpec, array: Tensor) -> list[bytes]:
    return [_refuse(spec, array)]


def _encode_integer(array: Tensor) -> bytes:
    return b"[%d]" % array.item()


def _encode_numbers(array: Tensor) -> bytes:
    encoded = orjson.dumps(array.ravel(), option=_ORJSON)
    return encoded if b"null" not in encoded else _with_tokens(encoded, array.ravel())


def _with_tokens(encoded: bytes, numbers: Tensor) -> bytes:
    """The bare tokens in place of the nulls that orjson writes for what is not finite."""
    tokens = [_TOKENS[str(number)] for number in numbers[~np.isfinite(numbers)].tolist()]
    pieces = encoded.split(b"null")
    return b"".join(piece + token for piece, token in zip(pieces, [*tokens, b""], strict=True))


_TOKENS: Final = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}


def _encode_texts(array: Tensor) -> bytes:
    return orjson.dumps([_json_text(item) for item in array.ravel().tolist()])


def _refuse(spec: TensorSpec, _: Tensor) -> bytes:
    raise _no_json_form(spec)


def _no_json_form(spec: TensorSpec) -> InvalidInput:
    return InvalidInput(
        f"sending {spec.datatype.value} data via JSON is not supported. Please use the binary data format for output",
        hint=f"output '{spec.name}': ask for it with binary_data, or over gRPC",
    )


def _json_text(item: object) -> str | None:
    if item is None:
        return None
    if isinstance(item, bytes):
        try:
            return item.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("an output holds bytes that are not UTF-8, which JSON cannot carry", hint="ask for it over gRPC") from None
    return str(item)

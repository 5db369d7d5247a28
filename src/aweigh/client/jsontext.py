"""JSON as inference servers speak it: NaN, Infinity and -Infinity stand bare. Used by the REST transport.

orjson is the fast path; it writes non-finite numbers as null and refuses the bare tokens, so those go through the standard library.
"""

import base64
import json
import math
from collections.abc import Sequence

import numpy as np
import orjson

from aweigh.client.values import Row
from aweigh.core.errors import InternalError, InvalidInput
from aweigh.core.tensors import Datatype, Tensor


def encode(document: object) -> bytes:
    """Write a document that may hold `numbers(…)`. Raises InvalidInput when a value has no JSON form."""
    try:
        return orjson.dumps(document, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a value has no JSON form: {error.__cause__ or error}", hint="send numbers, text, booleans or None") from error


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Write `{"rows": […]}`; missing values are None or NaN and become null, infinities stay infinities."""
    if any(_infinite(value) for row in rows for value in row.values()):
        try:
            return json.dumps(
                {"rows": [{name: _missing_as_none(value) for name, value in row.items()} for row in rows]}, default=_plain
            ).encode()
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"a value has no JSON form: {error}", hint="send numbers, text, booleans or None") from error
    return encode({"rows": rows})


def numbers(array: Tensor, datatype: Datatype) -> object:
    """The flat `data` of a numeric array, in a form that `encode` takes; NaN and infinities as bare tokens."""
    flat = array.ravel()
    if datatype.is_float and not np.isfinite(flat).all():
        return orjson.Fragment(json.dumps(flat.tolist()))
    return flat


def decode(body: bytes) -> object:
    """Read a document. Raises InternalError when it is no JSON."""
    try:
        return orjson.loads(body)
    except ValueError:
        try:
            found: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            shown = body[:80].decode("utf-8", "replace")
            raise InternalError(
                f"the server's answer is not JSON: {shown!r}: {error}", hint="is the URL that of an inference server?"
            ) from error
        return found


def _infinite(value: object) -> bool:
    return isinstance(value, float | np.floating) and math.isinf(value)


def _missing_as_none(value: object) -> object:
    return None if isinstance(value, float | np.floating) and math.isnan(value) else value


def _plain(value: object) -> object:
    """What orjson does not know: numpy's scalars are known to it, but not to the standard library."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value).__name__ in {"NAType", "NaTType"}:  # pandas' missing values, told without importing pandas
        return None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:  # a file: models that are asked with one take it so
            return base64.b64encode(value).decode("ascii")
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return isoformat()
    raise TypeError(f"{value!r} of type {type(value).__name__}")

"""JSON, both ways, by the C half of Python's own `json`: importing the whole of it takes as long as loading a small model.

Reads what `json` reads, and refuses what would be read differently by two readers: a key given twice, a number beyond all floats, brackets too deep.
"""

from __future__ import annotations

import _json

from .errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 64
_SPACE = " \t\r\n"
_HINT = "send a JSON object"
_NAN = float("nan")
_INFINITY = float("inf")
_CONSTANTS = {"NaN": _NAN, "Infinity": _INFINITY, "-Infinity": -_INFINITY}


class _Twice(ValueError):
    """A key that is given twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for at, name in enumerate(names) if name in names[:at]))
    return made


def _finite(text: str) -> float:
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise OverflowError(text)
    return number


class _Context:
    """What the scanner is told: it reads these names."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = staticmethod(_finite)
    parse_int = int
    parse_constant = staticmethod(_CONSTANTS.__getitem__)

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]  # typeshed takes it for what it makes


def read(data: bytes | bytearray, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that a body holds. Raises Refusal, saying where it is broken."""
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"the body is not UTF-8 at byte {error.start}", hint="JSON is sent in UTF-8") from None
    _check_depth(data, max_depth)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise Refusal(f"the body is not JSON: expecting a value at character {stop.value}", hint=_HINT) from None
    except _Twice as error:
        raise Refusal(f"the key {str(error)[:80]!r} is given twice in one object", hint="send each key once") from None
    except OverflowError as error:
        raise Refusal(f"the body is not JSON: the number {str(error)[:40]} is beyond all floats", hint=_HINT) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body is not JSON: {str(error)[:200]}", hint=_HINT) from None
    if text[end:].strip(_SPACE):
        raise Refusal(f"the body is not JSON: something follows at character {end}", hint=_HINT)
    return value


def _check_depth(data: bytes | bytearray, max_depth: int) -> None:
    """Brackets outside of texts, pair by pair from the inside, at C speed: what is left after `max_depth` rounds is deeper."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    bare = b"".join(bytes(data).replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    left = bare.translate(_BRACKETS, _OTHERS)
    for _ in range(max_depth):
        if b"[" not in left:
            return
        left = left.replace(b"[]", b"")
    if b"[" in left:
        raise Refusal(f"the JSON body nests deeper than {max_depth}", hint="flatten it")


_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(code for code in range(256) if code not in b"[]{}")


def write(value: Any, *, tokens: bool = False) -> bytes:
    """Compact JSON. What is not finite is null or, with `tokens`, one of the bare words that Open Inference takes."""
    return _text(value, tokens).encode("utf-8", "backslashreplace")


class Ready(str):
    """JSON that is written already."""

    __slots__ = ()


def _text(value: Any, tokens: bool) -> str:
    kind = value.__class__
    if kind is float:
        return repr(value) if value - value == 0.0 else _not_finite(value, tokens)
    if kind is str:
        return _json.encode_basestring(value)
    if kind is int:
        return repr(value)
    if kind is dict:
        return "{" + ",".join([f"{_json.encode_basestring(name)}:{_text(item, tokens)}" for name, item in value.items()]) + "}"
    if kind is list or kind is tuple:
        return "[" + ",".join([_text(item, tokens) for item in value]) + "]"
    if kind is Ready:
        return str(value)
    return {True: "true", False: "false", None: "null"}[value]


def _not_finite(value: float, tokens: bool) -> str:
    if not tokens:
        return "null"
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # NaN alone differs from itself

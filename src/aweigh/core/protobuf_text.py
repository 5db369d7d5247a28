"""Protobuf's text format (Triton's config.pbtxt, TensorFlow Serving's files), without a schema: read into plain dicts of lists, in which numbers and names stay text,
and written from data, in which no text can become structure.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from aweigh.core.errors import InvalidFile

Fields = dict[str, list[Any]]
_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[{}\[\]:,;<>])"""
)
_MAX_DEPTH: Final = 32
_ESCAPE: Final = re.compile(r"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[abfnrtv\\'\"?])")
_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?"}
_PRINTED: Final = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord('"'): '\\"', ord("\\"): "\\\\"}


def read_protobuf_text(text: str, *, place: str) -> Fields:
    """Every field with all its values, in order. Raises InvalidFile with the line."""
    return _Reader(text, place).fields(0, "")


class _Reader:
    def __init__(self, text: str, place: str) -> None:
        self._text = text
        self._place = place
        self._end = 0
        self._kind, self._word = "", ""
        self._next()

    def fields(self, depth: int, end: str) -> Fields:
        """Fields up to the mark that ends the message, which is taken."""
        if depth > _MAX_DEPTH:
            self._fail(f"nested more than {_MAX_DEPTH} deep")
        found: Fields = {}
        while self._word != end or self._kind == "text":
            if self._kind != "word":
                self._fail(f"{self._word[:40]!r} where the name of a field was expected")
            name = self._take()
            if self._word == ":":
                self._take()
            found.setdefault(name, []).extend(self._values(depth))
            while self._kind == "mark" and self._word in {",", ";"}:
                self._take()
        if end:
            self._take()
        return found

    def _values(self, depth: int) -> list[Any]:
        if self._word != "[" or self._kind != "mark":
            return [self._value(depth)]
        self._take()
        found = []
        while self._word != "]" or self._kind != "mark":
            found.append(self._value(depth))
            if self._kind == "mark" and self._word == ",":
                self._take()
        self._take()
        return found

    def _value(self, depth: int) -> Any:
        if self._kind == "mark" and self._word in {"{", "<"}:
            end = "}" if self._take() == "{" else ">"
            return self.fields(depth + 1, end)
        if self._kind == "text":
            parts = []
            while self._kind == "text":
                parts.append(_unquoted(self._take()))
            return "".join(parts)
        if self._kind != "word":
            self._fail(f"{self._word[:40]!r} where a value was expected")
        return self._take()

    def _take(self) -> str:
        taken = self._word
        self._next()
        return taken

    def _next(self) -> None:
        while self._end < len(self._text):
            match = _TOKEN.match(self._text, self._end)
            if match is None:
                self._fail(f"{self._text[self._end : self._end + 20]!r} is no text of protobuf")
            self._end = match.end()
            if match.lastgroup:
                self._kind, self._word = match.lastgroup, match[0]
                return
        self._kind, self._word = "", ""

    def _fail(self, what: str) -> NoReturn:
        line = self._text.count("\n", 0, self._end) + 1
        raise InvalidFile(f"{self._place}:{line}: {what or 'it ends too early'}", hint="the file is damaged")


def _unquoted(text: str) -> str:
    """The bytes that the literal stands for, as UTF-8; as it stands where they are none."""
    try:
        return _ESCAPE.sub(lambda found: _byte(found[1]), text[1:-1]).encode("utf-8", "surrogateescape").decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError, ValueError):
        return text[1:-1]


def _byte(escape: str) -> str:
    if escape in _LETTERS:
        return _LETTERS[escape]
    if escape[0] in "uU":
        return chr(int(escape[1:], 16))
    number = int(escape[1:], 16) if escape[0] in "xX" else int(escape, 8)
    return chr(number) if number < 128 else chr(0xDC00 + (number & 0xFF))  # how Python carries a byte of what is decoded afterwards


class Word(str):
    """The name of an enum's value, which stands without quotes."""

    __slots__ = ()


Value = str | int | float | bool | Mapping[str, Any] | Sequence[Any]


def protobuf_text(fields: Mapping[str, Value], *, said: Sequence[str] = ()) -> bytes:
    """The text of a message: a list is a repeated field, a mapping a message. `said` are lines of comment at its head.

    Raises ValueError for the name of a field, or of an enum's value, that is no identifier.
    """
    head = [f"# {line if line.isprintable() else ascii(line)}" for text in said for line in text.splitlines()]
    return ("\n".join([*head, *_lines(fields, "")]) + "\n").encode("ascii", "backslashreplace")


def _lines(fields: Mapping[str, Value], indent: str) -> list[str]:
    lines = []
    for name, value in fields.items():
        _identifier(name)
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, Mapping):
                lines += [f"{indent}{name} {{", *_lines(each, indent + "  "), f"{indent}}}"]
            else:
                lines.append(f"{indent}{name}: {_scalar(each)}")
    return lines


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return _identifier(value)
    if isinstance(value, str):
        return '"' + "".join(_PRINTED.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in value.encode()) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int | float):
        return repr(value)
    raise ValueError(f"{type(value).__name__} has no text in protobuf")


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError(f"{text[:80]!r} is no identifier")
    return str(text)

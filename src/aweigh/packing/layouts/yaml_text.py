"""Reads the part of YAML that tools write (mappings, lists, scalars by indentation): no tags, anchors or other things that could make objects.

Used for MLmodel, model.yaml and their like. Scalars stay text, but for null, true and false.
"""

import re
import sys
from typing import Any, Final, NoReturn

import msgspec

from aweigh.core.errors import InvalidFile

_MAX_LINES: Final = 20_000
_MAX_DEPTH: Final = 32
_KEY: Final = re.compile(r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"\[{&*!|>%@`#,\]}-][^:#]*?|-[^\s:]+)\s*:(?:\s+(?P<rest>.*))?$""")
_PLAIN: Final = {"": None, "null": None, "~": None, "true": True, "false": False}
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}
_BLOCK: Final = re.compile(r"[|>][+-]?$")


def read_yaml(text: str, *, place: str) -> dict[str, Any]:
    """The mapping that the text is. Raises InvalidFile with the line."""
    reader = _Reader(text, place)
    found = reader.block(0, 0)
    if reader.at < len(reader.lines):
        reader.fail("a line that belongs to nothing")
    if not isinstance(found, dict):
        raise InvalidFile(f"{place}: not a YAML mapping", hint="the folder is damaged, or of another tool")
    return found


class _Reader:
    """The lines that are left: (number, indentation, text), comments and empty lines taken out."""

    def __init__(self, text: str, place: str) -> None:
        self.place = place
        self.at = 0
        rows = text.splitlines()
        if len(rows) > _MAX_LINES:
            raise InvalidFile(f"{place}: {len(rows)} lines, of {_MAX_LINES} that are read")
        self.lines = [
            (number, len(row) - len(row.lstrip(" ")), row.strip())
            for number, row in enumerate(rows, 1)
            if row.strip() and not row.lstrip().startswith("#") and row.strip() not in {"---", "..."}
        ]

    def fail(self, what: str) -> NoReturn:
        number = self.lines[min(self.at, len(self.lines) - 1)][0] if self.lines else 0
        raise InvalidFile(f"{self.place}:{number}: {what}", hint="only plain YAML is read here: mappings, lists and scalars")

    def block(self, indent: int, depth: int) -> Any:
        """The mapping or list that begins at this line."""
        if depth > _MAX_DEPTH:
            self.fail(f"nested more than {_MAX_DEPTH} deep")
        if self.at >= len(self.lines):
            return {}
        return self._list(indent, depth) if _is_item(self.lines[self.at][2]) else self._mapping(indent, depth)

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.at < len(self.lines) and self.lines[self.at][1] == indent and not _is_item(self.lines[self.at][2]):
            match = _KEY.match(self.lines[self.at][2])
            if match is None:
                self.fail("neither 'key: value' nor '- item'")
            key = str(_unquoted(match["key"]) if match["key"][0] in "'\"" else match["key"])
            if key in found:
                self.fail(f"the key {key[:80]!r} a second time")
            found[key] = self._value(match["rest"] or "", indent, depth, in_mapping=True)
        return found

    def _list(self, indent: int, depth: int) -> list[Any]:
        found: list[Any] = []
        while self.at < len(self.lines) and self.lines[self.at][1] == indent and _is_item(self.lines[self.at][2]):
            number, _, text = self.lines[self.at]
            rest = text[1:].lstrip()
            inner = indent + len(text) - len(rest)
            if _is_item(rest) or _KEY.match(rest):
                self.lines[self.at] = (number, inner, rest)
                found.append(self.block(inner, depth + 1))
            else:
                found.append(self._value(rest, indent, depth, in_mapping=False))
        return found

    def _value(self, rest: str, indent: int, depth: int, *, in_mapping: bool) -> Any:
        """What stands behind a key or a dash, and on the lines that belong to it."""
        if rest[:1] in {"&", "*", "!"}:
            self.fail(f"{rest[:40]!r}: tags, anchors and aliases are not read")
        self.at += 1
        if not rest or rest.startswith("#"):
            below = self.lines[self.at] if self.at < len(self.lines) else None
            if below is not None and (below[1] > indent or (in_mapping and below[1] == indent and _is_item(below[2]))):
                return self.block(below[1], depth + 1)
            return None
        if _BLOCK.match(rest):
            return ("\n" if rest[0] == "|" else " ").join(self._deeper(indent))
        if rest[0] in "'\"":
            return self._quoted(rest)
        if rest[0] in "[{":
            return self._flow(" ".join([rest, *self._deeper(indent)]))
        text = " ".join([rest, *self._deeper(indent)]).partition(" #")[0].rstrip()
        return _PLAIN.get(text.lower(), text) if len(text) < 6 else text

    def _deeper(self, indent: int) -> list[str]:
        found = []
        while self.at < len(self.lines) and self.lines[self.at][1] > indent:
            found.append(self.lines[self.at][2])
            self.at += 1
        return found

    def _quoted(self, text: str) -> str:
        while not _closed(text):
            if self.at >= len(self.lines):
                self.fail("a quoted text without its end")
            text = text[:-1] + self.lines[self.at][2] if _continued(text) else f"{text} {self.lines[self.at][2]}"
            self.at += 1
        return _unquoted(text)

    def _flow(self, text: str) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _closed(text: str) -> bool:
    """Whether a quoted scalar, a comment behind it or not, is at its end."""
    pattern = r"'(?:[^']|'')*'(\s+#.*)?$" if text[0] == "'" else r'"(?:[^"\\]|\\.)*"(\s+#.*)?$'
    return re.fullmatch(pattern, text) is not None


def _continued(text: str) -> bool:
    """Whether a double-quoted line ends in the backslash that joins the next one to it."""
    return text[0] == '"' and (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _unquoted(text: str) -> str:
    end = text.rindex(text[0])
    inner = text[1:end]
    if text[0] == "'":
        return inner.replace("''", "'")
    return _ESCAPE.sub(_character, inner)


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number <= sys.maxunicode else "\ufffd"
    return _ESCAPED.get(code, code)

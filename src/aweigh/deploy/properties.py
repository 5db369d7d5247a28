"""Java's properties files, which TorchServe reads: written from data, so that no value becomes a further line, and read back."""

from collections.abc import Mapping, Sequence
from typing import Final

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}
_BACK: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


def properties_text(values: Mapping[str, str], *, said: Sequence[str] = ()) -> bytes:
    """`key=value` lines in their order; `said` are lines of comment at the head."""
    head = [f"# {line if line.isprintable() else ascii(line)}" for text in said for line in text.splitlines()]
    lines = [f"{_escaped(key, whole=True)}={_escaped(value, whole=False)}" for key, value in values.items()]
    return ("\n".join([*head, *lines]) + "\n").encode("ascii", "backslashreplace")


def _escaped(text: str, *, whole: bool) -> str:
    """`whole`: of a key, in which a separator or a space anywhere would end it."""
    found = []
    for at, character in enumerate(text):
        if character in _SHORT:
            found.append(_SHORT[character])
        elif character == "\\" or (character in "=:" and whole) or (character in "#! " and (whole or at == 0)):
            found.append("\\" + character)
        elif " " <= character <= "~":
            found.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            found += [f"\\u{units[each : each + 2].hex()}" for each in range(0, len(units), 2)]
    return "".join(found)


def read_properties(text: str) -> dict[str, str]:
    """As Java reads them: comments, continued lines and escapes; a later line of a key wins."""
    values: dict[str, str] = {}
    waiting = ""
    for line in (each.lstrip(" \t\f") for each in text.splitlines()):
        if not waiting and (not line or line[0] in "#!"):
            continue
        waiting += line
        if (len(waiting) - len(waiting.rstrip("\\"))) % 2:
            waiting = waiting[:-1]
            continue
        key, value = _split(waiting)
        values[_unescaped(key)] = _unescaped(value)
        waiting = ""
    return values


def _split(line: str) -> tuple[str, str]:
    at = 0
    while at < len(line) and line[at] not in "=: \t\f":
        at += 2 if line[at] == "\\" else 1
    rest = line[at:].lstrip(" \t\f")
    return line[:at], rest[1:].lstrip(" \t\f") if rest[:1] in {"=", ":"} else rest


def _unescaped(text: str) -> str:
    found, at = "", 0
    while at < len(text):
        if text[at] != "\\" or at + 1 == len(text):
            found, at = found + text[at], at + 1
        elif text[at + 1] == "u":
            found, at = found + chr(int(text[at + 2 : at + 6], 16)), at + 6
        else:
            found, at = found + _BACK.get(text[at + 1], text[at + 1]), at + 2
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

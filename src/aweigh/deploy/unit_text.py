"""Data as a unit file of systemd: sections of keys and values, quoted so that no value becomes a further word, specifier, variable or line.

Used by the targets `systemd` and `cloud-init`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from aweigh.core.errors import InvalidFile, InvalidInput

Value = str | Sequence[str]
Unit = Mapping[str, Sequence[tuple[str, Value]]]
"""Section -> keys and values in order. A sequence of words is a command or assignments: each word is quoted."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=,@+-]+", re.ASCII)


def unit_text(unit: Unit, *, said: Sequence[str] = ()) -> bytes:
    """The file; `said` are lines of comment at its head. Raises InvalidInput for values that hold a line's end or NUL."""
    lines = [f"# {line}" for text in said for line in text.splitlines()]
    for section, entries in unit.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [f"{key}={_value(value)}" for key, value in entries]
    return ("\n".join(lines) + "\n").encode()


def _value(value: Value) -> str:
    if isinstance(value, str):
        return _one_line(value).replace("%", "%%")
    return " ".join(_word(each) for each in value)


def _one_line(text: str) -> str:
    if not text.isprintable() or text.endswith("\\"):
        raise InvalidInput(f"{text[:80]!r} cannot stand in a unit file", hint="take line ends and control characters out of it")
    return text


def _word(text: str) -> str:
    word = _one_line(text).replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_unit(data: bytes, *, place: str) -> dict[str, list[tuple[str, str]]]:
    """Sections of keys and values as they stand there. Raises InvalidFile with the line."""
    found: dict[str, list[tuple[str, str]]] = {}
    section: list[tuple[str, str]] | None = None
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text[0] == "[" and text[-1] == "]":
            section = found.setdefault(text[1:-1], [])
            continue
        key, equals, value = text.partition("=")
        if section is None or not equals:
            raise InvalidFile(f"{place}:{number}: {text[:80]!r} is neither a section nor KEY=VALUE", hint="mend it, or render it again")
        section.append((key.strip(), value.strip()))
    return found

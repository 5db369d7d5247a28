"""Commands as a script that people read and run, and read back as lists of words: every word is quoted, so that none can become anything else.

Used by targets whose client takes words and no file.
"""

import shlex
from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import InvalidFile, InvalidInput

_HEAD: Final = "#!/bin/sh\n"
_SET: Final = ["set", "-eu"]


def script_text(*commands: Sequence[str], said: Sequence[str] = ()) -> bytes:
    """A script of these commands, an option a line; `said` are lines of comment at its head. Raises InvalidInput for words that no program can be given."""
    head = "".join(f"# {line}\n" for text in said for line in text.splitlines())
    return (_HEAD + head + shlex.join(_SET) + "\n" + "".join(_told(words) for words in commands)).encode()


def _told(words: Sequence[str]) -> str:
    if any("\0" in word or "\n" in word for word in words):
        raise InvalidInput("a word of a command holds a line's end or NUL", hint="take it out of the name or option that it came from")
    lines: list[str] = []
    for word in words:
        if word.startswith("--") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(lines) + "\n"


def read_script(data: bytes, *, place: str) -> list[list[str]]:
    """The commands of a script that `script_text` wrote, as a person may have changed them. Raises InvalidFile for what only a shell could run."""
    try:
        lines = data.decode().replace("\\\n", " ").splitlines()
        commands = [words for line in lines if (words := shlex.split(line, comments=True))]
    except ValueError as error:
        raise InvalidFile(f"{place} is no list of commands: {error}", hint="mend it, or render it again with --force") from error
    commands = [words for words in commands if words != _SET]
    if script_text(*commands) != _without_comments(data):
        hint = "quote each word; for anything that needs a shell run the script yourself"
        raise InvalidFile(f"{place} holds more than plain commands", hint=hint)
    return commands


def _without_comments(data: bytes) -> bytes:
    lines = data.decode().splitlines(keepends=True)
    return "".join(line for at, line in enumerate(lines) if at == 0 or not line.startswith("#")).encode()

"""The programs of vendors (`kubectl`, `docker`, `gcloud`, …), run as lists of words: never through a shell, never without a time limit."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from aweigh.core.errors import DeadlineExceeded, Refused, Unavailable

_TOLD: Final = 2000
"""Characters of what a program said that are passed on: its last lines."""


class Commands:
    """Runs programs. `environment` is added to this process's own."""

    def __init__(self, *, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}

    def there(self, program: str) -> bool:
        """Whether the program can be found."""
        return shutil.which(program, path=self._environment.get("PATH")) is not None

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        """What it printed. Raises Unavailable where it is not there, Refused with its own words where it failed, DeadlineExceeded."""
        program = words[0]
        if not self.there(program):
            raise Unavailable(
                f"the program {program!r} is not there", hint=f"install {program}, or run the rendered files' commands where it is"
            )
        try:
            done = subprocess.run(
                words, input=stdin, cwd=folder, env=self._environment, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"{' '.join(words[:2])} took longer than {timeout_s:g} s") from None
        except OSError as error:
            raise Unavailable(f"{program} cannot be run: {error.strerror}", hint="look at its installation") from error
        if done.returncode:
            said = _told((done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace"))
            raise Refused(
                f"{' '.join(words[:3])} failed with {done.returncode}: {said or 'it said nothing'}",
                hint=f"look at what {program} says of it",
            )
        return done.stdout.decode("utf-8", "replace")


def _told(text: str) -> str:
    """The last lines of it, each once where it comes several times."""
    kept, room = [], _TOLD
    for line in reversed(list(dict.fromkeys(text.splitlines()))):
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(reversed(kept)) or text[-_TOLD:]

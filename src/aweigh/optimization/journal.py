"""What a search has finished, kept as it goes: a folder for each candidate, complete or absent, so that a search that was ended goes on where it was.

Several searches may use it at once: whoever works on a candidate holds its lock, and others wait for what it finds.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import StoreUnavailable
from aweigh.core.whole import whole
from aweigh.optimization.report import Result

_RESULT: Final = "result.json"
_FILES: Final = "files"
_DECODER: Final = msgspec.json.Decoder(Result)


class Journal:
    """Below a folder, by the keys of candidates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def found(self, key: str) -> Result | None:
        """A finished result whose files are there; None where there is none that can be used."""
        place = self.folder / key / _RESULT
        try:
            result = _DECODER.decode(place.read_bytes())
        except (OSError, msgspec.DecodeError):  # not finished, or of another version
            return None
        return result if all(Path(file).is_file() for file in result.files.values()) else None

    @contextlib.contextmanager
    def in_turn(self, key: str) -> Iterator[Path]:
        """A folder for a candidate's files, alone. What a candidate that never finished left there is removed. Raises StoreUnavailable."""
        place = self.folder / key
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = (place / "lock").open("w")
        except OSError as error:
            raise StoreUnavailable(f"{place} cannot be written: {error.strerror}", hint="free space, or set another home") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = place / _FILES
            if self.found(key) is None:
                shutil.rmtree(files, ignore_errors=True)
            files.mkdir(exist_ok=True)
            yield files

    def keep(self, key: str, result: Result) -> None:
        """Write a finished result, whole or not at all. Raises StoreUnavailable."""
        place = self.folder / key
        try:
            with whole(place / _RESULT) as file:
                file.write(msgspec.json.encode(result))
        except OSError as error:
            raise StoreUnavailable(f"{place} cannot be written: {error.strerror}", hint="free space, or set another home") from error

"""What a search has finished, kept as it goes: a folder for each candidate, complete or absent, so that a search that was ended goes on where it was.

Several searches may use it at once: whoever works on a candidate holds its lock, and others wait for what it finds, as long as their own time lasts.
"""

import contextlib
import fcntl
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep, time
from typing import IO, Final

import msgspec

from aweigh.core.errors import DeadlineExceeded, StoreUnavailable
from aweigh.core.whole import whole
from aweigh.optimization.report import Result

UNUSED_S: Final = 30 * 86400.0
_RESULT: Final = "result.json"
_FILES: Final = "files"
_DECODER: Final = msgspec.json.Decoder(Result)
_POLL_S: Final = 0.05


class Journal:
    """Below a folder, by the keys of candidates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Note that it is used, and remove those beside it that nobody used for `UNUSED_S`: longer than a search may last. Raises StoreUnavailable."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
        except OSError as error:
            raise StoreUnavailable(f"{self.folder} cannot be written: {error.strerror}", hint="free space, or set another home") from error
        for other in self.folder.parent.iterdir():
            with contextlib.suppress(OSError):  # another search may remove it too
                if other != self.folder and time() - other.lstat().st_mtime > UNUSED_S:
                    shutil.rmtree(other, ignore_errors=True)

    def found(self, key: str) -> Result | None:
        """A finished result whose files are there; None where there is none that can be used."""
        place = self.folder / key / _RESULT
        try:
            result = _DECODER.decode(place.read_bytes())
        except (OSError, msgspec.DecodeError):  # not finished, or of another version
            return None
        return result if all(Path(file).is_file() for file in result.files.values()) else None

    @contextlib.contextmanager
    def in_turn(self, key: str, *, until: float = math.inf, waits: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """A folder for a candidate's files, alone. What a candidate that never finished left there is removed. Who has to wait for another search is told so by
        `waits`, and waits until `until` (monotonic seconds). Raises StoreUnavailable, DeadlineExceeded."""
        place = self.folder / key
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = (place / "lock").open("w")
        except OSError as error:
            raise StoreUnavailable(f"{place} cannot be written: {error.strerror}", hint="free space, or set another home") from error
        with lock:
            _lock(lock, until, waits)
            files = place / _FILES
            if self.found(key) is None:
                shutil.rmtree(files, ignore_errors=True)
            files.mkdir(exist_ok=True)
            yield files

    def keep(self, key: str, result: Result) -> None:
        """Write a finished result, whole or not at all. One that failed is not finished: a deadline, a lack of memory or an error in somebody's training code need not
        come again. Raises StoreUnavailable."""
        if result.outcome == "failed":
            return
        place = self.folder / key
        try:
            with whole(place / _RESULT) as file:
                file.write(msgspec.json.encode(result))
        except OSError as error:
            raise StoreUnavailable(f"{place} cannot be written: {error.strerror}", hint="free space, or set another home") from error


def _lock(lock: IO[str], until: float, waits: Callable[[], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if monotonic() >= until:
                raise DeadlineExceeded("another search was at work on it until the time was over") from None
        if not told:
            waits()
            told = True
        sleep(min(_POLL_S, max(0.0, until - monotonic())))

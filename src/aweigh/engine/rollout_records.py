"""What is written down of rollouts, so that it outlives the server. An end that cannot be written is kept, and written as soon as it can be: what the
disk says of a rollout that ended would begin it anew at the next start.

Used by `rollouts`, on its event loop; `Keeper` blocks, and is called on the one thread that they share.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from aweigh.core.errors import AweighError
from aweigh.core.rollout import MAX_ENDED, Record, Report

_LOG: Final = logging.getLogger("aweigh.rollout")
_AGAIN_S: Final = 1.0
"""Between two times that what could not be written is tried again."""
_LAST_S: Final = 5.0
"""How long a server that ends waits for it."""


class Keeper(Protocol):
    """What outlives the server: the records of rollouts, and the alias that names the version which is live. Blocks; raises StoreUnavailable."""

    def names(self) -> list[str]:
        """The names that have a record."""
        ...

    def read(self, name: str) -> Record: ...
    def write(self, name: str, record: Record) -> None:
        """Replace a record as a whole."""
        ...

    def newest(self, name: str) -> int:
        """The newest version of a name. Raises ModelNotFound."""
        ...

    def live(self, name: str) -> int | None:
        """The version that the alias names."""
        ...

    def check(self, name: str, stable: int, candidate: int) -> None:
        """Raises Conflict where the candidate cannot answer what the stable version does; ModelNotFound."""
        ...

    def move(self, name: str, number: int) -> None:
        """Let the alias name a version."""
        ...


class Records:
    """The records of all names, as they are on disk or ought to be."""

    def __init__(self, keeper: Keeper, thread: ThreadPoolExecutor) -> None:
        self._keeper = keeper
        self._thread = thread
        self._unwritten: dict[str, tuple[Report, ...]] = {}
        """What has ended and may not be on disk, by name, oldest first."""
        self._file = threading.Lock()
        self._again: asyncio.Task[None] | None = None
        self._closed = False

    def unwritten(self, name: str) -> Report | None:
        """The last end of a name, where it may not be on disk."""
        return next(reversed(self._unwritten.get(name, ())), None)

    async def names(self) -> list[str]:
        """The names that have a record. Raises StoreUnavailable."""
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._keeper.names)
        return sorted({*found, *self._unwritten})

    async def read(self, name: str) -> Record:
        """The record of a name, and what is not on disk yet. Raises StoreUnavailable."""
        record = await asyncio.get_running_loop().run_in_executor(self._thread, self._keeper.read, name)
        return _with_ends(record, self._unwritten.get(name, ()))

    async def save(self, report: Report) -> None:
        """Write down what is under way. Raises StoreUnavailable."""
        await self._put(report.plan.name, report)

    async def end(self, report: Report) -> None:
        """Write down how a rollout ended. Raises StoreUnavailable, and tries again until it is written or the server ends."""
        name = report.plan.name
        self._unwritten[name] = (*self._unwritten.get(name, ()), report)[-MAX_ENDED:]
        try:
            await self._put(name)
        except AweighError as error:
            told = {"model": name, "state": report.state, "error": error.message, "hint": error.hint}
            _LOG.error("the end of a rollout cannot be written down: it is tried again until it is", extra=told)
            raise
        finally:
            if name in self._unwritten and not self._closed and (self._again is None or self._again.done()):
                self._again = asyncio.ensure_future(self._catch_up())

    def close(self) -> None:
        """Try once more to write what is not written, not for long; what cannot be is begun anew by the next start."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        left, self._unwritten = self._unwritten, {}
        if left:
            writing = threading.Thread(target=self._write_all, args=(left,), name="aweigh-rollouts-last", daemon=True)
            writing.start()
            writing.join(_LAST_S)

    async def _catch_up(self) -> None:
        while self._unwritten:
            await asyncio.sleep(_AGAIN_S)
            for name in list(self._unwritten):
                with contextlib.suppress(AweighError):
                    await self._put(name)
                    _LOG.info("the end of a rollout is written down after all", extra={"model": name})

    async def _put(self, name: str, current: Report | None = None) -> None:
        ends = self._unwritten.get(name, ())
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, name, ends, current)
        left = tuple(report for report in self._unwritten.pop(name, ()) if report not in ends)
        if left:
            self._unwritten[name] = left

    def _write(self, name: str, ends: Sequence[Report], current: Report | None = None) -> None:
        with self._file:
            record = _with_ends(self._keeper.read(name), ends)
            self._keeper.write(name, record if current is None else record.with_current(current))

    def _write_all(self, left: Mapping[str, Sequence[Report]]) -> None:
        for name, ends in left.items():
            try:
                self._write(name, ends)
            except AweighError as error:
                told = {"model": name, "error": error.message, "hint": error.hint}
                _LOG.error("the end of a rollout is not written down: the next start begins it anew", extra=told)


def _with_ends(record: Record, ends: Sequence[Report]) -> Record:
    """With what has ended; what the record has of it already is there once."""
    for report in ends:
        if report not in record.ended:
            record = record.with_end(report)
    return record

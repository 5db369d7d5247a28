"""Shared memory of the workers of one server: a slab for each, written by its worker alone and read by all. It outlives a worker that is killed.

Used by `statistics` (what each model did), by the wire (connections) and by the supervisor (heartbeat). Numbers are eight aligned bytes each, so
a reader sees an old one or a new one, never half of one. Must never wait: there is no lock in it.
"""

import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from typing import Final, NamedTuple

from aweigh.core.errors import Kind

SLAB_BYTES: Final = 16 * 1024 * 1024
"""Of address space: pages that nobody writes take no memory."""
HEADER_BYTES: Final = 4096
RECORD_BYTES: Final = 8192
SLOTS: Final = 8192
"""Connections of one worker of which the supervisor has a duplicate, at most; a number for each, behind the header."""
_RECORDS_AT: Final = HEADER_BYTES + 8 * SLOTS
MAX_RECORDS: Final = (SLAB_BYTES - _RECORDS_AT) // RECORD_BYTES
MAX_BATCH_SIZES: Final = 256
_KEY_BYTES: Final = 256

BEATS, STATE, PID, OPEN, ACCEPTED, REFUSED, RECORDS, PATIENT_UNTIL, LINES_DROPPED, LOADS_FAILED, LATE, ENDED = range(12)
CELLS: Final = 12
"""Cells of a slab's header. OPEN, of connections, is a gauge; PATIENT_UNTIL a time of `monotonic` in milliseconds; LINES_DROPPED counts log lines,
LATE requests that were refused undecoded because the event loop was behind. ENDED counts workers that ended unasked; the supervisor
writes it, once the worker is no more."""
STARTING, SERVING, LOADING, DRAINING = range(4)
"""Values of STATE. A worker that is STARTING or LOADING may hold its event loop for longer than one that serves."""
FREE, UNREAD, UNKNOWN, SENT = range(4)
"""What is written of a connection: that there is none, that nothing was read from it, that it is not to be answered for, else SENT + the bytes that had been
sent on it when its last request was read."""

KINDS: Final = tuple(Kind)
_TIMES: Final = struct.Struct("<qqqddddddqdd")
_AT_TIMES: Final = _KEY_BYTES
_AT_FAILED: Final = _AT_TIMES + 128
_AT_DURATION: Final = _AT_FAILED + 256
_AT_QUEUED: Final = _AT_DURATION + 256
_AT_SIZES: Final = _AT_QUEUED + 256
_AT_CALLS: Final = _AT_SIZES + 8 * MAX_BATCH_SIZES
_AT_SECONDS: Final = _AT_CALLS + 8 * MAX_BATCH_SIZES
_AT_CACHE: Final = _AT_SECONDS + 8 * MAX_BATCH_SIZES
_AT_END: Final = _AT_CACHE + 8 * 2


class Connections(NamedTuple):
    """What a wire counts: connections open now, accepted ever, and requests that it did not understand."""

    open: int = 0
    accepted: int = 0
    refused: int = 0


class Slow(NamedTuple):
    """What is written now and then rather than with each answer: a gauge, what does not fit the table of batches, and seconds."""

    in_flight: int = 0
    other_calls: int = 0
    """Calls with a size of batch for which there was no place any more."""
    other_rows: int = 0
    duration_s: float = 0.0
    queued_s: float = 0.0
    decoding_s: float = 0.0
    encoding_s: float = 0.0
    last: float = 0.0
    """When the last answer was given, by `perf_counter`, which all processes of a machine share."""
    failed_s: float = 0.0
    cache_bytes: int = 0
    """What the response cache holds of it now: a gauge."""
    cache_hit_s: float = 0.0
    cache_miss_s: float = 0.0


class Record:
    """What one worker says of one version of a model. The tables are written in place; sums of them are the counts of answers, calls and rows."""

    __slots__ = ("_at", "_memory", "cache", "calls", "duration", "failed", "key", "queued", "seconds", "sizes")

    def __init__(self, memory: mmap.mmap, at: int, key: str) -> None:
        self._memory = memory
        self._at = at
        self.key = key
        cells = memoryview(memory)[at : at + RECORD_BYTES]
        self.failed = cells[_AT_FAILED:_AT_DURATION].cast("q")
        """By the position of the kind in KINDS."""
        self.duration = cells[_AT_DURATION:_AT_QUEUED].cast("q")
        self.queued = cells[_AT_QUEUED:_AT_SIZES].cast("q")
        self.sizes = cells[_AT_SIZES:_AT_CALLS].cast("q")
        """Rows of a batch, by its place in the table; 0 from the first free place on."""
        self.calls = cells[_AT_CALLS:_AT_SECONDS].cast("q")
        self.seconds = cells[_AT_SECONDS:_AT_CACHE].cast("d")
        self.cache = cells[_AT_CACHE:_AT_END].cast("q")
        """Hits and misses of the response cache."""

    @property
    def slow(self) -> Slow:
        return Slow(*_TIMES.unpack_from(self._memory, self._at + _AT_TIMES))

    @slow.setter
    def slow(self, said: Slow) -> None:
        _TIMES.pack_into(self._memory, self._at + _AT_TIMES, *said)

    def clear_gauges(self) -> None:
        """What the worker had under way is no more."""
        self.slow = self.slow._replace(in_flight=0, cache_bytes=0)


class Slab:
    """The part of one worker. `cells` is its header, `slots` what it says of its connections."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self._memory = memory
        self._at = place * SLAB_BYTES
        self.cells = memoryview(memory)[self._at : self._at + HEADER_BYTES].cast("q")
        self.slots = memoryview(memory)[self._at + HEADER_BYTES : self._at + _RECORDS_AT].cast("q")

    def record(self, key: str) -> Record | None:
        """The worker's record of that key, made where there is none, continued where a dead worker left one; None when the slab is full."""
        for known in self.records():
            if known.key == key:
                return known
        count = self.cells[RECORDS]
        if count >= MAX_RECORDS:
            return None
        at, name = self._record_at(count), key.encode()
        self._memory[at : at + 2 + len(name)] = len(name).to_bytes(2, "little") + name
        self.cells[RECORDS] = count + 1  # last: readers see whole records
        return Record(self._memory, at, key)

    def records(self) -> Iterator[Record]:
        """Every record of this worker and of those that had the slab before it."""
        for number in range(self.cells[RECORDS]):
            at = self._record_at(number)
            size = int.from_bytes(self._memory[at : at + 2], "little")
            yield Record(self._memory, at, self._memory[at + 2 : at + 2 + size].decode())

    def clear_gauges(self) -> None:
        """Forget what is only true of a living worker; totals stay."""
        self.cells[OPEN] = self.cells[STATE] = self.cells[PID] = self.cells[PATIENT_UNTIL] = 0
        for record in self.records():
            record.clear_gauges()

    def _record_at(self, number: int) -> int:
        return self._at + _RECORDS_AT + number * RECORD_BYTES


class Board:
    """The slabs of all workers, in one file without a name that children inherit."""

    def __init__(self, descriptor: int, slabs: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, slabs * SLAB_BYTES)
        self.slabs = [Slab(self._memory, place) for place in range(slabs)]

    @classmethod
    def create(cls, slabs: int) -> "Board":
        """A new board, all zero."""
        if sys.platform == "linux":
            descriptor = os.memfd_create("aweigh-workers")
        else:
            descriptor, path = tempfile.mkstemp(prefix="aweigh-workers-")
            os.unlink(path)  # noqa: PTH108  # a name that nobody needs
        os.ftruncate(descriptor, slabs * SLAB_BYTES)
        return cls(descriptor, slabs)

    def connections(self) -> Connections:
        """The sums over all workers."""
        return Connections(*map(self.total, (OPEN, ACCEPTED, REFUSED)))

    def total(self, cell: int) -> int:
        """The sum of one cell over all workers, the dead included."""
        return sum(slab.cells[cell] for slab in self.slabs)

    def close(self) -> None:
        """Close the file; the memory goes with the last process that maps it."""
        os.close(self.descriptor)

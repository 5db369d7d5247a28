"""What one model has done: counts by outcome and latency histograms that add up across workers. Written on the request path, read by /metrics.

Only the event loop's thread writes; a reader may see a request half counted, never a wrong total. With several workers each also writes its
counts to shared memory (`slab.py`) before its answer leaves, and seconds soon after, so that `total()` tells what all did, the dead included.

To count something more: a slot here, a place in the record of `slab.py`, and a line where it is written and in `_add`.
"""

import logging
from bisect import bisect_left
from collections.abc import MutableSequence
from typing import Final

from aweigh.core.errors import Kind
from aweigh.engine.slab import KINDS, MAX_BATCH_SIZES, Board, Record, Slab, Slow

_LOG = logging.getLogger("aweigh.engine")
BOUNDS_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram buckets in seconds; one more bucket takes the rest."""
BUCKETS: Final = len(BOUNDS_S) + 1


class Histogram:
    """Counts per bucket and the sum, in seconds. `counts` may lie in shared memory."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, counts: MutableSequence[int] | None = None) -> None:
        self.counts = [0] * BUCKETS if counts is None else counts
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class ModelStatistics:
    """Requests answered and failed, rows, and how long they took: in all, in the queue, per size of batch, and around the model."""

    __slots__ = (
        "_board", "_calls", "_other_calls", "_other_rows", "_record", "batches", "cache_bytes", "cache_hit_s", "cache_hits",
        "cache_miss_s", "cache_misses", "decoding_s", "duration", "encoding_s", "executions", "failed", "failed_s", "in_flight", "last", "queued", "rows", "succeeded", "turns",
    )  # fmt: skip

    def __init__(self, record: Record | None = None, board: Board | None = None) -> None:
        self._record = record
        self._board = board
        self.succeeded = 0
        self.executions = 0
        """Calls of the session that answered; fewer than requests where these ran together."""
        self.rows = 0
        """Of those calls: what the response cache answered adds none."""
        self.in_flight = 0
        self.turns = 0
        """Batches that wait for the end of this turn of the event loop: too short for a gauge, but a model is not closed under them."""
        self.failed: dict[Kind, int] = {}
        self.failed_s = 0.0
        """From a request's arrival at its model to its failure."""
        self.duration = Histogram(None if record is None else record.duration)  # type: ignore[arg-type]  # a memoryview of whole numbers
        """From decoded request to outputs, the wait for a thread included."""
        self.queued = Histogram(None if record is None else record.queued)  # type: ignore[arg-type]  # as above
        self.decoding_s = 0.0
        """From bytes to tensors, written by the dialects that measure it."""
        self.encoding_s = 0.0
        self.last = 0.0
        """When the last request succeeded, in seconds of `perf_counter`; 0 for never."""
        self.batches: dict[int, list[float]] = {}
        """Rows -> calls of the session with so many rows, the seconds they took, and a place in the table. No more than MAX_BATCH_SIZES sizes are told apart."""
        self.cache_hits = self.cache_misses = 0
        """Requests that the response cache answered, and those that it was asked for in vain."""
        self.cache_hit_s = self.cache_miss_s = 0.0
        """Looking up; for misses also keeping."""
        self.cache_bytes = 0
        self._other_calls = self._other_rows = 0
        if record is not None:  # one that a worker left that had this place before is gone on with
            self._calls = record.calls
            self._add(record)
            self.in_flight = self.cache_bytes = 0

    def success(self, seconds: float, rows: int, waited: float = 0.0) -> None:
        """One request that one call answered; the seconds are those from its tensors to its outputs, of which it waited some."""
        self.succeeded += 1
        self.rows += rows
        duration = self.duration
        duration.counts[bisect_left(BOUNDS_S, seconds)] += 1
        duration.sum_s += seconds
        self.execution(seconds - waited, rows)

    def answered(self, seconds: float, rows: int) -> None:
        """One request; the call that answered it, with others, is counted by itself."""
        self.succeeded += 1
        self.rows += rows
        duration = self.duration
        duration.counts[bisect_left(BOUNDS_S, seconds)] += 1
        duration.sum_s += seconds

    def together(self, seconds: float, rows: int, requests: int) -> None:
        """Several requests that one call answered, each counted with the seconds of the whole."""
        self.succeeded += requests
        self.rows += rows
        duration = self.duration
        duration.counts[bisect_left(BOUNDS_S, seconds)] += requests
        duration.sum_s += seconds * requests
        self.execution(seconds, rows)

    def execution(self, seconds: float, rows: int) -> None:
        """One call of the session, after what it answered was counted."""
        self.executions += 1
        batch = self.batches.get(rows)
        if batch is not None:
            batch[0] += 1
            batch[1] += seconds
        elif len(self.batches) < MAX_BATCH_SIZES:
            batch = self._new_batch(rows, seconds)
        if self._record is not None:
            if batch is None:
                self._other_calls += 1
                self._other_rows += rows
                self.publish()
            else:
                self._calls[batch[2]] = batch[0]  # type: ignore[call-overload]  # both are whole numbers

    def cache_hit(self, seconds: float) -> None:
        """One request that the response cache answered: a success that no call was needed for."""
        self.succeeded += 1
        self.cache_hits += 1
        self.cache_hit_s += seconds
        self.duration.observe(seconds)
        if self._record is not None:
            self._record.cache[0] = self.cache_hits

    def cache_miss(self, seconds: float) -> None:
        """One request that the response cache did not know; what becomes of it is counted by itself."""
        self.cache_misses += 1
        self.cache_miss_s += seconds
        if self._record is not None:
            self._record.cache[1] = self.cache_misses

    def _new_batch(self, rows: int, seconds: float) -> list[float]:
        place = len(self.batches)
        self.batches[rows] = batch = [1, seconds, place]
        if self._record is not None:
            self._record.sizes[place] = rows
        return batch

    def failure(self, kind: Kind, seconds: float = 0.0) -> None:
        self.failed[kind] = self.failed.get(kind, 0) + 1
        self.failed_s += seconds
        if self._record is not None:
            self._record.failed[KINDS.index(kind)] = self.failed[kind]

    def publish(self) -> None:
        """Write what is not in shared memory yet: the event loop does so every tenth of a second. Without workers there is nothing to do."""
        if self._record is not None:
            self._record.slow = Slow(
                in_flight=self.in_flight,
                other_calls=self._other_calls,
                other_rows=self._other_rows,
                duration_s=self.duration.sum_s,
                queued_s=self.queued.sum_s,
                decoding_s=self.decoding_s,
                encoding_s=self.encoding_s,
                last=self.last,
                failed_s=self.failed_s,
                cache_bytes=self.cache_bytes,
                cache_hit_s=self.cache_hit_s,
                cache_miss_s=self.cache_miss_s,
            )
            for _, seconds, place in self.batches.values():
                self._record.seconds[int(place)] = seconds

    def total(self) -> "ModelStatistics":
        """What all workers did with this version of the model, this one included; itself where there is one process."""
        if self._record is None or self._board is None:
            return self
        self.publish()
        total = ModelStatistics()
        for slab in self._board.slabs:
            for record in slab.records():
                if record.key == self._record.key:
                    total._add(record)
        return total

    def _add(self, record: Record) -> None:
        slow = record.slow
        for kind, count in zip(KINDS, record.failed, strict=False):
            if count:
                self.failed[kind] = self.failed.get(kind, 0) + count
        for size, calls, seconds in zip(record.sizes, record.calls, record.seconds, strict=True):
            if not size and not calls:
                break
            batch = self.batches.setdefault(size, [0, 0.0, len(self.batches)])
            batch[0] += calls
            batch[1] += seconds
            self.executions += calls
            self.rows += size * calls
        self.executions += slow.other_calls
        self.rows += slow.other_rows
        self._other_calls += slow.other_calls
        self._other_rows += slow.other_rows
        self.succeeded += sum(record.duration)
        self.in_flight += slow.in_flight
        self.duration.sum_s += slow.duration_s
        self.queued.sum_s += slow.queued_s
        self.decoding_s += slow.decoding_s
        self.encoding_s += slow.encoding_s
        self.last = max(self.last, slow.last)
        self.failed_s += slow.failed_s
        self.cache_hits += record.cache[0]
        self.cache_misses += record.cache[1]
        self.cache_hit_s += slow.cache_hit_s
        self.cache_miss_s += slow.cache_miss_s
        self.cache_bytes += slow.cache_bytes
        if record is not self._record:
            for at in range(BUCKETS):
                self.duration.counts[at] += record.duration[at]
                self.queued.counts[at] += record.queued[at]


class SharedStatistics:
    """The statistics of one worker's models in its slab; a version that is loaded again goes on where it was."""

    def __init__(self, board: Board, slab: Slab) -> None:
        self._board = board
        self._slab = slab
        self._known: dict[str, ModelStatistics] = {}

    def of(self, name: str, version: str) -> ModelStatistics:
        """The statistics of a version. They are this process's alone when the slab is full."""
        key = f"{name}/{version}"
        if key not in self._known:
            record = self._slab.record(key)
            if record is None:
                _LOG.warning("no room to share statistics: /metrics tells of one worker alone", extra={"model": name, "version": version})
            self._known[key] = ModelStatistics(record, self._board)
        return self._known[key]

    def publish(self) -> None:
        """Write what is not in shared memory yet, of every model."""
        for statistics in self._known.values():
            statistics.publish()

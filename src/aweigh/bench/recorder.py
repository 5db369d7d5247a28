"""What one generator process writes down while it asks; called for every request, so it appends and counts, and does the arithmetic in bulk.

A request belongs to the measurement if it was due (closed loop: sent) after the warm-up and before the end, whenever its answer came.
Throughput is another matter: it counts the answers that came between warm-up and end.
"""

import heapq
from array import array
from typing import Final

import msgspec
import numpy as np

from aweigh.bench.histogram import Histogram, Packed
from aweigh.bench.plan import TIMELINE_PARTS

_BULK: Final = 4096
SLOWEST_KEPT: Final = 5
_DETAIL_CHARACTERS: Final = 300


class Slow(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One of the slowest answered requests."""

    latency_s: float
    at_s: float
    """When it was due, from the end of the warm-up."""
    request_id: str = ""
    """As the server answered it, to be found in its log."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """One process's figures, as they travel to the process that adds them up."""

    latency: Packed
    """From when a request was due to its whole answer; those that ran into the timeout count with the time they had waited."""
    service: Packed
    """From when a request was really sent."""
    lateness: Packed
    """From when a request was due to when the generator turned to it."""
    timeline: list[Packed]
    """`latency` of each equal part of the measured time."""
    timeline_errors: list[int]
    timeline_timeouts: list[int]
    """Those of the errors whose waiting time is in `timeline`."""
    scheduled: int
    """Requests that fell due, or were sent, in the measured time."""
    answered_in_time: int
    """Answers, right ones, that came in the measured time, whenever they were due."""
    queued: int
    """Requests that found every connection busy."""
    outstanding: int
    """Requests due and not answered at the end of the measured time."""
    errors: dict[str, int]
    details: dict[str, str]
    """What the first error of each kind said."""
    slowest: list[Slow]
    bytes_out: int
    bytes_in: int
    cpu_s: float
    """Processor time of the generator in the measured time."""
    reconnects: int
    peak_connections: int
    begin: float
    """When the measured time began (`monotonic`)."""
    end: float


class Recorder:
    """Appends per request; `tally` once at the end."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.scheduled = self.answered_in_time = self.queued = self.outstanding = self.bytes_out = self.bytes_in = self.reconnects = 0
        self.cpu_s = 0.0
        self.errors: dict[str, int] = {}
        self.details: dict[str, str] = {}
        self._latency, self._service, self._lateness = Histogram(), Histogram(), Histogram()
        self._timeline = [Histogram() for _ in range(TIMELINE_PARTS)]
        self._timeline_errors, self._timeline_timeouts = [0] * TIMELINE_PARTS, [0] * TIMELINE_PARTS
        self._due, self._sent, self._answered, self._late = array("d"), array("d"), array("d"), array("d")
        self._slowest: list[Slow] = []
        self.slow_s = 0.0
        """An answer slower than this is worth `note_slow`."""

    def turned_to(self, due: float, now: float) -> None:
        """The generator got to a request that was due."""
        if self.begin <= due < self.end:
            self.scheduled += 1
            self._late.append(now - due)

    def answered(self, due: float, sent: float, now: float) -> None:
        """A right answer came."""
        if self.begin <= now < self.end:
            self.answered_in_time += 1
        if self.begin <= due < self.end:
            self._due.append(due)
            self._sent.append(sent)
            self._answered.append(now)
            if len(self._due) >= _BULK:
                self._count()

    def note_slow(self, due: float, now: float, request_id: str) -> None:
        """Keep the slowest few by name."""
        if self.begin <= due < self.end:
            heapq.heappush(self._slowest, Slow(latency_s=now - due, at_s=due - self.begin, request_id=request_id))
            if len(self._slowest) > SLOWEST_KEPT:
                heapq.heappop(self._slowest)
                self.slow_s = self._slowest[0].latency_s

    def failed(self, kind: str, due: float, detail: str) -> None:
        """No answer, or not a right one."""
        if self.begin <= due < self.end:
            self.errors[kind] = self.errors.get(kind, 0) + 1
            self.details.setdefault(kind, detail[:_DETAIL_CHARACTERS])
            self._timeline_errors[self._part(due)] += 1

    def timed_out(self, due: float, now: float, kind: str, detail: str) -> None:
        """It waited at least this long: left out, it would make the percentiles look better than they were."""
        self.failed(kind, due, detail)
        if self.begin <= due < self.end:
            waited = np.array([now - due])
            self._latency.add(waited)
            self._timeline[self._part(due)].add(waited)
            self._timeline_timeouts[self._part(due)] += 1

    def _part(self, due: float) -> int:
        return min(TIMELINE_PARTS - 1, int((due - self.begin) / (self.end - self.begin) * TIMELINE_PARTS))

    def _count(self) -> None:
        due, sent, answered = (np.array(values) for values in (self._due, self._sent, self._answered))
        for values in (self._due, self._sent, self._answered):
            del values[:]
        self._lateness.add(np.array(self._late))
        del self._late[:]
        latency = answered - due
        self._latency.add(latency)
        self._service.add(answered - sent)
        parts = np.minimum(((due - self.begin) / (self.end - self.begin) * TIMELINE_PARTS).astype(np.int64), TIMELINE_PARTS - 1)
        for part in np.unique(parts).tolist():
            self._timeline[part].add(latency[parts == part])

    def tally(self, peak_connections: int) -> Tally:
        self._count()
        return Tally(
            latency=self._latency.pack(),
            service=self._service.pack(),
            lateness=self._lateness.pack(),
            timeline=[part.pack() for part in self._timeline],
            timeline_errors=self._timeline_errors,
            timeline_timeouts=self._timeline_timeouts,
            scheduled=self.scheduled,
            answered_in_time=self.answered_in_time,
            queued=self.queued,
            outstanding=self.outstanding,
            errors=self.errors,
            details=self.details,
            slowest=sorted(self._slowest, reverse=True),
            bytes_out=self.bytes_out,
            bytes_in=self.bytes_in,
            cpu_s=self.cpu_s,
            reconnects=self.reconnects,
            peak_connections=peak_connections,
            begin=self.begin,
            end=self.end,
        )

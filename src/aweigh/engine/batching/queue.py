"""The batch queue, for models that run beside the event loop: what waits for a thread or a process runs with what else waits.

A free lane takes whatever arrived in the turn; while all lanes are busy, requests gather. Bounded in length, by deadline and by priority. What
fails together is halved until the request that is to blame fails alone. Lives on the event loop; called by the data plane.
"""

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic, perf_counter
from typing import Final

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded, InternalError, Kind, Overloaded
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.joined import Joiner, Observe, Work
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import Executor
from aweigh.engine.queue import SWEEP_S, Caller, refusal, too_late
from aweigh.engine.statistics import ModelStatistics

_LOG = logging.getLogger("aweigh.engine")
_NOT_THE_ROWS: Final = frozenset({Kind.OVERLOADED, Kind.CANCELLED, Kind.TIMEOUT, Kind.UNSUPPORTED, Kind.UNAVAILABLE})
"""Failures that no row is to blame for: trying again would not help."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """What may wait, and how long. Times in seconds; a delay or timeout of 0 is none."""

    lanes: int
    """Batches that run at the same time."""
    max_requests: int
    delay_s: float = 0.0
    """How long a free lane waits for more rows than there are."""
    timeout_s: float = 0.0
    """How long a request without a deadline of its own waits before it is rejected, or comes last."""
    timeout_delays: bool = False
    """Whether a request that has waited so long comes last instead of being rejected."""
    priority_levels: int = 1
    """Requests of level 1 go first. Level 0, and any that does not exist, is the middle one."""


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting:
    caller: Caller
    work: Work
    shapes: tuple[tuple[int, ...], ...]
    since: float
    expires: float

    def needs_s(self, now: float, call_s: float) -> float:
        """How much of its own time must be left: a call's where it has a deadline and has waited; what has not waited is tried."""
        return 0.0 if self.caller.deadline is None else min(call_s, now - self.since)


class _Together:
    """The caller of a batch, as an executor sees it: left only when everyone has."""

    deadline: float | None = None
    priority = 0

    def __init__(self, batch: list[_Waiting]) -> None:
        self._batch = batch
        self.id = batch[0].caller.id

    @property
    def cancelled(self) -> bool:
        return all(waiting.caller.cancelled for waiting in self._batch)


class BatchQueue:
    """The requests of one model that wait. `tuner` says how many rows may run together."""

    def __init__(
        self, name: str, run: Callable[[Tensors], list[Tensor]], executor: Executor, statistics: ModelStatistics, policy: QueuePolicy, joiner: Joiner, tuner: Tuner
    ) -> None:  # fmt: skip
        self.policy = policy
        self.tuner = tuner
        self._name = name
        self._run = run
        self._executor = executor
        self._statistics = statistics
        self._joiner = joiner
        self._levels: tuple[deque[_Waiting], ...] = tuple(deque() for _ in range(policy.priority_levels + 1))
        """By priority; the last is for those that have waited too long."""
        self._halves: deque[list[_Waiting]] = deque()
        self._free = policy.lanes
        self._ends: dict[int, float] = {}
        """When the batches that run, by their `id`, will have ended, as expected."""
        self._count = self._rows = 0
        self._swept = 0.0
        self._running = 0
        """Rows in batches that run, and in the one that has just ended: their clients are likely to ask again."""
        self._gaps = 0
        """How often a lane found nothing to do."""
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self.observe: Observe | None = None
        """As the model's own."""

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return self._count

    def add(self, caller: Caller, work: Work) -> None:
        """Queue one request; `work.done` is called later, on the event loop. Raises Overloaded."""
        now = monotonic()
        if self._count and not self._free and now - self._swept > SWEEP_S:  # who has left makes room for who comes
            self._swept = now
            self._expire(now)
        if self._count >= self.policy.max_requests + self._free:
            self.tuner.refused()
            raise Overloaded(
                f"model '{self._name}': {self._count} requests are waiting already", hint="try again later; max_queue sets the limit"
            )
        now = monotonic()
        if self._rows >= self._free * self.tuner.max_rows:
            self._check_in_time(caller, work.rows, now)
        expires = now + self.policy.timeout_s if self.policy.timeout_s else 0.0
        if caller.deadline is not None:
            expires = caller.deadline
        waiting = _Waiting(caller, work, self._joiner.shapes(work.inputs), now, expires)
        self._levels[self._level(caller.priority)].append(waiting)
        self._count += 1
        self._rows += work.rows
        if self._free and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)  # whatever else arrives in this turn goes along
        elif expires and not self._free:
            self._wake_at(expires)

    def _check_in_time(self, caller: Caller, rows: int, now: float) -> None:
        """Raise Overloaded for a request that would be answered too late, for the objective or its own deadline."""
        late = self.tuner.late(self._rows - self._free * self.tuner.max_rows, self.policy.lanes)
        if late:
            self.tuner.refused()
            raise Overloaded(f"model '{self._name}': {late}", hint="try again later; the objective setting rejects what would be too late")
        if caller.deadline is not None and caller.deadline > now:
            free_s = max(0.0, min(self._ends.values(), default=now) - now)
            expected_s = free_s + self.tuner.expected_s(self._rows + rows, self.policy.lanes)
            if now + expected_s > caller.deadline:
                self.tuner.refused()
                raise too_late(self._name, expected_s, caller.deadline - now)

    def close(self) -> None:
        """Refuse what waits."""
        for waiting in [*self._everyone(), *[each for half in self._halves for each in half]]:
            self._fail(waiting, Overloaded(f"model '{self._name}' was unloaded", hint="try again"))
        for level in self._levels:
            level.clear()
        self._halves.clear()
        self._count = self._rows = 0
        if self._timer is not None:
            self._timer.cancel()

    def _level(self, priority: int) -> int:
        levels = self.policy.priority_levels
        return priority - 1 if 0 < priority <= levels else levels // 2

    def _everyone(self) -> Iterator[_Waiting]:
        for level in self._levels:
            yield from level

    def _pump(self) -> None:
        """Start what can be started now."""
        self._scheduled = False
        self._start_what_can()
        if self._free:
            self._gaps += 1

    def _start_what_can(self) -> None:
        while self._free and self._halves:
            half = [waiting for waiting in self._halves.popleft() if not self._refused(waiting)]
            if half:
                self._start(half)
        while self._free and self._count:
            now = monotonic()
            self._expire(now)
            ripe = min((waiting.since for waiting in self._everyone()), default=now) + self.policy.delay_s
            if self._rows < self.tuner.max_rows and now < ripe:
                self._wake_at(ripe)
                return
            batch = self._take()
            if batch:
                self._start(batch)
        self._wake_for_expiry()

    def _expire(self, now: float) -> None:
        """Whoever is not waited for any more leaves the queue; whoever has waited too long leaves it, or comes last."""
        needs_s = self.tuner.running_s(1)
        for level in self._levels:
            for waiting in [
                each for each in level if each.caller.cancelled or (each.expires and now + each.needs_s(now, needs_s) > each.expires)
            ]:
                level.remove(waiting)
                if not waiting.caller.cancelled and waiting.caller.deadline is None and self.policy.timeout_delays:
                    waiting.expires = 0.0
                    self._levels[-1].append(waiting)
                    continue
                self._forget(waiting)
                if not self._refused(waiting, waiting.needs_s(now, needs_s)):
                    self._fail(
                        waiting, DeadlineExceeded("Request timeout expired", hint="queue_timeout_ms sets how long a request may wait")
                    )

    def _take(self) -> list[_Waiting]:
        """The next batch: the first in line, and those behind it that fit: of shapes that can be joined, and not too many rows."""
        batch: list[_Waiting] = []
        rows, limit = 0, self.tuner.batch_rows(self._rows + self._running, self.policy.lanes)
        for level in self._levels:
            for waiting in list(level):
                if batch and (rows + waiting.work.rows > limit or not self._joiner.fits(batch[0].shapes, waiting.shapes)):
                    continue
                level.remove(waiting)
                self._forget(waiting)
                batch.append(waiting)
                rows += waiting.work.rows
                if rows >= limit:
                    return batch
        return batch

    def _forget(self, waiting: _Waiting) -> None:
        self._count -= 1
        self._rows -= waiting.work.rows

    def _start(self, batch: list[_Waiting]) -> None:
        inputs = self._joiner.join([waiting.work.inputs for waiting in batch])
        rows = sum(waiting.work.rows for waiting in batch)
        self._free -= 1
        self._running += rows
        self._ends[id(batch)] = monotonic() + self.tuner.running_s(rows)
        try:
            self._executor.submit(partial(self._run, inputs), _Together(batch), partial(self._ran, batch, inputs, monotonic(), self._gaps))
        except AweighError as error:
            self._free += 1
            self._running -= rows
            del self._ends[id(batch)]
            self._failed_together(batch, error)
            if self._halves and not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._pump)

    def _failed_together(self, batch: list[_Waiting], error: AweighError) -> None:
        """What no lane takes is no reason to refuse each part of it."""
        apart = _apart(batch, error)
        self._halves += apart
        for waiting in batch if not apart else ():
            self._fail(waiting, error)

    def _ran(
        self,
        batch: list[_Waiting],
        inputs: Tensors,
        started: float,
        gaps: int,
        outputs: list[Tensor] | None,
        error: AweighError | None,
        _: float,
    ) -> None:
        crowded = not self._free and gaps == self._gaps
        self._free += 1
        del self._ends[id(batch)]
        rows = sum(waiting.work.rows for waiting in batch)
        if outputs is not None and {len(output) for output in outputs} != {rows}:
            outputs, error = None, InternalError(f"{rows} rows went into the model, and not as many came out")
        ended = monotonic()
        apart = _apart(batch, error)
        self._halves += apart
        self._pump()  # before answering: the lane need not wait for that
        self._running -= rows
        if outputs is not None:
            self.tuner.ran(rows, ended - started, crowded=crowded)
            if self.observe is not None:  # before answering: what the inputs lie in is the clients' again then
                self._show(self.observe, batch, inputs, outputs, ended - started)
            self._answer(batch, started, ended, outputs)
        elif error is not None and not apart:
            for waiting in batch:
                self._fail(waiting, error)

    def _answer(self, batch: list[_Waiting], started: float, ended: float, outputs: list[Tensor]) -> None:
        statistics, rows = self._statistics, sum(waiting.work.rows for waiting in batch)
        statistics.last = perf_counter()
        answers = self._joiner.cut(outputs, [waiting.work for waiting in batch])
        for waiting in batch:
            statistics.queued.observe(started - waiting.since)
            statistics.answered(ended - waiting.since, waiting.work.rows)
            self.tuner.answered(ended - waiting.since)
        statistics.execution(ended - started, rows)
        for waiting, mine in zip(batch, answers, strict=True):
            waiting.work.done(mine, None)

    def _show(self, observe: Observe, batch: list[_Waiting], inputs: Tensors, outputs: list[Tensor], seconds: float) -> None:
        """The call as it was; where some were filled up to the size of others, each by itself, without a time, which nobody took alone."""
        works = [waiting.work for waiting in batch]
        if all(waiting.shapes == batch[0].shapes for waiting in batch):
            observe(inputs, outputs, seconds)
            return
        for work, mine in zip(works, self._joiner.cut(outputs, works), strict=True):
            observe(work.inputs, mine, 0.0)

    def _refused(self, waiting: _Waiting, needs_s: float = 0.0) -> bool:
        error = refusal(waiting.caller, monotonic(), needs_s)
        if error is not None:
            self._fail(waiting, error)
        return error is not None

    def _fail(self, waiting: _Waiting, error: AweighError) -> None:
        self._statistics.failure(error.kind, monotonic() - waiting.since)
        waiting.work.done(None, error)

    def _wake_for_expiry(self) -> None:
        if self._count:
            soonest = min((waiting.expires for waiting in self._everyone() if waiting.expires), default=0.0)
            if soonest:
                self._wake_at(soonest)

    def _wake_at(self, when: float) -> None:
        """Look again at `when` of `time.monotonic`, if not before."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, when - monotonic())
        if self._timer is not None:
            if not self._timer.cancelled() and loop.time() < self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._expire(monotonic())
        self._pump()


def _apart(batch: list[_Waiting], error: AweighError | None) -> list[list[_Waiting]]:
    """In what parts requests that failed together are tried again; none where no row is to blame, or only one can be."""
    if error is None or len(batch) == 1:
        return []
    if isinstance(error, ChildDied):  # halves would cost a process each time: alone it costs one more
        return [[waiting] for waiting in batch]
    middle = len(batch) // 2
    return [] if error.kind in _NOT_THE_ROWS else [batch[:middle], batch[middle:]]

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
from aweigh.engine.batching.joined import Joiner, Work
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import Executor
from aweigh.engine.queue import Caller, refusal
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
        self._count = self._rows = 0
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return self._count

    def add(self, caller: Caller, work: Work) -> None:
        """Queue one request; `work.done` is called later, on the event loop. Raises Overloaded."""
        if self._count >= self.policy.max_requests + self._free:
            raise Overloaded(
                f"model '{self._name}': {self._count} requests are waiting already", hint="try again later; max_queue sets the limit"
            )
        now = monotonic()
        late = self.tuner.late(self._rows, self.policy.lanes) if not self._free else ""
        if late:
            raise Overloaded(f"model '{self._name}': {late}", hint="try again later; the objective setting rejects what would be too late")
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
        for level in self._levels:
            for waiting in [each for each in level if each.caller.cancelled or (each.expires and now > each.expires)]:
                level.remove(waiting)
                if not waiting.caller.cancelled and waiting.caller.deadline is None and self.policy.timeout_delays:
                    waiting.expires = 0.0
                    self._levels[-1].append(waiting)
                    continue
                self._forget(waiting)
                if not self._refused(waiting):
                    self._fail(
                        waiting, DeadlineExceeded("Request timeout expired", hint="queue_timeout_ms sets how long a request may wait")
                    )

    def _take(self) -> list[_Waiting]:
        """The next batch: the first in line, and those behind it that fit: of shapes that can be joined, and not too many rows."""
        batch: list[_Waiting] = []
        rows, limit = 0, self.tuner.max_rows
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
        self._free -= 1
        try:
            self._executor.submit(partial(self._run, inputs), _Together(batch), partial(self._ran, batch, monotonic()))
        except AweighError as error:
            self._free += 1
            for waiting in batch:
                self._fail(waiting, error)

    def _ran(self, batch: list[_Waiting], started: float, outputs: list[Tensor] | None, error: AweighError | None, _: float) -> None:
        self._free += 1
        rows = sum(waiting.work.rows for waiting in batch)
        if outputs is not None and {len(output) for output in outputs} != {rows}:
            outputs, error = None, InternalError(f"{rows} rows went into the model, and not as many came out")
        if outputs is not None:
            self._answer(batch, started, rows, outputs)
        elif len(batch) > 1 and isinstance(error, ChildDied):
            self._halves += ([waiting] for waiting in batch)  # halves would cost a process each time: alone it costs one more
        elif error is not None and (len(batch) == 1 or error.kind in _NOT_THE_ROWS):
            for waiting in batch:
                self._fail(waiting, error)
        else:
            middle = len(batch) // 2
            self._halves += (batch[:middle], batch[middle:])
        self._pump()

    def _answer(self, batch: list[_Waiting], started: float, rows: int, outputs: list[Tensor]) -> None:
        statistics, ended = self._statistics, monotonic()
        statistics.last = perf_counter()
        answers = self._joiner.cut(outputs, [waiting.work for waiting in batch])
        for waiting in batch:
            statistics.queued.observe(started - waiting.since)
            statistics.answered(ended - waiting.since, waiting.work.rows)
            self.tuner.answered(ended - waiting.since)
        statistics.execution(ended - started, rows)
        self.tuner.ran(rows, ended - started)
        for waiting, mine in zip(batch, answers, strict=True):
            waiting.work.done(mine, None)

    def _refused(self, waiting: _Waiting) -> bool:
        error = refusal(waiting.caller, monotonic())
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

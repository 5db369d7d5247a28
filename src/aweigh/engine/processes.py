"""The process executor: a model's calls run in children that are capped, seen when they die, killed at their deadline, and replaced.

Everything but starting and burying a child happens on the event loop: no thread stands between a request and its process. Called by the data
plane. Must never wait, and never give a call that was started to a second child.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded, InternalError, Overloaded, Unavailable
from aweigh.engine.queue import Call, Caller, Done, Entry, Queue, refusal
from aweigh.isolate import Backoff, Lane
from aweigh.runtimes.process import ProcessSession

_LOG = logging.getLogger("aweigh.engine")
_TICK_S: Final = 0.02
"""How exactly deadlines are kept."""
_REST_S: Final = 2.0
_CLOSE_S: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """The children of one model now. `last_death` says what became of the last one that died."""

    pids: list[int]
    restarts: int
    ready: bool
    waiting: int
    last_death: str


class _Seat:
    """One child that may be asked. `entry` is the call it holds; None where nobody waits for that any more."""

    __slots__ = ("busy", "entry", "gone", "lane", "since", "waited_s")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.busy = False
        self.gone = False
        """Whether it is out of service: what its readers still say is not for it."""
        self.entry: Entry | None = None
        self.since = 0.0
        self.waited_s = 0.0


class ProcessExecutor:
    """`processes` children that take calls in order; at most `max_queue` wait, more raise Overloaded at once.

    `session` brings the first child, which was proven by whoever loaded the model; `prove` is asked before any other may answer. A call that
    takes longer than `limit_s` is killed with its process.
    """

    def __init__(
        self, name: str, session: ProcessSession, prove: Callable[[Lane], None], *, processes: int, max_queue: int, limit_s: float
    ) -> None:
        self._name = name
        self._session = session
        self._prove = prove
        self._processes = processes
        self._limit_s = limit_s
        self._queue = Queue(name, max_queue, processes)
        self._backoff = Backoff()
        self._seats: list[_Seat] = []
        self._idle: list[_Seat] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = os.getpid()
        self._restarts = 0
        self._starting = 0
        self._ticking = False
        self._closed = False

    @property
    def lanes(self) -> int:
        """Calls that may run at the same time."""
        return self._processes

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return len(self._queue)

    @property
    def ready(self) -> bool:
        """Whether a call would be answered: a child lives, or is on its way and has not died again and again."""
        return not self._closed and (bool(self._seats) or not self._backoff.looping)

    def facts(self) -> ProcessFacts:
        """For status and configuration."""
        first = self._session.pid
        pids = [seat.lane.pid for seat in self._seats] or ([first] if first is not None else [])
        return ProcessFacts(pids=pids, restarts=self._restarts, ready=self.ready, waiting=len(self._queue), last_death=self._backoff.why)

    def submit(self, run: Call, caller: Caller, done: Done) -> None:
        """Send a call's inputs to a free child, or queue it. On the event loop, where `done` is called. Raises Overloaded, Unavailable, InvalidInput."""
        if self._closed:
            raise Overloaded(f"model '{self._name}' is being unloaded", hint="try again")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._attach(loop)
        if not self.ready:
            raise self._unavailable()
        entry = Entry(run, caller, done, monotonic())
        while self._idle:
            if self._begin(self._idle.pop(), entry):
                break
        else:
            self._queue.add(entry, free=0)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """Refuse what waits, end the children. From any thread; waits a few seconds at most."""
        loop, left = self._loop, _Leaving(self._leave)
        if loop is not None and loop.is_running() and not _runs_here(loop):
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(left.leave)
                left.done.wait(_CLOSE_S)
        else:
            left.leave()
        for lane in left.lanes:
            lane.close()

    def _leave(self) -> list[Lane]:
        """The loop's part of closing; the children that are left to close."""
        self._closed = True
        error = Overloaded(f"model '{self._name}' was unloaded", hint="try again")
        for entry in self._queue.take_all():
            self._tell(entry, error)
        for seat in self._seats:
            self._unwatch(seat)
            if seat.entry is not None:
                self._tell(seat.entry, error)
        lanes = [seat.lane for seat in self._seats]
        self._seats, self._idle = [], []
        return lanes

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin on this loop: with the child that loading made, and further ones started beside it."""
        if os.getpid() != self._owner:
            raise InternalError("this process was forked after its models were loaded", hint="load models in each worker process")
        for seat in self._seats:  # of a loop that has ended
            seat.gone = True
        lanes = [seat.lane for seat in self._seats]
        self._loop, self._seats, self._idle, self._starting = loop, [], [], 0
        first = None if lanes else self._session.detach()
        for lane in lanes if first is None else [first]:
            self._arrived(lane)
        for _ in range(self._processes - len(self._seats) - self._starting):
            self._start()

    def _begin(self, seat: _Seat, entry: Entry) -> bool:
        """Ask a free child; False when it turns out to be dead, the call not started. Raises InvalidInput, TooLarge for what cannot be asked."""
        try:
            seat.lane.ask({}, entry.run.args[0])  # type: ignore[attr-defined]  # a Call
        except (ConnectionError, OSError) as error:
            self._lost(seat, error)
            return False
        except BaseException:
            self._idle.append(seat)
            raise
        seat.busy, seat.entry, seat.since = True, entry, monotonic()
        seat.waited_s = seat.since - entry.queued_at
        return True

    def _next(self, seat: _Seat) -> None:
        """Give a child that is free the next call that is still wanted."""
        while len(self._queue):
            entry = self._queue.take()
            unwanted = self._queue.refusal(entry, monotonic())
            if unwanted is not None:
                self._tell(entry, unwanted)
                continue
            try:
                if not self._begin(seat, entry):
                    self._again(entry)
                return
            except AweighError as error:
                self._idle.remove(seat)
                self._tell(entry, error)
        self._idle.append(seat)

    def _again(self, entry: Entry) -> None:
        """A call whose child is gone and has not started it: for who is free now, else for who is free next."""
        self._queue.put_back(entry)
        if self._idle:
            self._next(self._idle.pop())

    def _rung(self, seat: _Seat) -> None:
        """A child has rung, or its bell is gone."""
        if seat.gone:
            return
        try:
            answer = seat.lane.answer()
        except BlockingIOError:
            return
        except (AweighError, OSError) as error:
            self._lost(seat, error)
            return
        if answer is None:
            return
        if not seat.busy:
            self._lost(seat, InternalError("a model's process answered what nobody had asked"))
            return
        entry, seat.entry, seat.busy = seat.entry, None, False
        if isinstance(answer, ChildDied):  # out of memory: what it still holds, it would go on holding
            seat.entry = entry
            self._lost(seat, answer)
            return
        waited_s = seat.waited_s
        self._queue.pace.took(monotonic() - seat.since)
        self._next(seat)
        if entry is not None:
            self._settle(entry, answer, waited_s)

    def _settle(self, entry: Entry, answer: object, waited_s: float) -> None:
        if isinstance(answer, AweighError):
            entry.done(None, answer, waited_s)
            return
        try:
            outputs = self._session.outputs(answer[1])  # type: ignore[index]  # said and tensors
        except AweighError as error:
            entry.done(None, error, waited_s)
            return
        entry.done(outputs, None, waited_s)

    def _ended(self, seat: _Seat) -> None:
        """The child is dead, even where something that it started keeps the bell open. An answer that it gave before still counts."""
        self._rung(seat)
        if not seat.gone:
            self._lost(seat, ConnectionError("the process has ended"))

    def _lost(self, seat: _Seat, error: BaseException) -> None:
        """Take a child out of service; another thread finds out what became of it, tells its caller, and its successor starts."""
        seat.gone = True
        self._unwatch(seat)
        self._seats.remove(seat)
        if seat in self._idle:
            self._idle.remove(seat)
        self._backoff.died(error, monotonic())
        if seat.entry is not None and seat.lane.bell.untaken:  # never started: another child may answer it
            entry, seat.entry = seat.entry, None
            self._again(entry)
        self._aside(lambda: seat.lane.lost(error, limit_s=self._limit_s), partial(self._buried, seat))

    def _buried(self, seat: _Seat, why: AweighError) -> None:
        self._backoff.why = why.message
        _LOG.warning("a model's process ended", extra={"model": self._name, "pid": seat.lane.pid, "why": why.message, "hint": why.hint})
        if seat.entry is not None:
            seat.entry.done(None, why, seat.waited_s)
        self._restarts += 1
        self._start()

    def _start(self) -> None:
        """Start one more child, when it may be."""
        self._starting += 1
        if not self.ready:
            for entry in self._queue.take_all():
                self._tell(entry, self._unavailable())
        if self._loop is not None:
            self._loop.call_later(self._backoff.wait_s(monotonic()), self._aside, self._open, self._opened)

    def _open(self) -> Lane | AweighError:
        """A child that has answered the golden set; or why there is none."""
        if self._closed:
            return Unavailable("closed")
        try:
            lane = self._session.start()
        except AweighError as error:
            return error
        try:
            self._prove(lane)
        except BaseException as error:  # noqa: BLE001  # boundary: the thread that starts children; the cause is told and tried again
            return lane.lost(error, limit_s=self._limit_s)
        return lane

    def _opened(self, lane: Lane | AweighError) -> None:
        self._starting -= 1
        if isinstance(lane, Lane):
            self._arrived(lane)
            _LOG.info("a model's process is ready", extra={"model": self._name, "pid": lane.pid, "restarts": self._restarts})
        elif not self._closed:
            self._backoff.died(lane.message, monotonic())
            _LOG.error("a model's process cannot start", extra={"model": self._name, "why": lane.message, "hint": lane.hint})
            self._start()

    def _arrived(self, lane: Lane) -> None:
        if self._closed or self._loop is None:
            lane.close()
            return
        seat = _Seat(lane)
        self._seats.append(seat)
        self._loop.add_reader(lane.bell.fd, self._rung, seat)
        if lane.peer is not None:
            self._loop.add_reader(lane.peer, self._ended, seat)
        self._next(seat)

    def _unwatch(self, seat: _Seat) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(seat.lane.bell.fd)
            if seat.lane.peer is not None:
                self._loop.remove_reader(seat.lane.peer)

    def _tick(self) -> None:
        """Answer those whose time is up; kill the processes whose call takes too long."""
        now = monotonic()
        for entry in self._queue.take_unwanted(now):
            self._tell(entry, refusal(entry.caller, now))
        for seat in [seat for seat in self._seats if seat.busy]:
            self._keep_time(seat, now)
        self._ticking = self._loop is not None and (bool(self._queue) or any(seat.busy for seat in self._seats))
        if self._ticking and self._loop is not None:
            self._loop.call_later(_TICK_S, self._tick)
        elif self._loop is not None:
            self._loop.call_later(_REST_S, self._trim, now)

    def _trim(self, since: float) -> None:
        """Give back what large tensors took, where nothing was asked meanwhile: memory that is given back costs as much again when it is used."""
        for seat in self._idle:
            if seat.since <= since:
                seat.lane.trim()

    def _keep_time(self, seat: _Seat, now: float) -> None:
        """A caller's own deadline ends its wait, not the process: else anyone could have processes killed. The server's limit ends both."""
        entry, over = seat.entry, now - seat.since > self._limit_s
        if entry is not None and (over or (entry.caller.deadline is not None and now > entry.caller.deadline)):
            seat.entry = None
            entry.done(None, self._too_long(over=over), seat.waited_s)
        if over:
            seat.lane.kill()
            self._lost(seat, TimeoutError(f"a call took longer than {self._limit_s:g} s"))

    def _too_long(self, *, over: bool) -> DeadlineExceeded:
        if over:
            return DeadlineExceeded(
                f"model '{self._name}' took longer than {self._limit_s:g} s, and its process was killed",
                hint="raise request_timeout_s, or send fewer rows",
            )
        return DeadlineExceeded(f"the request's deadline passed while model '{self._name}' ran", hint="allow more time")

    def _unavailable(self) -> Unavailable:
        wait_s = self._backoff.wait_s(monotonic())
        return Unavailable(
            f"the process of model '{self._name}' died {self._backoff.deaths} times in a row and starts again in {wait_s:.1f} s: {self._backoff.why}",
            hint="try again then; if it goes on, look at what the model does on these inputs",
            retry_after_s=round(wait_s, 1),
        )

    def _tell(self, entry: Entry, error: AweighError | None) -> None:
        """Answer a call that no child holds; not before whoever submits has returned."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(entry.done, None, error, monotonic() - entry.queued_at)

    def _aside(self, work: "Callable[[], Lane | AweighError]", then: "Callable[..., None]") -> None:
        """Do what takes time on a thread of its own, then go on with its outcome on the loop."""
        loop = self._loop

        def run() -> None:
            outcome: Lane | AweighError
            try:
                outcome = work()
            except Exception as error:  # noqa: BLE001  # boundary: a thread that fails in silence would leave its caller, or the model, for ever
                _LOG.exception("a model's process cannot be looked after", extra={"model": self._name})
                outcome = Unavailable(f"the process of model '{self._name}' cannot be looked after: {type(error).__name__}: {error}")
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(then, outcome)
            except RuntimeError:  # the loop was closed: nobody waits any more
                if isinstance(outcome, Lane):
                    outcome.close()

        threading.Thread(target=run, name=f"aweigh-{self._name}-process", daemon=True).start()


class _Leaving:
    """What the loop hands to the thread that closes."""

    def __init__(self, leave: Callable[[], list[Lane]]) -> None:
        self._leave = leave
        self.lanes: list[Lane] = []
        self.done = threading.Event()

    def leave(self) -> None:
        self.lanes = self._leave()
        self.done.set()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False

"""The two ways in which load arrives. Open: requests are due at times fixed beforehand, whatever the server does. Closed: users who wait.

Both are told when a connection can take a request and when one has ended; they decide what is sent, and never look at an answer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final, Protocol

from aweigh.bench.http1 import Connection, Ticket
from aweigh.bench.recorder import Recorder
from aweigh.bench.timer import Timer

_BURST: Final = 32
"""Requests sent in one turn before answers are read again."""
Send = Callable[[Connection, Ticket], None]


class Pacing(Protocol):
    """When to send."""

    @property
    def over(self) -> bool:
        """Whether nothing more will be sent."""
        ...

    def free(self, connection: Connection) -> None:
        """One more request fits on the connection."""
        ...

    def refused(self, now: float, detail: str) -> None:
        """A connection could not be opened again."""
        ...

    def expire(self, before: float, now: float) -> None: ...

    def waiting(self) -> int:
        """Requests due that wait for a connection."""
        ...

    def stop(self) -> None: ...


class OpenLoop:
    """Requests by a schedule; latency counts from it, so that a server which stalls is charged for everyone who would have come."""

    def __init__(self, due: Iterator[float], recorder: Recorder, questions: int, send: Send) -> None:
        self.over = False
        self._due = due
        self._recorder = recorder
        self._questions = questions
        self._send = send
        self._next: float | None = next(due, None)
        self._number = 0
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self.timer: Timer | None = None

    def tick(self) -> None:
        """Send what is due."""
        for _ in range(_BURST):
            due, now = self._next, monotonic()
            if due is None or due > now:
                break
            self._recorder.turned_to(due, now)
            connection = self._take()
            if connection is None:
                self._recorder.queued += self._recorder.begin <= due < self._recorder.end
                self._waiting.append(due)
            else:
                self._ask(connection, due, now)
            self._next = next(self._due, None)
        self.over = self._next is None
        if self._next is not None and self.timer is not None:
            self.timer.at(self._next)

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.popleft()
            if connection.slots:
                return connection
        return None

    def _ask(self, connection: Connection, due: float, now: float) -> None:
        self._number += 1
        self._send(connection, Ticket(due, now, self._number % self._questions))

    def free(self, connection: Connection) -> None:
        if self._waiting:
            self._ask(connection, self._waiting.popleft(), monotonic())
        else:
            self._free.append(connection)

    def refused(self, now: float, detail: str) -> None:
        """Whoever waits by now would have met the same refusal."""
        while self._waiting:
            self._recorder.failed("connect", self._waiting.popleft(), detail)

    def expire(self, before: float, now: float) -> None:
        while self._waiting and self._waiting[0] <= before:
            self._recorder.timed_out(
                self._waiting.popleft(), now, "timeout before it was sent", "every connection was busy: see --connections"
            )

    def waiting(self) -> int:
        return len(self._waiting)

    def stop(self) -> None:
        self.over = True
        self._next = None
        self._waiting.clear()


class ClosedLoop:
    """A user per slot: asks, waits, asks again. A slow server is asked less, so what would have waited is not seen."""

    def __init__(self, end: float, recorder: Recorder, questions: int, send: Send) -> None:
        self._end = end
        self._recorder = recorder
        self._questions = questions
        self._send = send
        self._number = 0
        self._started = False
        self._before: list[Connection] = []

    @property
    def over(self) -> bool:
        return monotonic() >= self._end

    def begin(self) -> None:
        """Let the users start."""
        self._started = True
        before, self._before = self._before, []
        for connection in before:
            self.free(connection)

    def free(self, connection: Connection) -> None:
        now = monotonic()
        if not self._started:
            self._before.append(connection)
        elif now < self._end:
            self._number += 1
            self._recorder.turned_to(now, now)
            self._send(connection, Ticket(now, now, self._number % self._questions))

    def refused(self, now: float, detail: str) -> None:
        if self._started and now < self._end:
            self._recorder.turned_to(now, now)
            self._recorder.failed("connect", now, detail)

    def expire(self, before: float, now: float) -> None:
        """Nobody waits for a connection: each user has one."""

    def waiting(self) -> int:
        return 0

    def stop(self) -> None:
        self._end = 0.0

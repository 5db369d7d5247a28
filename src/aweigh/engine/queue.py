"""What waits for a thread or a process: the bounded queue in front of every executor, and who in it is no longer waited for."""

import dataclasses
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from aweigh.core.errors import AweighError, Cancelled, DeadlineExceeded, Overloaded
from aweigh.core.objective import duration_text
from aweigh.core.tensors import Tensor

_SHARE: Final = 0.125
_DEVIATIONS: Final = 4.0
_MOST_OFF: Final = 3.0
SWEEP_S: Final = 0.02
_LATER: Final = 1.5
"""What is expected is taken to last so many times as long: who is let in and comes too late has kept others out."""


class Caller(Protocol):
    """Who waits for an answer: work whose caller has left or whose deadline (`time.monotonic`) has passed is never started."""

    @property
    def deadline(self) -> float | None: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def priority(self) -> int:
        """1 goes first; 0 where none was asked for."""
        ...

    @property
    def id(self) -> bytes: ...


class Nobody:
    """A caller of work that no request waits for; `cancelled` is set by whoever does not want it any more."""

    deadline: float | None = None
    priority = 0

    def __init__(self, name: bytes = b"") -> None:
        self.id = name
        self.cancelled = False


Run = Callable[[], list[Tensor]]
Call = partial[list[Tensor]]
"""`partial(model.run, inputs)`: a thread calls it; a process is sent its inputs."""
Done = Callable[[list[Tensor] | None, AweighError | None, float], None]
"""Called on the event loop with the outputs or the error, and the seconds spent waiting."""


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """One call that waits, since `queued_at` of `time.monotonic`."""

    run: Run
    caller: Caller
    done: Done
    queued_at: float


class Pace:
    """How long calls take at present: their mean and how far they are from it, both weighted towards the latest (as RFC 6298 does for a network)."""

    __slots__ = ("_deviation_s", "mean_s")

    def __init__(self) -> None:
        self.mean_s = self._deviation_s = 0.0

    def took(self, seconds: float) -> None:
        """A call has ended."""
        if not self.mean_s:
            self.mean_s, self._deviation_s = seconds, seconds / 2
            return
        seconds = min(seconds, _MOST_OFF * self.most_s)  # one that took for ever says little of the next
        self._deviation_s += _SHARE * (abs(seconds - self.mean_s) - self._deviation_s)
        self.mean_s += _SHARE * (seconds - self.mean_s)

    @property
    def most_s(self) -> float:
        """What a call hardly exceeds."""
        return self.mean_s + _DEVIATIONS * self._deviation_s

    def expected_s(self, waiting: int, lanes: int) -> float:
        """By when a call is answered that comes now, behind so many and those that run: late rather than early."""
        return _LATER * self.mean_s * ((waiting + 1) / lanes + 1) + _DEVIATIONS * self._deviation_s


class Queue:
    """At most `limit` entries beyond what is free to take them at once, and none that would be answered too late. Not thread-safe by itself."""

    __slots__ = ("_entries", "_lanes", "_limit", "_name", "_swept", "pace")

    def __init__(self, name: str, limit: int, lanes: int) -> None:
        self._name = name
        self._limit = limit
        self._lanes = lanes
        self._entries: deque[Entry] = deque()
        self._swept = 0.0
        self.pace = Pace()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, *, free: int) -> None:
        """Raises Overloaded where none of what takes work is free and the queue is full, or too long for the caller's deadline."""
        if len(self._entries) >= self._limit + free:
            raise Overloaded(
                f"model '{self._name}': {len(self._entries)} requests are waiting already", hint="try again later; max_queue sets the limit"
            )
        deadline, now = entry.caller.deadline, entry.queued_at
        if deadline is not None and deadline > now and len(self._entries) >= free:
            expected_s = self.pace.expected_s(len(self._entries) - free, self._lanes)
            if now + expected_s > deadline:
                raise too_late(self._name, expected_s, deadline - now)
        self._entries.append(entry)

    def put_back(self, entry: Entry) -> None:
        """First in line again: it was taken, and not started."""
        self._entries.appendleft(entry)

    def refusal(self, entry: Entry, now: float) -> AweighError | None:
        """Why a call is not started any more. What has waited must have the time that calls take; what has not is tried."""
        return refusal(entry.caller, now, min(self.pace.most_s, now - entry.queued_at))

    def take(self) -> Entry:
        return self._entries.popleft()

    def take_all(self) -> list[Entry]:
        entries = list(self._entries)
        self._entries.clear()
        return entries

    def sweep(self, now: float) -> list[Entry]:
        """The same, if they were not looked for just now: who has left makes room for who comes."""
        if not self._entries or now - self._swept < SWEEP_S:
            return []
        self._swept = now
        return self.take_unwanted(now)

    def take_unwanted(self, now: float) -> list[Entry]:
        """Those in the queue that nobody waits for any more."""
        gone = [entry for entry in self._entries if refusal(entry.caller, now) is not None]
        for entry in gone:
            self._entries.remove(entry)
        return gone


def too_late(name: str, expected_s: float, left_s: float) -> Overloaded:
    """Of a request that is not let in because others are before it."""
    return Overloaded(
        f"model '{name}': an answer is expected after {duration_text(expected_s)}, and the request has {duration_text(left_s)}",
        hint="try again later, or allow more time",
    )


def refusal(caller: Caller, now: float, needs_s: float = 0.0) -> AweighError | None:
    """Why a call is not started any more, or None where it is to be. `needs_s`: how long it takes, where that is to count."""
    if caller.cancelled:
        return Cancelled("the client left before its request was started")
    if caller.deadline is None or now + needs_s <= caller.deadline:
        return None
    if now > caller.deadline:
        return DeadlineExceeded(
            "the request's deadline passed while it waited for its turn", hint="allow more time, or add threads or processes"
        )
    return Overloaded(
        f"the request waited for its turn until only {duration_text(caller.deadline - now)} were left, too little for its answer",
        hint="try again later, or allow more time",
    )

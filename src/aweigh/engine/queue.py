"""What waits for a thread or a process: the bounded queue in front of every executor, and who in it is no longer waited for."""

import dataclasses
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from aweigh.core.errors import AweighError, Cancelled, DeadlineExceeded, Overloaded
from aweigh.core.tensors import Tensor


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


class Queue:
    """At most `limit` entries beyond what is free to take them at once. Not thread-safe by itself."""

    __slots__ = ("_entries", "_limit", "_name")

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, *, free: int) -> None:
        """Raises Overloaded when the queue is full and none of what takes work is free."""
        if len(self._entries) >= self._limit + free:
            raise Overloaded(
                f"model '{self._name}': {len(self._entries)} requests are waiting already", hint="try again later; max_queue sets the limit"
            )
        self._entries.append(entry)

    def put_back(self, entry: Entry) -> None:
        """First in line again: it was taken, and not started."""
        self._entries.appendleft(entry)

    def take(self) -> Entry:
        return self._entries.popleft()

    def take_all(self) -> list[Entry]:
        entries = list(self._entries)
        self._entries.clear()
        return entries

    def take_unwanted(self, now: float) -> list[Entry]:
        """Those in the queue that nobody waits for any more."""
        gone = [entry for entry in self._entries if refusal(entry.caller, now) is not None]
        for entry in gone:
            self._entries.remove(entry)
        return gone


def refusal(caller: Caller, now: float) -> AweighError | None:
    """Why a call is not started any more, or None where it is to be."""
    if caller.cancelled:
        return Cancelled("the client left before its request was started")
    if caller.deadline is not None and now > caller.deadline:
        return DeadlineExceeded(
            "the request's deadline passed while it waited for its turn", hint="allow more time, or add threads or processes"
        )
    return None

"""The thread executor: runs dear or isolated sessions off the event loop, with a bounded queue. (Inline needs no executor: it is a call.)"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aweigh.core.errors import AweighError, Cancelled, DeadlineExceeded, InternalError, Overloaded
from aweigh.core.tensors import Tensor

_LOG = logging.getLogger("aweigh.engine")


class Caller(Protocol):
    """Who waits for an answer: work whose caller has left or whose deadline (`time.monotonic`) has passed is never started."""

    deadline: float | None
    cancelled: bool
    id: bytes


Run = Callable[[], list[Tensor]]
Done = Callable[[list[Tensor] | None, AweighError | None, float], None]
"""Called on the event loop with the outputs or the error, and the seconds spent waiting for a thread."""


class ThreadExecutor:
    """`threads` workers that take work in order; at most `max_queue` requests wait, more raise Overloaded at once.

    The threads start with the first request. `submit` must be called on the event loop; `done` is called there too.
    """

    def __init__(self, name: str, *, threads: int, max_queue: int) -> None:
        self._name = name
        self._max_threads = threads
        self._max_queue = max_queue
        self._work: deque[tuple[Run, Caller, Done, asyncio.AbstractEventLoop, float]] = deque()
        self._ready = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        """Threads that wait for work."""
        self._busy = 0
        """Threads that run a session."""
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return len(self._work)

    def submit(self, run: Run, caller: Caller, done: Done) -> None:
        """Queue one call. Raises Overloaded when the queue is full."""
        with self._ready:
            if self._closed:
                raise Overloaded(f"model '{self._name}' is being unloaded", hint="try again")
            if len(self._work) >= self._max_queue + self._max_threads - self._busy:
                raise Overloaded(
                    f"model '{self._name}': {len(self._work)} requests are waiting already",
                    hint="try again later; max_queue sets the limit",
                )
            self._work.append((run, caller, done, asyncio.get_running_loop(), time.monotonic()))
            if len(self._work) > self._idle and len(self._threads) < self._max_threads:
                thread = threading.Thread(target=self._serve, name=f"aweigh-{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._ready.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Let running calls finish, refuse what waits, and join the threads."""
        with self._ready:
            self._closed = True
            waiting = list(self._work)
            self._work.clear()
            self._ready.notify_all()
        for _, _, done, loop, queued_at in waiting:
            _deliver(loop, done, None, Overloaded(f"model '{self._name}' was unloaded", hint="try again"), time.monotonic() - queued_at)
        for thread in self._threads:
            thread.join(timeout_s)

    def _serve(self) -> None:
        while True:
            with self._ready:
                while not self._work:
                    if self._closed:
                        return
                    self._idle += 1
                    self._ready.wait()
                    self._idle -= 1
                run, caller, done, loop, queued_at = self._work.popleft()
                self._busy += 1
            waited = time.monotonic() - queued_at
            outputs, error = _attempt(run, caller)
            with self._ready:
                self._busy -= 1
            _deliver(loop, done, outputs, error, waited)


def _attempt(run: Run, caller: Caller) -> tuple[list[Tensor] | None, AweighError | None]:
    if caller.cancelled:
        return None, Cancelled("the client left before its request was started")
    if caller.deadline is not None and time.monotonic() > caller.deadline:
        return None, DeadlineExceeded("the request's deadline passed while it waited for a thread", hint="allow more time, or add threads")
    try:
        return run(), None
    except AweighError as error:
        return None, error
    except Exception:  # noqa: BLE001  # the worker loop's boundary: whatever a session raises belongs to its request
        _LOG.exception("a session failed", extra={"request_id": caller.id.decode(), "worker": threading.current_thread().name})
        return None, failed_unexpectedly(caller.id)


def failed_unexpectedly(request_id: bytes) -> InternalError:
    """What a caller is told of an exception that nobody expected: not what it says, but where it was logged."""
    return InternalError("the server failed to answer this request", hint=f"the server's log has it under request id {request_id.decode()}")


def _deliver(loop: asyncio.AbstractEventLoop, done: Done, outputs: list[Tensor] | None, error: AweighError | None, waited: float) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
        loop.call_soon_threadsafe(done, outputs, error, waited)

"""The thread executor: runs dear sessions off the event loop, with a bounded queue. (Inline needs no executor: it is a call.)"""

import asyncio
import contextlib
import logging
import threading
import time
from typing import Protocol

from aweigh.core.errors import AweighError, InternalError, Overloaded
from aweigh.core.tensors import Tensor
from aweigh.engine.queue import Call, Caller, Done, Entry, Queue, Run, refusal

__all__ = ["Caller", "Done", "Executor", "Run", "ThreadExecutor", "failed_unexpectedly"]
_LOG = logging.getLogger("aweigh.engine")


class Executor(Protocol):
    """Where a model's calls run beside the event loop: `ThreadExecutor`, or `processes.ProcessExecutor`."""

    @property
    def lanes(self) -> int:
        """Calls that may run at the same time."""
        ...

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a call would be answered."""
        ...

    def submit(self, run: Call, caller: Caller, done: Done) -> None:
        """Queue one call, on the event loop; `done` is called there. Raises Overloaded, Unavailable."""
        ...

    def close(self) -> None: ...


class ThreadExecutor:
    """`threads` workers that take work in order; at most `max_queue` requests wait, more raise Overloaded at once.

    The threads start with the first request. `submit` must be called on one event loop; `done` is called there too.
    """

    def __init__(self, name: str, *, threads: int, max_queue: int) -> None:
        self._name = name
        self._max_threads = threads
        self._work = Queue(name, max_queue, threads)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        """Threads that wait for work."""
        self._busy = 0
        """Threads that run a session."""
        self._closed = False

    @property
    def lanes(self) -> int:
        """Calls that may run at the same time."""
        return self._max_threads

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return len(self._work)

    @property
    def ready(self) -> bool:
        return not self._closed

    def submit(self, run: Run, caller: Caller, done: Done) -> None:
        """Queue one call. Raises Overloaded when the queue is full, or too long for the caller's deadline."""
        now = time.monotonic()
        with self._ready:
            if self._closed:
                raise Overloaded(f"model '{self._name}' is being unloaded", hint="try again")
            self._loop = asyncio.get_running_loop()
            for gone in self._work.sweep(now):
                self._deliver(gone, None, refusal(gone.caller, now), now - gone.queued_at)
            self._work.add(Entry(run, caller, done, now), free=self._max_threads - self._busy)
            if len(self._work) > self._idle and len(self._threads) < self._max_threads:
                thread = threading.Thread(target=self._serve, name=f"aweigh-{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._ready.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Let running calls finish, refuse what waits, and join the threads."""
        with self._ready:
            self._closed = True
            waiting = self._work.take_all()
            self._ready.notify_all()
        for entry in waiting:
            self._deliver(
                entry, None, Overloaded(f"model '{self._name}' was unloaded", hint="try again"), time.monotonic() - entry.queued_at
            )
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
                entry = self._work.take()
                self._busy += 1
            began = time.monotonic()
            unwanted = self._work.refusal(entry, began)
            outputs, error = (None, unwanted) if unwanted is not None else _attempt(entry.run, entry.caller)
            with self._ready:
                self._busy -= 1
                if outputs is not None:
                    self._work.pace.took(time.monotonic() - began)
            self._deliver(entry, outputs, error, began - entry.queued_at)

    def _deliver(self, entry: Entry, outputs: list[Tensor] | None, error: AweighError | None, waited: float) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(entry.done, outputs, error, waited)


def _attempt(run: Run, caller: Caller) -> tuple[list[Tensor] | None, AweighError | None]:
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

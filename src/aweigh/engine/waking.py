"""Requests that wait for their model: the first that asks has it loaded, the others wait for the same load. On the event loop.

Every wait ends: with the load, at the request's own deadline, or at once where too many wait already.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from aweigh.core.errors import AweighError, DeadlineExceeded, Overloaded
from aweigh.engine.queue import Caller

Told = Callable[[AweighError | None], None]
"""Called on the event loop: the model is there, or why it is not."""
_SAME_ANSWER_S: Final = 5.0
"""A load that failed is not tried again for so long: requests that come meanwhile get its error at once."""


class _Waiter:
    __slots__ = ("_others", "_timer", "_told", "caller")

    def __init__(self, caller: Caller, told: Told, name: str, others: "Waiters") -> None:
        self.caller = caller
        self._others = others
        self._told: Told | None = told
        self._timer: asyncio.TimerHandle | None = None
        if caller.deadline is not None:
            late = DeadlineExceeded(
                f"model '{name}' was not loaded in time", hint="allow more time for the first request, or load it beforehand"
            )
            self._timer = asyncio.get_running_loop().call_later(max(0.0, caller.deadline - monotonic()), self.tell, late)
        others[self] = None

    def tell(self, error: AweighError | None) -> None:
        """The end of the wait, once: it takes nobody's place any more."""
        self._others.pop(self, None)
        told, self._told = self._told, None
        if self._timer is not None:
            self._timer.cancel()
        if told is not None and not self.caller.cancelled:
            told(error)


Waiters = dict[_Waiter, None]
"""Those of one load, in order."""


class Waking:
    """`load` has a version loaded and tells when it answers, or why it does not."""

    def __init__(self, load: Callable[[str, str, Callable[[Any, AweighError | None], None]], None], *, max_waiting: int) -> None:
        self._load = load
        self._max_waiting = max_waiting
        self._waiting: dict[tuple[str, str], Waiters] = {}
        """By what is being loaded; also what nobody waits for any more."""
        self._failed: dict[tuple[str, str], tuple[float, AweighError]] = {}
        self.loads = 0
        """Loads that requests have caused."""

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return sum(map(len, self._waiting.values())) - len(self._gone())

    def _gone(self) -> list[_Waiter]:
        """Those whose clients have left."""
        return [waiter for waiters in self._waiting.values() for waiter in waiters if waiter.caller.cancelled]

    def _full(self) -> bool:
        return sum(map(len, self._waiting.values())) >= max(1, self._max_waiting)

    def wait(self, name: str, version: str, caller: Caller, told: Told) -> None:
        """Wait for a version to be loaded. Raises Overloaded, and what the load raised a moment ago."""
        key = name, version
        until, error = self._failed.get(key, (0.0, None))
        if error is not None and monotonic() < until:
            raise error.saying(error.message)  # a new one: it is raised again and again, and tracebacks grow
        waiters = self._waiting.get(key)
        if self._full():
            for gone in self._gone():
                gone.tell(None)
        if self._full():
            raise Overloaded(f"{self.waiting} requests wait for models to be loaded", hint="try again later; max_queue allows more to wait")
        if waiters is not None:
            _Waiter(caller, told, name, waiters)
            return
        self._failed.pop(key, None)
        waiters = self._waiting[key] = {}
        _Waiter(caller, told, name, waiters)
        self.loads += 1
        self._load(name, version, partial(self._ended, key))

    def forget(self, name: str) -> None:
        """A load may go well now that did not before."""
        for key in [key for key in self._failed if key[0] == name]:
            del self._failed[key]

    def _ended(self, key: tuple[str, str], _: Any, error: AweighError | None) -> None:
        if error is not None:
            self._failed[key] = monotonic() + _SAME_ANSWER_S, error
        for waiter in list(self._waiting.pop(key, ())):
            waiter.tell(error)

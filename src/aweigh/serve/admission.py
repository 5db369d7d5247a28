"""Who is let in by deadline: a request that the event loop is too far behind to answer in time is refused from its head, before it is decoded.

Called by the dispatcher for requests that state a deadline, and for all where the server has an objective. Costs nothing to others.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from aweigh.core.errors import Overloaded
from aweigh.core.objective import duration_text

_FOR_WAITING: Final = 0.5
"""Of the time that a request has, what may be gone when it is read. Whoever is refused has waited no longer than that either."""
_LONG_S: Final = 0.001
"""A turn of the loop that is shorter holds nobody up: whether the loop slept after it need not be known."""


def _soon(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


class Backlog:
    """Since when what is read now may have been waiting: since the loop last looked at its sockets, if it has not slept since.

    A turn of the loop looks at all sockets, then answers what it found. While it is busy, whatever it finds came during the turn before.
    """

    __slots__ = ("_began", "_busy", "_inside", "_now", "_since", "_soon")

    def __init__(self, *, now: Callable[[], float] = monotonic, soon: Callable[[Callable[[], None]], None] = _soon) -> None:
        self._now = now
        self._soon = soon
        self._since = self._began = 0.0
        self._inside = False
        """Whether this turn has begun."""
        self._busy = False
        """Whether the turn before was long, and the loop has not found its sockets silent since."""

    def since(self, now: float) -> float:
        """The earliest that a request which is read now can have come."""
        if not self._inside:
            self._since = self._began if self._busy else now
            self._began, self._busy, self._inside = now, False, True
            try:
                self._soon(self._end)
            except RuntimeError:  # nothing turns: whoever drives the wire has no backlog
                self._inside = False
        return self._since

    def _end(self) -> None:
        """Everything of this turn was read; what it let wait for its end runs behind this."""
        self._inside = False
        if self._now() - self._began > _LONG_S:
            self._busy = True
            self._soon(self._looked)

    def _looked(self) -> None:
        """The sockets were looked at once more: what that found was asked for already, and what comes from now on came later."""
        self._busy = False


class Admission:
    """`limit_s` is what the server itself promises; 0 is nothing. `late` is told of each request that is refused."""

    __slots__ = ("_backlog", "_late", "limit_s")

    def __init__(self, limit_s: float, late: Callable[[], None], backlog: Backlog | None = None) -> None:
        self.limit_s = limit_s
        self._late = late
        self._backlog = backlog or Backlog()

    def deadline(self, timeout_s: float | None) -> float | None:
        """When a request's own time is up (`time.monotonic`), None where it states none. Raises Overloaded where it cannot be answered by then."""
        now = monotonic()
        since = self._backlog.since(now)
        limit_s = self.limit_s if timeout_s is None else min(timeout_s, self.limit_s or timeout_s)
        if now - since > limit_s * _FOR_WAITING:
            self._late()
            raise Overloaded(
                f"the server is {duration_text(now - since)} behind: too far for an answer within {duration_text(limit_s)}",
                hint="try again later, or allow more time",
            )
        return None if timeout_s is None else since + timeout_s

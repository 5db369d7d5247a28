"""A circuit breaker: whether to ask something that failed again and again. Used where there is another choice; knows no model and no clock of its own.

closed (asked as always) -> after so many failures in a row -> open (not asked) -> after a pause, by the next who asks -> half-open (one asks,
the others do not) -> closed where that one succeeds, open where it fails. For one thread.
"""

import enum
from collections.abc import Callable
from time import monotonic

from aweigh.core.errors import InvalidInput


class State(enum.StrEnum):
    """Of a circuit, as it is shown."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    """Every call that `allows` let through should be told of by `succeeded` or `failed`; one that is not costs a pause at most."""

    __slots__ = ("_asked_at", "_clock", "_failures", "_in_a_row", "_pause_s", "state")

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float] = monotonic) -> None:
        """Opens after `failures` in a row and stays so for `pause_s` seconds of `clock`. Raises InvalidInput unless both are above 0."""
        if failures < 1 or not pause_s > 0:
            raise InvalidInput(f"a circuit that opens after {failures} failures for {pause_s} s", hint="both must be above 0")
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._asked_at = 0.0
        """When it opened, or when the last probe began."""
        self.state = State.CLOSED

    def allows(self) -> bool:
        """Whether to ask now. One True of a circuit that is not closed is a probe: the next one comes after its answer, or after another pause."""
        if self.state is State.CLOSED:
            return True
        now = self._clock()
        if now - self._asked_at < self._pause_s:
            return False
        self.state, self._asked_at = State.HALF_OPEN, now
        return True

    def succeeded(self) -> None:
        """A call succeeded. What was begun before the circuit opened does not close it: the probe decides."""
        self._in_a_row = 0
        if self.state is State.HALF_OPEN:
            self.state = State.CLOSED

    def failed(self) -> None:
        """A call failed by the fault of whom it asked, not of who asked."""
        self._in_a_row += 1
        if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._in_a_row >= self._failures):
            self.state, self._asked_at = State.OPEN, self._clock()

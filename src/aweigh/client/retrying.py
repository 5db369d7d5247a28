"""Retries under one deadline, used by `Client` for every call. Must never wait past the deadline or repeat what a repeat cannot mend.

Only UNAVAILABLE and OVERLOADED failures are repeated: the server refused the work, or the connection broke before an answer came, and
inference changes nothing on the server. A server's own wish (`Retry-After`) is taken as the least wait.
"""

import dataclasses
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from aweigh.core.errors import AweighError, DeadlineExceeded, Kind

RETRY_AFTER: Final = "retry_after_s"
"""The key in an error's context under which a transport hands on the wait that the server asked for."""
_REPEATABLE: Final = frozenset({Kind.UNAVAILABLE, Kind.OVERLOADED})
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently; the clock, the sleep and the dice can be replaced in tests."""

    retries: int
    first_delay_s: float = 0.05
    longest_delay_s: float = 2.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def delay_s(self, attempt: int, retry_after_s: float) -> float:
        """The wait after failed attempt 0, 1, …: a random part of a doubling span, but no less than the server asked for."""
        span = min(self.longest_delay_s, self.first_delay_s * 2.0**attempt)
        return max(span * (0.5 + 0.5 * self.chance()), retry_after_s)

    def call(self, attempt_once: Callable[[float], _Answer], timeout_s: float) -> _Answer:
        """Run `attempt_once(seconds left)` until it answers, fails for good, or no attempt fits before the deadline."""
        deadline = self.now() + timeout_s
        attempt = 0
        while True:
            left = deadline - self.now()
            if left <= 0:
                raise DeadlineExceeded(f"no answer within {timeout_s:g} s", hint="raise timeout_s, or check the server's load")
            try:
                return attempt_once(left)
            except AweighError as error:
                wait = self.delay_s(attempt, _wish(error))
                if error.kind not in _REPEATABLE or attempt >= self.retries or self.now() + wait >= deadline:
                    raise
            attempt += 1
            self.sleep(wait)


def _wish(error: AweighError) -> float:
    asked = error.context.get(RETRY_AFTER, 0.0)
    return asked if isinstance(asked, float) else 0.0

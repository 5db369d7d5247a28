"""Trying again: how long to wait, and how a broken transfer goes on where it stopped. Used by every kind of remote; pure but for the wait."""

import random
from collections.abc import Callable, Iterator
from typing import Final

from aweigh.core.errors import AweighError, InvalidFile, Kind, Unavailable

ATTEMPTS: Final = 5
"""Failures in a row after which a transfer gives up."""
MAX_RESUMES: Final = 100
"""Failures in all: a peer that sends a byte and hangs up must not keep us for ever."""
_FIRST_S: Final = 0.25
_MAX_S: Final = 15.0
_AGAIN: Final = frozenset({Kind.UNAVAILABLE, Kind.OVERLOADED, Kind.TIMEOUT})


def worth_another_try(error: AweighError) -> bool:
    """Whether the same request may succeed later."""
    return error.kind in _AGAIN


def delay_s(failures: int) -> float:
    """How long to wait after so many failures in a row: doubling, with jitter, so that many clients do not come back at once."""
    return float(min(_FIRST_S * 2**failures, _MAX_S) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter is no secret


def resumed(open_at: Callable[[int], Iterator[bytes]], size_bytes: int, *, place: str, pause: Callable[[float], None]) -> Iterator[bytes]:
    """The bytes of a blob; `open_at(offset)` gives those from an offset on, and may break off. Raises what it last raised, InvalidFile."""
    at, failures = 0, 0
    for _ in range(MAX_RESUMES):
        before = at
        problem: AweighError = Unavailable(f"{place}: the transfer ended after {at} of {size_bytes} bytes")
        if at < size_bytes:
            try:
                for chunk in open_at(at):
                    at += len(chunk)
                    yield chunk
            except AweighError as error:
                if not worth_another_try(error):
                    raise
                problem = error
        if at >= size_bytes:
            return
        failures = 1 if at > before else failures + 1
        if failures >= ATTEMPTS:
            raise problem
        pause(delay_s(failures))
    raise InvalidFile(f"{place}: the transfer broke off {MAX_RESUMES} times", hint="the other side does not give what it announced")

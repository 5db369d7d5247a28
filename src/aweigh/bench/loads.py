"""The loads of a test from what a person wrote: lists of rates and users, times with units. Every number has its bounds here."""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from aweigh.bench.plan import MAX_CONNECTIONS, MAX_PROCESSES, Arrival, Load
from aweigh.core.errors import InvalidSetting
from aweigh.core.objective import UNITS_S

DEFAULT_CONCURRENCY: Final = "1,8,32"
MAX_RATE: Final = 10_000_000.0
MAX_SECONDS: Final = 24 * 3600.0
_UNITS: Final = {**UNITS_S, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-zµμ]*)")
_MOST_LOADS: Final = 64
Number = TypeVar("Number", int, float)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all loads of a test have in common, as written."""

    duration: str = "5s"
    warmup: str = "1s"
    timeout: str = "10s"
    arrival: Arrival = "poisson"
    connections: int = 0
    processes: int = 1
    seed: int = 0


def parse_loads(concurrency: str, rate: str, terms: Terms) -> tuple[Load, ...]:
    """Every load, closed ones first; 1, 8 and 32 users where nothing is asked for. Raises InvalidSetting naming option and value."""
    if not concurrency and not rate:
        concurrency = DEFAULT_CONCURRENCY
    if not 1 <= terms.processes <= MAX_PROCESSES:
        raise InvalidSetting(f"--processes is {terms.processes}: expected 1 to {MAX_PROCESSES}")
    if not 0 <= terms.connections <= MAX_CONNECTIONS:
        raise InvalidSetting(f"--connections is {terms.connections}: expected 0 (chosen) to {MAX_CONNECTIONS}")
    if terms.seed < 0:
        raise InvalidSetting(f"--seed is {terms.seed}: expected 0 or more")
    base = Load(
        arrival=terms.arrival,
        duration_s=_within("--duration", parse_duration("--duration", terms.duration), 0.1, MAX_SECONDS),
        warmup_s=_within("--warmup", parse_duration("--warmup", terms.warmup), 0.0, MAX_SECONDS),
        timeout_s=_within("--timeout", parse_duration("--timeout", terms.timeout), 0.001, MAX_SECONDS),
        connections=terms.connections,
        processes=terms.processes,
        seed=terms.seed,
    )
    users = _list("--concurrency", concurrency, int, MAX_CONNECTIONS)
    rates = _list("--rate", rate, float, MAX_RATE)
    short = next((count for count in users if count < terms.processes), None)
    if short is not None:
        raise InvalidSetting(f"--processes is {terms.processes}, for {short} users", hint="give at most as many processes as users")
    closed = [msgspec.structs.replace(base, concurrency=count) for count in users]
    return (*closed, *(msgspec.structs.replace(base, rate=number) for number in rates))


def parse_duration(option: str, text: str) -> float:
    """Seconds from `10s`, `500ms`, `2m` or a bare number of seconds. Raises InvalidSetting naming the option."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise InvalidSetting(f"{option} is {text[:40]!r}: not a time", hint="write it as 10s, 500ms or 2m")
    return float(found[1]) * _UNITS[found[2]]


def _within(option: str, seconds: float, low: float, high: float) -> float:
    if not low <= seconds <= high:
        raise InvalidSetting(f"{option} is {seconds:g} s: expected {low:g} to {high:g} s")
    return seconds


def _list(option: str, text: str, kind: Callable[[str], Number], most: float) -> Sequence[Number]:
    found: list[Number] = []
    for word in text.split(",") if text else ():
        try:
            number = kind(word.strip())
        except ValueError:
            raise InvalidSetting(
                f"{option} is {text[:80]!r}: {word.strip()[:40]!r} is no number", hint=f"write it as {option} 100 or 1,8,32"
            ) from None
        if not 0 < number <= most:
            raise InvalidSetting(f"{option} holds {number:g}: expected above 0, at most {most:g}")
        found.append(number)
    if len(found) > _MOST_LOADS:
        raise InvalidSetting(f"{option} holds {len(found)} loads: at most {_MOST_LOADS}")
    return found

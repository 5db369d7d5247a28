"""The highest rate at which an objective holds: which rate to try next, and what the answer is worth. Plain decisions; runs nothing itself.

Doubling from a low rate until one fails, halving the gap between held and failed (on a ratio scale), then further runs at the highest rate
that held, until it held in three of them. Queues have a knee, so a rate that held once proves little; machines have bad moments, so one run of
four may fail there. A rate that fails twice is one that failed, and the search goes on below it; so the lowest rate that failed is run again too,
and where it holds, the search goes on above it. A run in which the generator was late says nothing of the server: its rate is run again, and
counts as beyond the generator only where that was late in each of three runs.
"""

import math
import re
from typing import Final, Literal

import msgspec

from aweigh.core.errors import InvalidSetting

HEADROOM: Final = 0.3
LATE_RUNS: Final = 3
"""Runs in a row with a late generator, after which the rate is more than it can offer."""
MAX_TRIALS: Final = 40
_FAILURES: Final = 2
_HOURS_A_MONTH: Final = 730
_PRICE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*/\s*(core|replica)-hour")

Outcome = Literal["held", "failed", "generator"]
"""Of one run: the objective held, did not, or the generator could not offer that rate."""
Phase = Literal["doubling", "narrowing", "confirming", "done"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the search."""

    rate: float
    outcome: Outcome
    phase: Phase


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    rate: float
    """Requests per second at which the objective held in every run; 0: at no rate that was tried."""
    failed_rate: float | None
    """The lowest rate above it that did not hold; None where none failed."""
    held: int
    """Runs at that rate in which it held."""
    runs: int
    """Runs at that rate."""
    limited_by: Literal["server", "generator", "nothing"]
    """"generator": the server can do more than this machine could ask; "nothing": --max-rate held."""
    steady: bool
    """False where the search was broken off because runs at one rate kept disagreeing."""
    trials: tuple[Trial, ...]


class CapacitySearch:
    """Ask `next_rate` and tell `record`, in turn, until the rate is None."""

    def __init__(self, *, start: float, max_rate: float, precision: float = 0.05, confirmations: int = 2, lowest: float = 1.0) -> None:
        self._low = 0.0
        self._failed: dict[float, list[Outcome]] = {}
        self._next = min(max(start, lowest), max_rate)
        self._max = max_rate
        self._precision = precision
        self._wanted = 1 + confirmations
        self._lowest = lowest
        self._held: dict[float, int] = {}
        self._missed: set[float] = set()
        self._late = 0
        self._trials: list[Trial] = []
        self.phase: Phase = "doubling"

    def next_rate(self) -> float | None:
        """The rate to run next; None when the answer is known."""
        return None if self.phase == "done" else self._next

    def record(self, outcome: Outcome) -> None:
        """What came of the run at `next_rate`."""
        self._trials.append(Trial(rate=self._next, outcome=outcome, phase=self.phase))
        self._late = self._late + 1 if outcome == "generator" else 0
        if 0 < self._late < LATE_RUNS and len(self._trials) < MAX_TRIALS:
            return  # the same rate again
        self._late = 0
        if outcome == "held":
            self._held[self._next] = self._held.get(self._next, 0) + 1
            self._low = max(self._low, self._next)
            self._failed = {rate: outcomes for rate, outcomes in self._failed.items() if rate > self._next}
        elif self._next in self._held and self._next not in self._missed:
            self._missed.add(self._next)
        else:
            self._failed.setdefault(self._next, []).append(outcome)
            self._held.pop(self._next, None)
            self._low = max((rate for rate in self._held if rate < self._high), default=0.0)
        self._decide()

    @property
    def _high(self) -> float:
        return min(self._failed, default=math.inf)

    def _decide(self) -> None:
        if len(self._trials) >= MAX_TRIALS:
            self.phase = "done"
        elif self._low == 0.0:  # nothing holds yet
            self._next = self._high / 4
            if self._next < self._lowest:
                self.phase = "done"
        elif math.isinf(self._high) and self._low < self._max:
            self._next = min(self._low * 2, self._max)
        elif self._low < self._max and self._high / self._low > 1 + self._precision:
            self.phase = "narrowing"
            self._next = _round(math.sqrt(self._low * self._high), self._low, self._high)
        elif self._low < self._max and len(self._failed[self._high]) + (self._high in self._missed) < _FAILURES:
            self.phase = "confirming"
            self._next = self._high
        elif self._held[self._low] < self._wanted:
            self.phase = "confirming"
            self._next = self._low
        else:
            self.phase = "done"

    def result(self) -> Capacity:
        """The answer, once `next_rate` is None."""
        ends = self._failed.get(self._high, [])
        return Capacity(
            rate=self._low,
            failed_rate=self._high if ends else None,
            held=self._held.get(self._low, 0),
            runs=self._held.get(self._low, 0) + (self._low in self._missed),
            limited_by=("generator" if ends[-1] == "generator" else "server") if ends else "nothing",
            steady=len(self._trials) < MAX_TRIALS or self._held.get(self._low, 0) >= self._wanted,
            trials=tuple(self._trials),
        )


def _round(rate: float, low: float, high: float) -> float:
    """Three digits, where that stays between the two."""
    digits = 2 - math.floor(math.log10(rate))
    rounded = round(rate, digits)
    return rounded if low < rounded < high else rate


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What an hour costs."""

    amount: float
    per: Literal["core", "replica"]


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What a stated load takes."""

    cores: float | None
    """Of one replica: as stated, or as its processes were seen to use."""
    cores_from: str
    per_core: float | None
    """Requests/s per core at the objective."""
    load: float | None = None
    headroom: float = HEADROOM
    replicas: int | None = None
    cost_per_hour: float | None = None
    cost_per_month: float | None = None
    cost_per_million: float | None = None
    """Of a million requests, at the stated load."""


def parse_price(text: str) -> Price:
    """Read `0.04/core-hour` or `0.2/replica-hour`. Raises InvalidSetting."""
    found = _PRICE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidSetting(
            f"{text[:80]!r} is not a price", hint="write it as '0.04/core-hour' or '0.20/replica-hour', without a currency"
        )
    return Price(amount=float(found[1]), per="core" if found[2] == "core" else "replica")


def size(rate: float, *, cores: float | None, cores_from: str, load: float | None, headroom: float, price: Price | None) -> Sizing:
    """Replicas and cost of a load, where one replica holds its objective up to `rate` and is asked for (1 - headroom) of that."""
    sizing = Sizing(cores=cores, cores_from=cores_from, per_core=rate / cores if cores else None, headroom=headroom)
    if load is None or not rate:
        return sizing
    replicas = math.ceil(round(load / (rate * (1 - headroom)), 9))
    hourly = None
    if price is not None and (price.per == "replica" or cores):
        hourly = replicas * price.amount * (1.0 if price.per == "replica" else cores or 0.0)
    return msgspec.structs.replace(
        sizing,
        load=load,
        replicas=replicas,
        cost_per_hour=hourly,
        cost_per_month=None if hourly is None else hourly * _HOURS_A_MONTH,
        cost_per_million=None if hourly is None else hourly / (load * 3600) * 1e6,
    )

"""What a scenario of `make bench-optimize` leaves behind: one JSON file, which the tables, the picture and the page are made from, so that no figure is typed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.optimization.timing import Speed
from bench import kept

PREFIX: Final = "optimize-"
BASE: Final = "baseline"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One form of the model: who made it, how, what it cost and what it is worth."""

    who: str
    what: str
    """Its passes, or settings."""
    seconds: float = 0.0
    """Until it was there: the whole search, or the whole run of a tool."""
    figures: Mapping[str, float] = {}
    """What the budget measures, on rows that nobody saw."""
    within: bool = True
    """Whether it holds the budget on these."""
    speeds: tuple[Speed, ...] = ()
    """Against the baseline, of one comparison in turns."""
    size_bytes: int = 0
    silence: str = ""
    """Why there is nothing."""

    def times(self, rows: int) -> Speed | None:
        """At batches of so many rows."""
        return next((speed for speed in self.speeds if speed.rows == rows), None)


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A promise: somebody's line is at least so many times as fast as the baseline at a batch."""

    what: str
    who: str
    rows: int
    least: float
    measured: float = 0.0
    low: float = 0.0
    high: float = 0.0
    met: bool = False


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of one run."""

    scenario: str
    title: str
    budget: str
    data: str
    """Which rows were for what."""
    at: str
    seconds: float
    """That the scenario took."""
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...] = ()
    told: tuple[str, ...] = ()
    """What the searches said of what they tried, kept and refused."""


def judged(bars: Sequence[Bar], lines: Sequence[Line]) -> tuple[Bar, ...]:
    """The bars, held against the lines: the fastest of its owner that is within the budget counts."""
    found = []
    for bar in bars:
        speeds = [speed for line in lines if line.who == bar.who and line.within and (speed := line.times(bar.rows)) is not None]
        best = max(speeds, key=lambda speed: speed.times, default=None)
        if best is None:
            found.append(bar)
            continue
        met = best.times >= bar.least
        found.append(msgspec.structs.replace(bar, measured=best.times, low=best.low, high=best.high, met=met))
    return tuple(found)


def write(document: Document, folder: Path) -> Path:
    return kept.write(document, folder, PREFIX)


def newest(folder: Path, scenarios: Sequence[str]) -> list[Document]:
    """The last document of each scenario that has one, in their order."""
    return [document for scenario in scenarios for document in kept.read(Document, folder, PREFIX, scenario)[-1:]]

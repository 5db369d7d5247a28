"""What a scenario of `make bench-optimize` leaves behind: one JSON file, which the tables, the picture and the page are made from, so that no figure is typed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.engine.variants import Purpose
from aweigh.optimization.timing import Speed
from bench import kept

PREFIX: Final = "optimize-"
BASE: Final = "baseline"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One form of the model: who made it, how, what it cost and what it is worth."""

    who: str
    what: str
    """Its passes, or settings."""
    purposes: tuple[Purpose, ...] = ()
    """What the engine takes it for, of the forms in its package; none where no engine chooses."""
    own: bool = False
    """Whether it is the baseline's own variant, which the engine still takes."""
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
    """A promise: what the engine takes of somebody's forms is at least so many times as fast as the baseline at a batch. `least` 1: never slower."""

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
    """The bars, held against the lines: the one of its owner counts that the engine takes for single rows or for batches, where it is within the budget. That something is never
    slower is met where its whole interval is not, or where it is the baseline itself."""
    found = []
    for bar in bars:
        purpose: Purpose = "online" if bar.rows == 1 else "batch"
        line = next((line for line in lines if line.who == bar.who and purpose in line.purposes and line.within), None)
        speed = line.times(bar.rows) if line is not None else None
        if line is None or speed is None:
            found.append(bar)
            continue
        met = speed.times >= bar.least if bar.least > 1 else line.own or speed.low >= bar.least
        found.append(msgspec.structs.replace(bar, measured=speed.times, low=speed.low, high=speed.high, met=met))
    return tuple(found)


def write(document: Document, folder: Path) -> Path:
    return kept.write(document, folder, PREFIX)


def newest(folder: Path, scenarios: Sequence[str]) -> list[Document]:
    """The last document of each scenario that has one, in their order."""
    return [document for scenario in scenarios for document in kept.read(Document, folder, PREFIX, scenario)[-1:]]

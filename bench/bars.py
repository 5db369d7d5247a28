"""The bars that aweigh is held to beside its peers: ratios of one run, medians of the rounds. Read by the report and the page."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Final

from bench.document import BASE, Document, ratios


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`server` must be at least `least` times as fast as `over`, one worker each."""

    over: str
    least: float
    door: str = "rest"
    server: str = BASE
    scenario: str = "iris"
    concurrency: int = 32


BARS: Final = (
    Bar(over="bare-loop", least=2.6),
    Bar(over="bare-loop", least=1.2, server="aweigh-unbatched"),
    Bar(over="mlserver", least=25.0),
    Bar(over="fastapi", least=10.0),
    Bar(over="litserve", least=45.0),
    Bar(over="ray", least=120.0),
    Bar(over="bare-loop", least=2.5, door="grpc"),
    Bar(over="grpcio", least=25.0, door="grpc"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured of a bar; no ratio where a side of it was not measured."""

    bar: Bar
    ratio: float | None
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def met(self) -> bool:
        return self.ratio is not None and self.ratio >= self.bar.least

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "met" if self.met else "MISSED"


def judged(documents: Sequence[Document]) -> list[Verdict]:
    """Every bar of the scenarios that were measured."""
    return [_verdict(bar, document) for document in documents for bar in BARS if bar.scenario == document.scenario]


def _verdict(bar: Bar, document: Document) -> Verdict:
    mine = document.cell(bar.server, bar.door, bar.concurrency)
    theirs = document.cell(bar.over, bar.door, bar.concurrency)
    found = ratios(mine, theirs) if mine and theirs else []
    if not found:
        return Verdict(bar=bar, ratio=None)
    return Verdict(bar=bar, ratio=statistics.median(found), lowest=min(found), highest=max(found))

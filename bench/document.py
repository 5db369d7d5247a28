"""What a comparison with peers leaves behind: one JSON file for a scenario, which the tables, the bars and the page are made from.

Written by `side_by_side.py`. Must hold every sample, so that no figure on a page is typed by hand.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import kept

FORMAT: Final = 1
PREFIX: Final = "peers-"
BASE: Final = "aweigh"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    requests: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One server under one load: its rounds, or why there are none."""

    server: str
    door: str
    """rest, grpc, or session: the library called in process."""
    concurrency: int
    samples: tuple[Sample, ...] = ()
    memory_mb: float = 0.0
    silence: str = ""

    @property
    def per_second(self) -> float:
        return statistics.median(sample.per_second for sample in self.samples)

    @property
    def p50_ms(self) -> float:
        return statistics.median(sample.p50_ms for sample in self.samples)

    @property
    def p99_ms(self) -> float:
        return statistics.median(sample.p99_ms for sample in self.samples)

    @property
    def cpu_ms_per_thousand(self) -> float:
        return statistics.median(1e6 * sample.cpu_s / sample.requests for sample in self.samples)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What a server was, in words, and what of its documentation stands behind its settings."""

    about: str
    versions: Mapping[str, str]
    settings: tuple[Mapping[str, str], ...]
    cores: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """All servers under all loads of one scenario, of one run."""

    format: int = FORMAT
    scenario: str
    title: str
    form: str
    whole: bool
    """Whether every server was loaded at every door and concurrency; a part never stands for a whole."""
    at: str
    rounds: int
    seconds: int
    machine: Mapping[str, Any]
    servers: Mapping[str, Server]
    cells: tuple[Cell, ...]

    def cell(self, server: str, door: str, concurrency: int) -> Cell | None:
        wanted = (server, door, concurrency)
        return next((cell for cell in self.cells if (cell.server, cell.door, cell.concurrency) == wanted), None)


def ratios(of: Cell, to: Cell) -> list[float]:
    """How many times as fast, round by round; empty where one was not measured."""
    return [mine.per_second / theirs.per_second for mine, theirs in zip(of.samples, to.samples, strict=False)]


def write(document: Document, folder: Path) -> Path:
    return kept.write(document, folder, PREFIX)


def newest(folder: Path, scenarios: Sequence[str]) -> list[Document]:
    """The last document of each scenario that has one, in the order of `scenarios`; a whole one where there is any."""
    found = []
    for scenario in scenarios:
        documents = kept.read(Document, folder, PREFIX, scenario)
        found += ([document for document in documents if document.whole] or documents)[-1:]
    return found

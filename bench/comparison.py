"""A comparison as text: for a terminal, and the parts of it that the page shares. Must take every figure from a `Document`."""

import statistics
from collections.abc import Sequence
from typing import Final

from bench.bars import Verdict, judged
from bench.document import BASE, Cell, Document, ratios

DOORS: Final = {"session": "in process", "rest": "REST", "grpc": "gRPC"}
HEAD: Final = f"{'server':<18}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/1,000':>14}{'MB':>7}{'aweigh is':>12}{'min-max':>16}"


def base_of(document: Document, cell: Cell) -> Cell | None:
    """The aweigh that was loaded in the same rounds: with one worker, or on two cores."""
    server = document.servers.get(cell.server)
    name = f"{BASE}-2-cores" if server and server.cores == 2 else BASE
    return None if cell.server == name else document.cell(name, cell.door, cell.concurrency)


def times(document: Document, cell: Cell) -> list[float]:
    """How many times as fast aweigh was, round by round."""
    base = base_of(document, cell)
    return ratios(base, cell) if base else []


def loads(document: Document) -> list[tuple[str, int]]:
    """The doors and concurrencies that were measured, in that order."""
    return list(dict.fromkeys((cell.door, cell.concurrency) for cell in document.cells))


def cells(document: Document, door: str, concurrency: int) -> list[Cell]:
    """One worker first, then two cores; within that the quickest first, the silent ones last."""
    found = [cell for cell in document.cells if (cell.door, cell.concurrency) == (door, concurrency)]
    return sorted(found, key=lambda cell: (_cores(document, cell), -cell.per_second if cell.samples else float("inf")))


def _cores(document: Document, cell: Cell) -> int:
    server = document.servers.get(cell.server)
    return server.cores if server else 1


def door_title(document: Document, door: str, concurrency: int) -> str:
    if door == "session":
        return "the session in process, one thread, no server: the bare limit"
    form = f" {'JSON' if document.form == 'json' else document.form}" if door == "rest" else ""
    return f"{DOORS[door]}{form}, {concurrency} in flight"


def text(document: Document) -> str:
    """One table a load."""
    blocks = [f"{document.title}; {document.rounds} interleaved rounds of {document.seconds} s"]
    for door, concurrency in loads(document):
        rows = [_row(document, cell) for cell in cells(document, door, concurrency)]
        blocks.append("\n".join([door_title(document, door, concurrency), HEAD, *rows]))
    return "\n\n".join(blocks)


def _row(document: Document, cell: Cell) -> str:
    if cell.silence:
        return f"{cell.server:<18}{first_line(cell.silence)}"
    found = times(document, cell)
    ratio = f"{statistics.median(found):>10.1f} x{f'{min(found):.1f}-{max(found):.1f}':>16}" if found else ""
    figures = f"{cell.per_second:>12,.0f}{cell.p50_ms:>9.2f}{cell.p99_ms:>9.2f}{cell.cpu_ms_per_thousand:>14,.1f}{cell.memory_mb:>7.0f}"
    return f"{cell.server:<18}{figures}{ratio}"


def first_line(text: str) -> str:
    return text.strip().splitlines()[0]


def bars_text(documents: Sequence[Document]) -> str:
    """Each bar, and whether it was met; nothing where no scenario has one."""
    if not judged(documents):
        return ""
    return "\n".join(
        ["bars (medians of the rounds' ratios)", *(f"  {bar_title(verdict)}: {bar_figures(verdict)}" for verdict in judged(documents))]
    )


def bar_title(verdict: Verdict) -> str:
    bar = verdict.bar
    return f"{bar.scenario}, {DOORS[bar.door]}, {bar.concurrency} in flight: {bar.server} at least {bar.least:g} times {bar.over}"


def bar_figures(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return verdict.word
    return f"{verdict.ratio:.1f} ({verdict.lowest:.1f} to {verdict.highest:.1f}), {verdict.word}"

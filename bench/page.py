"""Writes docs/performance.md and its picture from what was measured (`python -m bench --write-docs`), so that nobody types a figure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import comparison, plot
from bench.bars import judged
from bench.document import Document

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = "performance.md"
PICTURE: Final = "performance.svg"
PLOTTED: Final = 32
_OPENING: Final = """\
# How fast it is

`aweigh serve` as installed (limits, metrics, statistics and authorisation on) beside other ways to serve the same ONNX file, measured in
one run on one machine. Every server holds the same file in an ONNX Runtime session with one thread; every server is asked the same request
by the same load generator; an answer that is not right is not timed. Read the ratios: requests per second are this machine's.

This page is written by `python -m bench --write-docs` from what `make bench-peers` measured. The settings of each server, quoted from its
own documentation, stand at the end.
"""


def write(
    documents: Sequence[Document], docs: Path = DOCS, *, latency: Mapping[str, Any] | None = None, compute: Mapping[str, Any] | None = None
) -> list[Path]:
    """The page and the picture."""
    page, picture = docs / PAGE, docs / PICTURE
    page.write_text(text(documents, latency, compute))
    picture.write_text(plot.picture(documents, PLOTTED))
    return [page, picture]


def text(documents: Sequence[Document], latency: Mapping[str, Any] | None = None, compute: Mapping[str, Any] | None = None) -> str:
    parts = [_OPENING, f"![requests per second, {PLOTTED} in flight]({PICTURE})\n", _bars(documents)]
    parts += [_latency(latency)] if latency else []
    parts += [_compute(compute)] if compute else []
    parts += [_scenario(document) for document in documents]
    parts += [_servers(documents), _machine(documents)]
    return "\n".join(parts)


def _bars(documents: Sequence[Document]) -> str:
    rows = [
        (_code(v.bar.server), _code(v.bar.over), comparison.DOORS[v.bar.door], f"{v.bar.least:g}", comparison.bar_figures(v))
        for v in judged(documents)
    ]
    head = ("server", "times as fast as", "door", "at least", "measured")
    note = "What is promised of a model of 4 floats, 32 requests in flight, one worker each (median of the rounds, lowest and highest):\n"
    return "\n".join(["## The bars\n", note, _table(head, rows)])


def _compute(measured: Mapping[str, Any]) -> str:
    """`--scenario compute`."""
    note = (
        "Models that keep all cores busy by themselves, one row a request. What the server gives is held against what its session gives in process\n"
        "with the threads, callers and batch that give most there, asked in the same rounds; the server, its load generator and the model share\n"
        "the cores. Below each model: whether the server holds an objective that it is told, beside fixed batch sizes, under an open loop of 0.7 and of\n"
        f"1.4 times what it can do. `python -m bench --scenario compute`, {measured['rounds']} interleaved rounds of {measured['seconds']} s, {measured['at'][:10]}.\n"
    )
    blocks = [f"```text\n{block}\n```\n" for block in measured["text"]]
    return "\n".join(["## Models whose compute rules\n", note, *blocks])


def _latency(measured: Mapping[str, Any]) -> str:
    """`--scenario latency`."""
    rows = [
        (each["name"], f"{each['value']:.1f} {each['unit']}", f"{each['limit']:g} {each['unit']}" if each["limit"] else "")
        for each in measured["budgets"]
    ]
    note = (
        "A client with one request in flight, the null runtime behind aweigh, and beside it a server on the same loop that reads and writes as\n"
        "many bytes and does nothing else (`echo`). What is the difference at p50 is what aweigh adds on the server's side of the socket.\n"
        f"Measured {measured['at'][:10]}.\n"
    )
    return "\n".join(["## One request at a time\n", note, _table(("what", "measured", "at most"), rows)])


def _scenario(document: Document) -> str:
    parts = [
        f"## {document.scenario}\n",
        f"{document.title}. {document.rounds} interleaved rounds of {document.seconds} s, {document.at[:10]}.\n",
    ]
    if not document.whole:
        parts.append("Only a part of the servers or loads was measured.\n")
    limit = next((cell for cell in document.cells if cell.door == "session" and cell.samples), None)
    if limit:
        parts.append(f"The bare limit, the session in process on one thread: {limit.per_second:,.0f} calls/s, p50 {limit.p50_ms:.3g} ms.\n")
    for door in dict.fromkeys(door for door, _ in comparison.loads(document) if door != "session"):
        parts += [f"### {document.scenario}: {comparison.DOORS[door]}\n", _door(document, door)]
    return "\n".join(parts)


def _door(document: Document, door: str) -> str:
    rows, silent = [], {}
    for concurrency in [c for d, c in comparison.loads(document) if d == door]:
        for cell in comparison.cells(document, door, concurrency):
            if cell.silence:
                silent.setdefault((cell.server, comparison.first_line(cell.silence)), []).append(concurrency)
                continue
            found = comparison.times(document, cell)
            rows.append(
                (
                    str(concurrency),
                    _code(cell.server),
                    f"{cell.per_second:,.0f}",
                    f"{cell.p50_ms:.2f}",
                    f"{cell.p99_ms:.2f}",
                    f"{cell.cpu_ms_per_thousand:,.1f}",
                    f"{cell.memory_mb:,.0f}",
                    f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})" if found else "",
                )
            )
    head = ("in flight", "server", "requests/s", "p50 ms", "p99 ms", "CPU ms per 1,000", "MB", "aweigh is so many times as fast")
    lines = [_table(head, rows)] if rows else []
    lines += [f"- {_code(name)} with {_list(at)} in flight: {why}" for (name, why), at in silent.items()]
    return "\n".join(lines) + "\n"


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in dict.fromkeys(numbers))


def _servers(documents: Sequence[Document]) -> str:
    known = {name: server for document in documents for name, server in document.servers.items()}
    rows = [
        (_code(name), server.about, ", ".join(f"{package} {version}" for package, version in server.versions.items()) or "this checkout")
        for name, server in known.items()
    ]
    quotes = {(setting["name"], setting["url"], setting["quote"]): name for name, server in known.items() for setting in server.settings}
    quoted = [f'- {_code(name)}, {setting}: "{quote}" ({url})' for (setting, url, quote), name in quotes.items()]
    return "\n".join(["## The servers and their settings\n", _table(("server", "settings", "versions"), rows), *quoted, ""])


def _machine(documents: Sequence[Document]) -> str:
    machine = documents[-1].machine if documents else {}
    lines = ["## Machine, versions, bias\n"]
    for name, value in machine.items():
        if name == "bias":
            continue
        shown = ", ".join(f"{key} {what}" for key, what in value.items()) if isinstance(value, dict) else value
        lines.append(f"- {name.replace('_', ' ')}: {shown}")
    lines.append("")
    lines += [f"- {bias}" for bias in machine.get("bias", ())]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`"

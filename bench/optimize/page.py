"""Writes docs/optimisation.md and its picture from what `make bench-optimize` measured. What a person wrote on the page stands between two marks and is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from bench import environments
from bench.optimize.results import BASE, Document, Line
from bench.optimize.tools import PEERS
from bench.page import DOCS

PAGE: Final = "optimisation.md"
PICTURE: Final = "optimisation.svg"
BEGIN: Final = "<!-- by hand: begin -->"
END: Final = "<!-- by hand: end -->"
_OPENING: Final = f"""\
# How much faster, at what price

What [`aweigh optimize`](guides/optimize.md) makes of several kinds of model, beside tools that do a part of it, in one run on one machine. Ratios are against the package's own
variant of ONNX Runtime, float32, with one thread: each form of the model runs in a process of its own, and all take turns of a few milliseconds. In brackets the interval at 95% of
the ratios of neighbouring turns. Whether a form holds the budget is judged once more at the end, on rows that neither a search nor a tool has seen.

Written by `make bench-optimize` (`SCENARIO=mlp`: one alone); a search, a training and two other tools for each model, about a quarter of an hour.

![times as fast as ONNX Runtime, float32]({PICTURE})
"""
_PROMISED: Final = """\
Held against what the engine takes of the forms in the package, for single rows or for batches, and reached by nothing that misses its budget; "never slower" by the whole interval.
"""
BIAS: Final = (
    "All models are small, and all rows but MiniLM's are the 1,797 digits of scikit-learn: 300 rows tell 0.5 points of accuracy from 2, no finer.",
    "aweigh's search times what it tries and so knows this machine; NNCF does not time at all, and Olive times in its own loop, while searching.",
    "NNCF's guides run its results by OpenVINO, Olive's by ONNX Runtime: so they are here. Olive and NNCF have no training here, so `aweigh --train` stands apart from them.",
    "aweigh's second search, with training code, finds what the first one tried in its journal: its seconds are those that training adds.",
    "The seconds of a tool include the start of its process and its imports. Environments were there already.",
)
WIDTH: Final = 860
_LABEL: Final = 330
_FIGURE: Final = 120
_ROW: Final = 18
_COLOURS: Final = {BASE: "#9aa5b1", "aweigh": "#0b6e4f"}
_OTHERS: Final = "#5b8db8"
_OUTSIDE: Final = "#c98a8a"


def write(documents: Sequence[Document], docs: Path = DOCS) -> list[Path]:
    page, picture = docs / PAGE, docs / PICTURE
    page.write_text(text(documents, _by_hand(page)))
    picture.write_text(drawn(documents))
    return [page, picture]


def _by_hand(page: Path) -> str:
    """What stands between the marks of the page that is there."""
    found = page.read_text() if page.exists() else ""
    return found.partition(BEGIN)[2].partition(END)[0].strip() if END in found else ""


def text(documents: Sequence[Document], by_hand: str = "") -> str:
    kept = f"{BEGIN}\n\n{by_hand}\n\n{END}\n" if by_hand else f"{BEGIN}\n{END}\n"
    return "\n".join([_OPENING, kept, _bars(documents), *(scenario(each) for each in documents), _settings(), _machine(documents)])


def _bars(documents: Sequence[Document]) -> str:
    rows = [
        (each.title, bar.what, f"{bar.least:g}", f"{bar.measured:.2f} ({bar.low:.2f} to {bar.high:.2f})" if bar.measured else "", "yes" if bar.met else "no")
        for each in documents
        for bar in each.bars
    ]  # fmt: skip
    return "\n".join(["## What is promised\n", _PROMISED, _table(("model", "what", "at least", "times as fast", "reached"), rows)])


def scenario(document: Document) -> str:
    """Its section of the page."""
    batches = [speed.rows for speed in document.lines[0].speeds]
    figures = list(dict.fromkeys(name for line in document.lines for name in line.figures))
    head = ("who", "what", *(f"times at {rows}" for rows in batches), *figures, "budget", "MB", "seconds")
    rows = [_row(line, batches, figures) for line in document.lines]
    about = f"Budget: `{document.budget}`. {document.data}. {document.at[:10]}, {document.seconds:.0f} s in all.\n"
    silent = [f"- {line.who}: {line.silence}" for line in document.lines if line.silence]
    told = [
        "<details><summary>What the searches tried, kept and refused</summary>\n",
        *(f"- {each}" for each in document.told),
        "\n</details>\n",
    ]
    return "\n".join([f"## {document.title}\n", about, _table(head, rows), *silent, *told])


def _row(line: Line, batches: Sequence[int], figures: Sequence[str]) -> tuple[str, ...]:
    times = []
    for rows in batches:
        speed = line.times(rows)
        times.append(
            ""
            if speed is None
            else f"{speed.times:.2f} ({speed.low:.2f} to {speed.high:.2f})"
            if line.who != BASE
            else f"1 ({speed.p50_us:,.0f} us)"
            if speed.p50_us
            else "1"
        )
    held = "" if line.who == BASE or line.silence else "held" if line.within else "missed"
    measured = [f"{line.figures[name]:.4f}" if name in line.figures else "" for name in figures]
    size = f"{line.size_bytes / 1e6:.2f}" if line.size_bytes else ""
    return (line.who, line.what, *times, *measured, held, size, f"{line.seconds:.0f}" if line.seconds else "")


def _settings() -> str:
    lines = ["## The other tools and their settings\n"]
    for name in ("olive", "nncf"):
        lines += [f'- `{name}`, {each["name"]}: "{each["quote"]}" ({each["url"]})' for each in environments.quotes(name, PEERS)]
    return "\n".join(lines) + "\n"


def _machine(documents: Sequence[Document]) -> str:
    machine: Any = documents[-1].machine if documents else {}
    lines = ["## Machine, versions, bias\n"]
    for name in ("processor", "features", "cores", "memory_gb", "system", "kernel", "python", "load_before"):
        value = machine.get(name, "")
        lines.append(f"- {name.replace('_', ' ')}: {', '.join(str(each) for each in value) if isinstance(value, list) else value}")
    versions = {name: version for document in documents for name, version in document.versions.items()}
    lines += [f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}", ""]
    return "\n".join([*lines, *(f"- {each}" for each in BIAS), ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def drawn(documents: Sequence[Document]) -> str:
    """Bars, one panel a model and batch; what is outside the budget is red."""
    parts: list[str] = []
    top = 10
    for document in documents:
        for rows in [speed.rows for speed in document.lines[0].speeds]:
            shown = [(line, speed.times) for line in document.lines if (speed := line.times(rows)) is not None]
            parts += _panel(f"{document.title}: batches of {rows}, times as fast", shown, top)
            top += 44 + _ROW * len(shown)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>', *parts, "</svg>", ""])


def _panel(title: str, shown: Sequence[tuple[Line, float]], top: int) -> list[str]:
    highest = max(times for _, times in shown)
    parts = [f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    for at, (line, times) in enumerate(shown):
        y = top + 28 + _ROW * at
        width = max(1.0, (WIDTH - _LABEL - _FIGURE) * times / highest)
        colour = _COLOURS.get(line.who.partition(" ")[0], _OTHERS) if line.within else _OUTSIDE
        name = line.who if line.who == BASE or not line.what.startswith("`") else f"{line.who}: {line.what.split('`')[1]}"
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(name[:52])}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_ROW - 5}" fill="{colour}"/>',
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 11}">{times:.2f}{"" if line.within else " outside"}</text>',
        ]
    return parts

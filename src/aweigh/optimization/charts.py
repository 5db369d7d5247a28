"""The Pareto chart of a search, latency against what the budget measures against size: as lines of text, as SVG, and on one page of HTML."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from aweigh.core.pages import Page
from aweigh.optimization.report import Optimization, Result
from aweigh.optimization.timing import Timed

COLOURS: Final = {"own": "#333", "kept": "#1b7f3b", "beaten": "#3b7dd8", "slower": "#999999", "outside": "#b3261e", "failed": "#b3261e"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT, _TOP = 860, 420, 80, 50, 200, 20
_LEAST, _MOST = 4.0, 26.0
_LINES, _COLUMNS = 12, 72
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def optimization_page(report: Optimization) -> str:
    """The page as text."""
    page = Page(f"Optimising {report.model}")
    page.text(f"For {report.goal}, keeping '{report.keep}', on {report.rows} rows of {report.data}; {report.threads} threads a call.")
    page.text(f"{report.machine.processor}, {report.machine.cores} cores. {report.seconds:.0f} s.", small=True)
    for line in report.summary:
        page.text(line)
    page.heading("Latency, likeness and size")
    page.plot(pareto_svg(report))
    page.text("Each circle is a variant, its area the size on disk. Down and left is better.", small=True)
    page.heading("All of them")
    page.table(COLUMNS, [row_of(result) for result in report.results])
    return page.html()


COLUMNS: Final = ("variant", "outcome", "us, 1 row", "times", "us, batch", "times", "metric", "size", "memory", "load ms", "why")


def row_of(result: Result) -> tuple[object, ...]:
    """A line of the table of all candidates."""
    timed = result.timed
    metric = ", ".join(f"{each.metric} {each.told}" for each in (result.unseen or result.judged))
    if timed is None:
        return (result.name, result.outcome, None, None, None, None, metric, None, None, None, result.why)
    first, last = timed.speeds[0], timed.speeds[-1]
    return (
        result.name, result.outcome, first.p50_us, _times(first.times, first.low, first.high), last.p50_us, _times(last.times, last.low, last.high),
        metric, f"{timed.size_bytes / 1e6:.3g} MB", f"{timed.memory_bytes / 1e6:.3g} MB", timed.load_ms, result.why,
    )  # fmt: skip


def _times(middle: float, low: float, high: float) -> str:
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def pareto_svg(report: Optimization) -> str:
    """Latency of one row (logarithmic) against what is lost of the budget's first metric; area as size."""
    points = [(result, result.timed, lost_of(result)) for result in report.results if result.timed is not None]
    if not points:
        return ""
    lows = [timed.speeds[0].p50_us for _, timed, _ in points]
    most_lost = max([0.01, *(lost for _, _, lost in points)])
    largest = max(timed.size_bytes for _, timed, _ in points) or 1
    low, high = math.log(min(lows) * 0.9), math.log(max(lows) * 1.1)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" font-family="sans-serif" font-size="12">', _axes(report)]
    for result, timed, lost in sorted(points, key=lambda point: -point[1].size_bytes):
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log(timed.speeds[0].p50_us) - low) / max(high - low, 1e-9)
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - lost / most_lost)
        radius = _LEAST + (_MOST - _LEAST) * math.sqrt(timed.size_bytes / largest)
        title = f"{result.name}: {timed.speeds[0].p50_us:.4g} us, {lost:.3g} lost, {timed.size_bytes} bytes"
        colour = COLOURS.get(result.outcome, "#999")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.5" stroke="{colour}"><title>{escape(title)}</title></circle>'
        )
        parts.append(f'<text x="{x + radius + 3:.1f}" y="{y + 4:.1f}">{escape(result.name[:34])}</text>')
    return "".join([*parts, "</svg>"])


def _axes(report: Optimization) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    metric = next(iter(report.metrics), "answers")
    return (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#999"/>'
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">latency of one row (logarithmic)</text>'
        f'<text x="16" y="{(_TOP + bottom) / 2}" text-anchor="middle" transform="rotate(-90 16 {(_TOP + bottom) / 2})">{escape(metric)} lost</text>'
    )


def pareto_lines(report: Optimization) -> list[str]:
    """For a terminal: each variant a letter, those that no other beats in capitals, and what the letters mean."""
    points = [(result, result.timed, lost_of(result)) for result in report.results if result.timed is not None][: len(_LETTERS)]
    if len(points) < 2:
        return []
    front = on_front([result for result, _, _ in points])
    lows = [math.log(timed.speeds[0].p50_us) for _, timed, _ in points]
    low, wide, most = min(lows), max(max(lows) - min(lows), 1e-9), max([1e-9, *(lost for _, _, lost in points)])
    grid = [[" "] * _COLUMNS for _ in range(_LINES)]
    told = []
    for letter, (result, timed, lost), at in zip(_LETTERS, points, lows, strict=False):
        shown = letter.upper() if result.name in front else letter
        row, column = round((_LINES - 1) * (1 - lost / most)), round((_COLUMNS - 1) * (at - low) / wide)
        grid[row][column] = shown
        told.append(f"{shown} {result.name}: {timed.speeds[0].p50_us:.4g} us, {lost:.3g} lost, {timed.size_bytes / 1e6:.3g} MB")
    metric = next(iter(report.metrics), "answers")
    lines = [f"{metric} lost, at most {most:.3g}", *("│" + "".join(line) for line in grid), "└" + "─" * _COLUMNS]
    span = f"{math.exp(low):.4g} us"
    return [*lines, f" {span}{f'{math.exp(low + wide):.4g} us':>{_COLUMNS - len(span)}}", "", *told]


def lost_of(result: Result) -> float:
    """What is lost of the budget's first metric; 0 where nothing is, or it is better than the source's."""
    judged = result.unseen or result.judged
    return judged[0].lost if judged else 0.0


def on_front(results: Sequence[Result]) -> set[str]:
    """Those that no other beats in latency, in what is lost and in size at once."""
    points = [(result.name, _place(result, result.timed)) for result in results if result.timed is not None]
    return {
        name
        for name, place in points
        if not any(other != place and all(a <= b for a, b in zip(other, place, strict=True)) for _, other in points)
    }


def _place(result: Result, timed: Timed) -> tuple[float, float, float]:
    return timed.speeds[0].p50_us, lost_of(result), float(timed.size_bytes)

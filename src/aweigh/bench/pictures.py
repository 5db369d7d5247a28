"""Plots as SVG text, made by hand: latency by percentile and over time for one run, latency against load for a sweep. Needs no library."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from aweigh.bench.result import Measurement

_WIDTH: Final = 860
_PANEL: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 46, 44
COLOURS: Final = {"p50": "#3b7dd8", "p90": "#2a9d8f", "p99": "#d97706", "p99.9": "#c0392b", "max": "#7f8c8d", "errors": "#c0392b"}
_FONT: Final = "font-family='system-ui,sans-serif'"
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a plot shows; the same in every form."""

    title: str
    subtitle: str
    runs: Sequence[Measurement]
    lines: Sequence[str] = ()
    """The report in text, for forms that have room for it."""

    @property
    def shown(self) -> Measurement:
        """The run whose percentiles and timeline are drawn: the last that can be believed, or was answered at all."""
        answered = [run for run in self.runs if run.latency.count] or self.runs
        return next((run for run in reversed(answered) if run.valid), answered[-1])

    @property
    def sweep(self) -> list[Measurement]:
        """The runs to draw against each other, in the order of their loads; none where there is only one."""
        answered = [run for run in self.runs if run.latency.count]
        return answered if len(answered) > 1 else []


def write_svg(path: Path, picture: Picture) -> None:
    """The picture alone. Raises OSError."""
    path.write_text(_svg(picture), encoding="utf-8")


def write_html(path: Path, picture: Picture) -> None:
    """The picture in a page, with the report's text below. Raises OSError."""
    text = (
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{escape(picture.title)}</title>\n"
        "<body style='font-family:system-ui,sans-serif;max-width:920px;margin:2em auto'>\n"
        f"{_svg(picture)}<pre style='white-space:pre-wrap'>{escape(chr(10).join(picture.lines))}</pre>\n</body></html>\n"
    )
    path.write_text(text, encoding="utf-8")


def _svg(picture: Picture) -> str:
    panels: list[Callable[[int], str]] = [lambda top: _percentiles(top, picture.shown), lambda top: _timeline(top, picture.shown)]
    if picture.sweep:
        panels.insert(0, lambda top: _sweep(top, picture.sweep))
    height = 60 + _PANEL * len(panels) + 20
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' height='{height}' role='img'>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        _words(_LEFT, 26, picture.title, size=17, weight="bold"),
        _words(_LEFT, 46, picture.subtitle, size=12, colour="#555"),
        *(panel(60 + at * _PANEL) for at, panel in enumerate(panels)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Axes:
    """One panel: where a value stands, and the frame with its ticks."""

    def __init__(self, top: int, heading: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._top = top + _TOP
        self._bottom = top + _PANEL - _BOTTOM
        self._heading = heading
        self._x, self._y = x, (y[0], max(y[1], y[0] * 1.01))

    def at(self, x: float, y: float) -> Point:
        """Linear across, logarithmic upwards."""
        low, high = self._x
        across = (x - low) / (high - low) if high > low else 0.5
        up = (math.log(max(y, self._y[0])) - math.log(self._y[0])) / (math.log(self._y[1]) - math.log(self._y[0]))
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), self._bottom - up * (self._bottom - self._top)

    def frame(self, ticks: Sequence[tuple[float, str]], label: str) -> str:
        parts = [_words(_LEFT, self._top - 12, self._heading, size=13, weight="bold")]
        for value in _decades(*self._y):
            _, y = self.at(self._x[0], value)
            parts.append(f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e5e5e5'/>")
            parts.append(_words(_LEFT - 8, y + 4, f"{value:g} ms", anchor="end"))
        for value, text in ticks:
            x, _ = self.at(value, self._y[0])
            parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{self._bottom}' y2='{self._bottom + 5}' stroke='#888'/>")
            parts.append(_words(x, self._bottom + 18, text, anchor="middle"))
        parts.append(_words(_WIDTH / 2, self._bottom + 36, label, anchor="middle", colour="#555"))
        parts.append(f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{self._bottom}' y2='{self._bottom}' stroke='#888'/>")
        return "\n".join(parts)

    def line(self, name: str, points: Sequence[Point], place: int) -> str:
        """A line with its name above the panel; `place` keeps names apart, -1 leaves it out."""
        colour = COLOURS[name]
        spots = [self.at(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        legend = "" if place < 0 else _words(_WIDTH - _RIGHT - 60 * place, self._top - 12, name, anchor="end", colour=colour, weight="bold")
        dots = "".join(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.2' fill='{colour}'/>" for x, y in spots)
        return f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>{dots}{legend}"


def _sweep(top: int, ordered: Sequence[Measurement]) -> str:
    names = ("p50", "p90", "p99", "p99.9")
    values = {name: [(run.answered_per_s, run.latency.percentiles_ms[name] or 0.0) for run in ordered] for name in names}
    flat = [value for points in values.values() for _, value in points]
    axes = _Axes(top, "Latency against throughput", (0, max(run.answered_per_s for run in ordered) * 1.02), (min(flat), max(flat)))
    ticks = [(run.answered_per_s, f"{run.answered_per_s:,.0f}") for run in ordered]
    lines = [axes.line(name, points, place) for place, (name, points) in enumerate(reversed(values.items()))]
    return "\n".join([axes.frame(ticks, "answers per second"), *lines])


def _percentiles(top: int, run: Measurement) -> str:
    if not run.curve_ms:
        return ""
    points = [(nines(percent, run.latency.count), value) for percent, value in run.curve_ms]
    axes = _Axes(top, f"Latency by percentile, {load_name(run)}", (0, points[-1][0]), (points[0][1], points[-1][1]))
    shown = (0, 50, 90, 99, 99.9, 99.99, 99.999)
    ticks = [(nines(percent, run.latency.count), f"{percent:g}%") for percent in shown if nines(percent, run.latency.count) < points[-1][0]]
    return "\n".join(
        [axes.frame([*ticks, (points[-1][0], "max")], "share of requests (each step is ten times rarer)"), axes.line("p50", points, -1)]
    )


def nines(percent: float, count: int) -> float:
    """0 at 0%, 1 at 90%, 2 at 99%: what is rare gets as much room as what is common."""
    return -math.log10(max(1 - percent / 100, 0.5 / max(count, 1)))


def _timeline(top: int, run: Measurement) -> str:
    parts = [part for part in run.timeline if part.p50_ms is not None and part.p99_ms is not None and part.max_ms is not None]
    if not parts:
        return ""
    values = {
        "p50": [part.p50_ms or 0 for part in parts],
        "p99": [part.p99_ms or 0 for part in parts],
        "max": [part.max_ms or 0 for part in parts],
    }
    times = [part.at_s for part in parts]
    end = run.load.duration_s
    axes = _Axes(top, "Latency over time, by when a request was due", (0, end), (min(values["p50"]), max(values["max"])))
    ticks = [(end * at / 5, f"{end * at / 5:g} s") for at in range(6)]
    lines = [axes.line(name, list(zip(times, line, strict=True)), place) for place, (name, line) in enumerate(reversed(values.items()))]
    errors = [
        f"<circle cx='{axes.at(part.at_s, 1)[0]:.1f}' cy='{top + _TOP + 4}' r='3' fill='{COLOURS['errors']}'><title>{part.errors} errors</title></circle>"
        for part in run.timeline
        if part.errors
    ]
    return "\n".join(
        [axes.frame(ticks, "time since the warm-up (red dots: errors)" if errors else "time since the warm-up"), *lines, *errors]
    )


def load_name(run: Measurement) -> str:
    """What the load was, for a heading."""
    return f"{run.load.rate:,g} requests/s" if run.load.is_open else f"{run.load.concurrency} users"


def _decades(low: float, high: float) -> list[float]:
    """Round values between two, 1 2 5 10 20 50 and so on, at most some ten."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    found = [value for power in range(first, last + 1) for step in steps if low <= (value := round(step * 10.0**power, 12)) <= high]
    return found if len(found) > 1 else [float(f"{value:.3g}") for value in (low, high)]


def _words(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = "#222", weight: str = "normal") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' {_FONT} text-anchor='{anchor}' fill='{colour}' font-weight='{weight}'>{escape(text)}</text>"

"""A page of HTML with tables and plots as SVG text, made by hand: one file that needs nothing beside it. For the reports of stages.

Everything that is put on it is escaped: names and values come from packages and data.
"""

import dataclasses
import math
from collections.abc import Sequence
from html import escape
from typing import Final

_STYLE: Final = (
    "body{font-family:system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0 1.4em}td,th{padding:.25em .8em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b3261e;font-weight:600}.good{color:#1b7f3b}"
    "p.small{color:#555;font-size:.9em}"
)
_WIDTH, _ROW, _NAMES, _VALUES = 860, 24, 260, 150
_SIDE: Final = 340
_BLUE, _RED, _GREY = "#3b7dd8", "#c0392b", "#999"
_MAX_NAME: Final = 38
_VERDICTS: Final = {"passed": "good", "proven": "good", "FAILED": "bad", "worse": "bad", "no": "bad"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a plot, with an interval where there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    marked: bool = False
    """Drawn in red."""


class Page:
    """Parts of a page, in the order they are added."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str, *, small: bool = False) -> None:
        self._parts.append(f"<p{' class=small' if small else ''}>{escape(text)}</p>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Numbers stand right; verdicts are coloured."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def plot(self, svg: str) -> None:
        self._parts.append(svg)

    def html(self) -> str:
        """The whole page."""
        title = escape(self._title)
        return (
            f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>\n{chr(10).join(self._parts)}\n</body></html>\n"
        )


def number_text(value: float | None) -> str:
    """A figure as tables show it."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval: `0.93 [0.9, 0.95]`."""
    return number_text(value) if low is None or high is None else f"{number_text(value)} [{number_text(low)}, {number_text(high)}]"


def bars_svg(title: str, bars: Sequence[Bar], *, logarithmic: bool = False) -> str:
    """Horizontal bars from zero, or from the decade below the smallest on a logarithmic scale; intervals as lines across their ends."""
    known = [bar for bar in bars if math.isfinite(bar.value)]
    reach = [abs(item) for bar in known for item in (bar.value, bar.high or 0.0, bar.low or 0.0) if item]
    top = max(reach, default=1.0)
    floor = 10 ** math.floor(math.log10(min(reach, default=1.0)) - 0.01) if logarithmic else 0.0

    def at(value: float) -> float:
        share = abs(value) / top
        if logarithmic:
            share = math.log(max(abs(value), floor) / floor) / max(math.log(top / floor), 1e-9)
        return _NAMES + share * (_WIDTH - _NAMES - _VALUES)

    parts = [_words(0, 16, title, bold=True)]
    for place, bar in enumerate(known):
        y, colour = 28 + place * _ROW, _RED if bar.marked else _BLUE
        parts.append(_words(_NAMES - 8, y + 14, _short(bar.name), end=True))
        parts.append(f"<rect x='{_NAMES}' y='{y + 3}' width='{max(1.0, at(bar.value) - _NAMES):.1f}' height='{_ROW - 8}' fill='{colour}'/>")
        if bar.low is not None and bar.high is not None:
            parts.append(_line(at(bar.low), y + 11, at(bar.high), y + 11, "#222"))
            parts += [_line(at(end), y + 6, at(end), y + 16, "#222") for end in (bar.low, bar.high)]
        parts.append(_words(_WIDTH - _VALUES + 10, y + 14, interval_text(bar.value, bar.low, bar.high)))
    return _svg(_WIDTH, 36 + len(known) * _ROW, parts)


def square_svg(title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, across: str, up: str) -> str:
    """Points between 0 and 1 on both axes, one line a name, beside the diagonal."""
    left, top, side = 52, 30, _SIDE - 90
    colours = (_BLUE, _RED, "#2a9d8f", "#d97706", "#7d3c98", "#555")

    def spot(point: tuple[float, float]) -> tuple[float, float]:
        return left + point[0] * side, top + (1 - point[1]) * side

    parts = [_words(0, 16, title, bold=True), f"<rect x='{left}' y='{top}' width='{side}' height='{side}' fill='none' stroke='{_GREY}'/>"]
    parts.append(_line(*spot((0, 0)), *spot((1, 1)), "#ccc"))
    for share in (0.0, 0.5, 1.0):
        parts.append(_words(spot((share, 0))[0], top + side + 16, f"{share:g}", middle=True))
        parts.append(_words(left - 6, spot((0, share))[1] + 4, f"{share:g}", end=True))
    parts.append(_words(left + side / 2, top + side + 34, across, middle=True))
    parts.append(_words(left + side + 12, top + 12, up))
    for at, (name, points) in enumerate(lines):
        colour, spots = colours[at % len(colours)], [spot(point) for point in points]
        parts.append(
            f"<polyline points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in spots)}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in spots]
        parts.append(_words(left + side + 12, top + 36 + at * 18, _short(name), colour=colour))
    return _svg(_WIDTH, _SIDE, parts)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"font-family='system-ui,sans-serif'>{''.join(parts)}</svg>"
    )


def _words(x: float, y: float, text: str, *, bold: bool = False, end: bool = False, middle: bool = False, colour: str = "#222") -> str:
    anchor = "end" if end else "middle" if middle else "start"
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' font-size='12' text-anchor='{anchor}' fill='{colour}'{weight}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}'/>"


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td class=number>{number_text(value)}</td>"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"<td class=number>{value}</td>"
    text = "-" if value is None else str(value)
    mark = f" class={_VERDICTS[text]}" if text in _VERDICTS else ""
    return f"<td{mark}>{escape(text)}</td>"

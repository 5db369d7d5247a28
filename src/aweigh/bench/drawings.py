"""Plots in text, for a terminal: bars of latency by percentile, and a line of little bars over time."""

import math
from collections.abc import Sequence
from typing import Final

from aweigh.bench.result import Measurement

_WIDTH: Final = 48
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
_SHOWN: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)


def drawing(run: Measurement) -> list[str]:
    """The lines to print; none where nothing was answered."""
    points = [(percent, value) for percent, value in run.curve_ms if percent in _SHOWN]
    if not points:
        return []
    low, high = math.log(points[0][1] / 2), math.log(points[-1][1])
    lines = ["latency by percentile (logarithmic)"]
    for percent, value in points:
        name = "max" if percent == 100 else f"p{percent:g}"
        lines.append(f"  {name:>6} {value:>10.3f} ms {_bar((math.log(value) - low) / max(high - low, 1e-9))}")
    return [*lines, *_over_time(run)]


def _bar(share: float) -> str:
    eighths = max(1, round(share * _WIDTH * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _over_time(run: Measurement) -> list[str]:
    worst = [part.max_ms for part in run.timeline]
    known = [value for value in worst if value]
    if not known:
        return []
    scale = max(known)
    marks = "".join(" " if value is None else _HEIGHTS[_height(value, min(known), scale)] for value in worst)
    errors = "".join("×" if part.errors else " " for part in run.timeline)
    lines = [
        f"slowest answer over {run.load.duration_s:g} s, by when it was due ({_short(min(known))} to {_short(scale)} ms)",
        f"  {marks}",
    ]
    return [*lines, f"  {errors}  × errors"] if errors.strip() else lines


def _short(value_ms: float) -> str:
    return f"{value_ms:.3g}" if value_ms < 100 else f"{value_ms:,.0f}"


def _height(value: float, low: float, high: float) -> int:
    return round((math.log(value) - math.log(low)) / max(math.log(high) - math.log(low), 1e-9) * (len(_HEIGHTS) - 1))


def summary(runs: Sequence[Measurement]) -> list[str]:
    """One line a run, for pages that have no table of their own."""
    return [
        f"{load_text(run):>22}: {run.answered_per_s:,.0f} answers/s, "
        + ", ".join(f"{name} {value:.3g} ms" for name, value in run.latency.percentiles_ms.items() if value is not None)
        + f", errors {run.error_share:.3%}"
        + ("" if run.valid else ", NOT TO BE BELIEVED: see its problems")
        for run in runs
    ]


def load_text(run: Measurement) -> str:
    """What the load was, in a cell."""
    if run.load.is_open:
        return f"{run.load.rate:,g}/s {run.load.arrival}"
    return f"{run.load.concurrency} user{'s' if run.load.concurrency > 1 else ''}"

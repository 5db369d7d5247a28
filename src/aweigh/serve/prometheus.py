"""Prometheus' text format: the head of a family, the lines of a histogram."""

from collections.abc import Iterator

from aweigh.engine.statistics import BOUNDS_S, Histogram


def family(name: str, kind: str, text: str) -> str:
    """The two lines before a family's samples."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def histogram_lines(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    """Cumulative buckets in seconds, then sum and count."""
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {total}\n'
    yield f"{name}_sum{{{labels}}} {histogram.sum_s:.6f}\n{name}_count{{{labels}}} {total}\n"

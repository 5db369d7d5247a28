"""Plots as PNG, by matplotlib: the same panels as the SVG. Loaded through the plug-in table (kind `plot`)."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from aweigh.bench.pictures import COLOURS, Picture, load_name, nines
from aweigh.bench.result import Measurement


def write_png(path: Path, picture: Picture) -> None:
    """The picture alone. Raises OSError."""
    sweep = picture.sweep
    rows = 3 if sweep else 2
    figure = Figure(figsize=(9, 1 + 3.2 * rows), layout="constrained")
    figure.suptitle(f"{picture.title}\n{picture.subtitle}", fontsize=9)
    axes = figure.subplots(rows, 1)
    if sweep:
        _sweep(axes[0], sweep)
    _percentiles(axes[-2], picture.shown)
    _timeline(axes[-1], picture.shown)
    for panel in axes:
        if picture.shown.latency.count:
            panel.set_yscale("log")
        panel.set_ylabel("ms")
        panel.grid(visible=True, alpha=0.3)
    figure.savefig(path, format="png", dpi=120)


def _sweep(axes: Any, runs: list[Measurement]) -> None:
    for name in ("p50", "p90", "p99", "p99.9"):
        axes.plot(
            [run.answered_per_s for run in runs], [run.latency.percentiles_ms[name] for run in runs], "o-", color=COLOURS[name], label=name
        )
    axes.set(title="Latency against throughput", xlabel="answers per second")
    axes.legend()


def _percentiles(axes: Any, run: Measurement) -> None:
    count = run.latency.count
    axes.plot([nines(percent, count) for percent, _ in run.curve_ms], [value for _, value in run.curve_ms], "o-", color=COLOURS["p50"])
    shown = [percent for percent in (0, 50, 90, 99, 99.9, 99.99, 99.999) if nines(percent, count) < nines(100, count)]
    axes.set_xticks([nines(percent, count) for percent in shown], [f"{percent:g}%" for percent in shown])
    axes.set(title=f"Latency by percentile, {load_name(run)}", xlabel="share of requests")


def _timeline(axes: Any, run: Measurement) -> None:
    parts = [part for part in run.timeline if part.p99_ms is not None]
    times = [part.at_s for part in parts]
    for name, values in (
        ("p50", [part.p50_ms for part in parts]),
        ("p99", [part.p99_ms for part in parts]),
        ("max", [part.max_ms for part in parts]),
    ):
        axes.plot(times, values, color=COLOURS[name], label=name)
    for part in run.timeline:
        if part.errors:
            axes.axvline(part.at_s, color=COLOURS["errors"], alpha=0.2)
    axes.set(title="Latency over time, by when a request was due (red: errors)", xlabel="seconds since the warm-up")
    if parts:
        axes.legend()

"""The Pareto chart as PNG, by matplotlib. Loaded through the plug-in table (kind `chart`)."""

from pathlib import Path

from matplotlib.figure import Figure

from aweigh.optimization.charts import COLOURS, lost_of
from aweigh.optimization.report import Optimization

_LEAST, _MOST = 20.0, 900.0


def write_png(path: Path, report: Optimization) -> None:
    """Latency of one row against what is lost; area as size. Raises OSError."""
    points = [(result, result.timed, lost_of(result)) for result in report.results if result.timed is not None]
    largest = max([1, *(timed.size_bytes for _, timed, _ in points)])
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for result, timed, lost in points:
        area = _LEAST + (_MOST - _LEAST) * timed.size_bytes / largest
        axes.scatter(timed.speeds[0].p50_us, lost, s=area, color=COLOURS.get(result.outcome, "#999999"), alpha=0.5)
        axes.annotate(result.name[:40], (timed.speeds[0].p50_us, lost), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set(xscale="log", xlabel="microseconds of one row", ylabel=f"{next(iter(report.metrics), 'answers')} lost")
    axes.grid(visible=True, alpha=0.3)
    figure.suptitle(
        f"{report.model}, keeping '{report.keep}': area is size; {report.machine.processor}, {report.threads} threads", fontsize=9
    )
    figure.savefig(path, format="png", dpi=120)

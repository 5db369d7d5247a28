"""`aweigh profile`: where a model's time and memory go."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, count_text, size_text

if TYPE_CHECKING:
    from aweigh.app.profile import ModelProfile

_SHOWN = 15


@click.command("profile")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]|FILE")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--variant", metavar="NAME", default="", help="This variant, not the one that would answer here.")
@click.option("--rows", metavar="N", type=int, default=1, show_default=True, help="Rows of each call.")
@click.option(
    "--time", "seconds", metavar="SECONDS", type=click.FloatRange(0.01, 600), default=2.0, show_default=True, help="How long to call it."
)
@click.option("--trace", metavar="FILE", default="", help="Also write the profiler's events, for Perfetto or chrome://tracing.")
@common_options("session_threads")
def command(run: Run, model: str, data: str | None, variant: str, rows: int, seconds: float, trace: str) -> None:
    """Show where a model's time and memory go, operator by operator, and what to try.

    Each operator's time stands beside the least that this machine could take for its arithmetic and its bytes (the roofline, measured first). Without
    DATA, rows of the golden set are asked.

    \b
    Examples:
      aweigh profile fraud
      aweigh profile digits:2 --rows 64 --trace digits.json
    """
    from aweigh.app.profile import profile_model

    with run.output.progress() as progress:
        report = profile_model(run.settings, model, data, variant=variant, rows=rows, seconds=seconds, trace=trace, progress=progress)
    run.output.show(report, lambda: _draw(run.output, report, trace))


def _draw(out: Output, report: "ModelProfile", trace: str) -> None:
    found = report.profile
    out.text(
        f"{report.model}, variant {found.variant}: {count_text(found.rows, 'row')} of {report.data}, {count_text(found.threads, 'thread')}, {report.machine}"
    )
    out.text(
        f"a call takes {found.call_us:.4g} us, {found.outside_us:.3g} us of it outside operators; {found.calls} calls",
        f"weights {size_text(found.weight_bytes)}, largest output {size_text(found.largest_output_bytes)}",
        f"this machine: {found.roofline.operations_s / 1e9:.0f} billion float32 operations and {found.roofline.bytes_s / 1e9:.1f} GB a second of memory at most",
        "",
    )
    kinds = [
        (kind.kind, kind.count, kind.time_us, f"{kind.share:.1%}", size_text(kind.weight_bytes), size_text(kind.output_bytes))
        for kind in found.kinds
    ]
    out.table(("kind", "operators", "us", "share", "weights", "outputs"), kinds)
    dearest = sorted(found.operators, key=lambda one: -one.time_us)[:_SHOWN]
    out.text("", f"the dearest of {len(found.operators)} operators" if len(found.operators) > _SHOWN else "operators, dearest first")
    rows = [
        (
            one.name,
            one.kind,
            one.time_us,
            f"{one.share:.1%}",
            one.least_us or None,
            _rate(one.operations, one.time_us),
            size_text(one.output_bytes),
        )
        for one in dearest
    ]
    out.table(("operator", "kind", "us", "share", "least us", "billion operations/s", "output"), rows)
    if found.hints:
        out.text("", *(f"hint: {hint}" for hint in found.hints))
    if trace:
        out.text(f"written: {trace}")


def _rate(operations: float, time_us: float) -> float | None:
    return operations / time_us / 1000 if operations and time_us else None

"""`aweigh optimize`: faster and smaller variants of a package, within a budget."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, count_text, size_text

if TYPE_CHECKING:
    from aweigh.optimization.report import Optimization, Result


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    from aweigh.core.errors import InvalidSetting

    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 7 * 86400:
        raise InvalidSetting(f"--time {text!r} is no time for a search", hint="write 90s, 10m or 2h")
    return seconds


@click.command("optimize")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]|FILE")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--labels", metavar="FILE|COL", help="The right answers: a file of one column, or a column of DATA.")
@click.option(
    "--keep", metavar="BUDGET", default="", help="What must stay: 'accuracy >= 99%' (of the source's), 'accuracy within 0.5 points', "
    "'rmse <= 102%', 'agreement >= 99%', 'neighbours >= 97.5%', or 'exact'.  [default: half a point of accuracy; 99% agreement without labels]",
)  # fmt: skip
@click.option(
    "--for",
    "goal",
    metavar="GOAL",
    default="cpu",
    show_default=True,
    help="cpu (single rows and batches), latency, throughput, size, edge, mobile, or gpu.",
)
@click.option(
    "--device",
    metavar="PROFILE",
    default="",
    help="What it will run on: 'threads=2,memory=512MiB,features=avx2+fma'.  [default: one thread]",
)
@click.option(
    "--batch", metavar="N", type=click.IntRange(0, 100_000), default=0, help="Rows of a large batch.  [default: by the model's time]"
)
@click.option(
    "--time",
    "seconds",
    metavar="TIME",
    default="10m",
    show_default=True,
    callback=_duration,
    help="Begin nothing new after it: 90s, 10m, 2h.",
)
@click.option("--pass", "passes", metavar="NAME", multiple=True, help="Try this pass alone; may be given again.")
@click.option("--without", metavar="NAME", multiple=True, help="Do not try this pass; may be given again.")
@click.option("--source", metavar="FILE", default="", help="The file that the package came from, for passes that begin there.")
@click.option("--class", "factory", metavar="MODULE:FACTORY", default="", help="What makes the module that weights belong to.")
@click.option("--train", metavar="MODULE:FUNCTION", default="", help="Your own training code, for passes that train.")
@click.option(
    "--student", metavar="MODULE:FACTORY", default="", help="What makes a smaller model of yours, which is to learn from the source."
)
@click.option(
    "--plot", metavar="FILE|-", default="", help="The Pareto chart: a page (.html), the chart alone (.png), or '-' for the terminal."
)
@click.option("--dry-run", is_flag=True, help="Search, and publish nothing.")
@common_options("no_isolate")
def command(run: Run, model: str, data: str | None, **given: object) -> None:
    """Make a package faster and smaller within a budget, with proof.

    Every pass that applies is tried, held against DATA that it did not see, and timed in turns with the package's own variant. What keeps the budget
    and is faster is published as the next version, beside the variants that were there; the server then picks the quickest. A later call with the same data
    goes on where an earlier one ended. Without DATA, rows of the golden set are used, which proves little.

    \b
    Examples:
      aweigh optimize fraud holdout.csv --labels label --keep "accuracy >= 99%"
      aweigh optimize digits test.npz --keep "agreement >= 99%" --for latency --time 2m --plot digits.html
    """
    from aweigh.app.optimize import OptimizeOptions, check_plot, optimize_package, write_plot

    plot, dry_run = str(given.pop("plot")), bool(given.pop("dry_run"))
    if plot not in {"", "-"}:
        check_plot(plot)
    options = OptimizeOptions(publish=not dry_run, **given)  # type: ignore[arg-type]  # each option is one of its fields
    with run.output.progress() as progress:
        report = optimize_package(run.settings, model, data, options=options, progress=progress)
    if plot not in {"", "-"}:
        write_plot(report, plot)
    run.output.show(report.slim(), lambda: _draw(run.output, report, plot))


def _draw(out: Output, report: "Optimization", plot: str) -> None:
    from aweigh.optimization.charts import pareto_lines

    place = f"{report.machine.processor}, {report.machine.cores} cores"
    out.text(
        f"{report.model} for {report.goal}, keeping '{report.keep}': {count_text(report.rows, 'row')} of {report.data}, {count_text(report.threads, 'thread')}, {place}",
        "",
    )
    shown = [result for result in report.results if result.timed is not None]
    out.table(
        ("variant", "outcome", "us, 1 row", "times", f"us, {count_text(_rows(report), 'row')}", "times", "kept of the source", "size"),
        [_line(result) for result in shown],
    )
    others = [result for result in report.results if result.timed is None]
    if others:
        out.text("")
        out.table(("tried", "outcome", "why"), [(result.name, result.outcome, result.why) for result in others])
    out.text("", *report.summary, *(f"note: {note}" for result in report.kept for note in result.notes))
    if report.published:
        out.text("", f"published: {report.published}; 'aweigh show {report.published}' has the evidence")
    if plot:
        out.text("", *(pareto_lines(report) if plot == "-" else [f"written: {plot}"]))


def _rows(report: "Optimization") -> int:
    return next((result.timed.speeds[-1].rows for result in report.results if result.timed is not None), 1)


def _line(result: "Result") -> tuple[object, ...]:
    timed = result.timed
    if timed is None:
        return (result.name, result.outcome, None, None, None, None, "", "")
    first, last = timed.speeds[0], timed.speeds[-1]
    kept = ", ".join(f"{each.metric} {each.beside}" for each in (result.unseen or result.judged)) or "exact"
    times = [f"{speed.times:.2f} ({speed.low:.2f} to {speed.high:.2f})" for speed in (first, last)]
    return (result.name, result.outcome, first.p50_us, times[0], last.p50_us, times[1], kept, size_text(timed.size_bytes))

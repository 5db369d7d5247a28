"""`aweigh diff`: how two packages differ in what they answer."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, count_text

if TYPE_CHECKING:
    from aweigh.evaluation.differences import DiffReport

_SHOWN = 5
_SHOWN_INPUTS = 120


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--max-difference", metavar="NUMBER", type=float, help="Exit with 1 when any number differs by more than this.")
@click.option("--max-flips", metavar="SHARE", help="Exit with 1 when more rows than this get another label, such as 1%.")
@click.option("--html", "page", metavar="FILE", default="", help="Also write the report as one page with plots.")
@common_options()
def command(run: Run, first: str, second: str, data: str | None, max_difference: float | None, max_flips: str | None, page: str) -> int:
    """Compare what two packages answer: numbers, labels, ranks, the rows where they differ most, time.

    A and B are packages (NAME[:VERSION|@ALIAS]) or model files. DATA is csv, jsonl, parquet, npy or npz; without it, both answer the golden sets
    of both. The exit code is 1 only when a bound is given and does not hold.

    \b
    Examples:
      aweigh diff fraud:1 fraud:2
      aweigh diff fraud:1 fraud:2 test.csv --max-flips 1% --max-difference 0.05
    """
    from aweigh.app.diff import diff_models, write_diff_page
    from aweigh.app.evaluate import check_page

    check_page(page)
    with run.output.progress() as progress:
        report = diff_models(
            run.settings, first, second, data, max_difference=max_difference, max_flips=_share(max_flips), progress=progress
        )
    if page:
        write_diff_page(report, page)
    run.output.show(report, lambda: _draw(run.output, report, page))
    return 0 if report.passed else 1


def _share(text: str | None) -> float | None:
    from aweigh.core.rollout import parse_share

    return None if text is None else parse_share(text)


def _draw(out: Output, report: "DiffReport", page: str) -> None:
    out.text(f"{report.first} and {report.second} on {report.data}: {count_text(report.rows, 'row')}", "")
    columns = ("output", "rows beyond tolerance", "largest", "relative", "mean", "p99")
    rows = [(one.name, one.rows_changed, one.max_abs, one.max_rel, one.mean_abs, one.p99) for one in report.outputs]
    out.table(columns, rows)
    ranks = [] if report.rank_changes is None else [f"rows that stand elsewhere: {report.rank_changes}"]
    out.text("", f"labels that flip: {report.flips}", *ranks)
    if report.latency_us:
        out.text("median time of one row: " + ", ".join(f"{name} {us:.3g} us" for name, us in report.latency_us.items()))
    for worst in report.worst[:_SHOWN]:
        out.text(f"  {worst.case}[{worst.row}] {worst.output}: {worst.first} and {worst.second} for {worst.inputs[:_SHOWN_INPUTS]}")
    if report.bounds:
        out.text("")
        bounds = [(one.name, one.limit, one.found, "passed" if one.passed else "FAILED") for one in report.bounds]
        out.table(("bound", "limit", "found", "verdict"), bounds)
    out.text(*(f"note: {note}" for note in report.notes), *([f"written: {page}"] if page else []))

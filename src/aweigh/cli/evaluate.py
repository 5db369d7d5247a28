"""`aweigh evaluate`: how right packages are, on data with known answers."""

from typing import TYPE_CHECKING, Any

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, count_text

if TYPE_CHECKING:
    from aweigh.evaluation.result import Evaluation

_SHOWN_SLICES = 12
_SHOWN_CLASSES = 30


@click.command("evaluate")
@click.argument("models", metavar="NAME...", nargs=-1, required=True)
@click.argument("data", metavar="DATA")
@click.option("--labels", metavar="COL|FILE", required=True, help="The right answers: a column of DATA, or a file of one column.")
@click.option(
    "--slice", "slices", metavar="COL", multiple=True, help="Also judge the rows of each value of this column; may be given several times."
)
@click.option("--group", metavar="COL", default="", help="Of a ranking: the column that says which rows were ranked together.")
@click.option(
    "--require",
    metavar="TEXT",
    multiple=True,
    help="Exit with 1 unless it holds: 'f1 >= 0.9', 'rmse <= 12', 'accuracy.low >= 0.9' (lower end of the interval), 'recall.worst >= 0.8' (worst slice).",
)
@click.option("--by", metavar="METRIC", default="", help="Rank candidates and slices by it (default: f1, rmse or ndcg).")
@click.option("--task", metavar="TASK", default="", help="classification, regression or ranking, where the package does not say.")
@click.option("--quantiles", metavar="Q,Q", default="", help="The quantiles that a regressor answers: 0.1,0.5,0.9.")
@click.option(
    "--cutoff", "cutoffs", metavar="K", type=int, multiple=True, help="Of a ranking: also NDCG of the first K (default: 5 and 10)."
)
@click.option("--resamples", metavar="N", type=int, default=1000, help="Draws of the bootstrap (default: 1000).")
@click.option("--confidence", metavar="SHARE", type=float, default=0.95, help="Of the intervals (default: 0.95).")
@click.option("--seed", metavar="N", type=int, default=0, help="Of the draws (default: 0).")
@click.option("--variant", metavar="NAME", default="", help="Use this variant instead of the quickest that is proven.")
@click.option("--html", "page", metavar="FILE", default="", help="Also write the report as one page with plots.")
@common_options()
def command(run: Run, models: tuple[str, ...], data: str, page: str, quantiles: str, cutoffs: tuple[int, ...], **said: Any) -> int:
    """Say how right packages are on data with known answers: metrics with intervals, slices, calibration.

    Each NAME is a package (NAME[:VERSION|@ALIAS]) or a model file; several are ranked on the same rows, with paired tests of the difference.
    DATA is csv, jsonl, parquet, npy or npz. The exit code is 1 when a requirement fails for any of them.

    \b
    Examples:
      aweigh evaluate fraud test.csv --labels is_fraud --slice country
      aweigh evaluate fraud:1 fraud:2 test.csv --labels is_fraud --require "f1 >= 0.9"
    """
    from aweigh.app.evaluate import EvaluateOptions, check_page, run_evaluation, write_page

    check_page(page)
    options = EvaluateOptions(quantiles=_numbers(quantiles), cutoffs=cutoffs or (5, 10), **said)
    with run.output.progress() as progress:
        found = run_evaluation(run.settings, models, data, options, progress)
    if page:
        write_page(found, page)
    run.output.show(found, lambda: _draw(run.output, found, page))
    return 0 if found.passed else 1


def _numbers(text: str) -> tuple[float, ...]:
    from aweigh.core.errors import WrongUse

    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise WrongUse(
            f"--quantiles {text[:60]!r} is not numbers with commas between", hint="for example --quantiles 0.1,0.5,0.9"
        ) from None


def _draw(out: Output, found: "Evaluation", page: str) -> None:
    from aweigh.evaluation.page import text_of

    out.text(f"{found.task} on {found.data}: {count_text(found.rows, 'row')}; {found.method}", "")
    out.table(
        ("metric", *(one.model for one in found.candidates)),
        [(name, *map(text_of, figures)) for name, figures in found.figures.items()],
    )
    for comparison in found.comparisons:
        exact = "" if comparison.mcnemar_p is None else f", McNemar p {comparison.mcnemar_p:.3g}"
        out.text(
            "",
            f"{comparison.best} beside {comparison.other}: {comparison.metric} differs by {text_of(comparison.difference)}, p {comparison.p_value:.3g}{exact}",
        )
    for candidate in found.candidates:
        if 0 < len(candidate.classes) <= _SHOWN_CLASSES:
            rows = [(label, *(text_of(row[name]) for name in ("precision", "recall", "f1"))) for label, row in candidate.classes.items()]
            out.text("")
            out.table(("class", "precision", "recall", "f1"), rows, title=f"classes of {candidate.model}")
        if candidate.slices:
            parts = [
                (one.column, one.value, one.rows, text_of(one.metrics[found.by]), "worse" if one.worse else "") for one in candidate.slices
            ]
            out.text("")
            out.table(
                ("column", "value", "rows", found.by, ""), parts[:_SHOWN_SLICES], title=f"slices of {candidate.model}, the worst first"
            )
            more = len(parts) - _SHOWN_SLICES
            out.text(*([f"{more} more: --json or --html"] if more > 0 else []))
    if found.verdicts:
        out.text("")
        verdicts = [(one.model, one.requirement, one.found, "passed" if one.passed else "FAILED") for one in found.verdicts]
        out.table(("model", "requirement", "found", "verdict"), verdicts)
    out.text(*(f"note: {note}" for note in found.notes), *([f"written: {page}"] if page else []))

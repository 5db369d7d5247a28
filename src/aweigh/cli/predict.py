"""`aweigh predict`: answer a small file in process, with the columns that batch gives."""

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, count_text


@click.command("predict")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]|FILE")
@click.argument("source", metavar="IN")
@click.option("--out", metavar="FILE", help="Where to write the answers: .csv, .jsonl, .parquet (default: CSV on stdout).")
@click.option("--variant", metavar="NAME", default="", help="Use this variant instead of the first that is proven.")
@common_options()
def command(run: Run, model: str, source: str, out: str | None, variant: str) -> None:
    """Answer the rows of a small file in process.

    IN is csv, jsonl, parquet, npy or npz; for a model that is asked with images or sounds, a PNG, JPEG or WAV file, or a folder of them. A classifier answers with `label` and `probability_<class>`, a regressor with `prediction`,
    anything else with its outputs' own names. FILE is written whole or not at all.
    """
    from aweigh.app.predict import predict_file

    answer = predict_file(run.settings, model, source, out=out, variant=variant)
    names = list(answer.columns)
    rows = [list(row) for row in zip(*answer.columns.values(), strict=True)]
    if out is not None:
        document: dict[str, object] = {"model": answer.model, "rows": len(rows), "columns": names, "out": out}
        run.output.show(document, lambda: run.output.text(f"{count_text(len(rows), 'row')} answered by {answer.model}, written to {out}"))
        return
    run.output.show({"model": answer.model, "columns": names, "data": rows}, lambda: _csv(run.output, names, rows))


def _csv(out: Output, names: list[str], rows: list[list[object]]) -> None:
    from aweigh.app.tables import csv_text

    out.data(csv_text(names, rows))

"""`aweigh rollouts`: what is being tried out on a running server, and how earlier rollouts ended."""

from collections.abc import Sequence

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.rollout_text import COLUMNS, lines_of, shown_row
from aweigh.core.rollout import Report


@click.command("rollouts")
@click.argument("name", metavar="[NAME]", required=False, default="")
@click.option("--url", metavar="URL", default="", help="The server (default: the host and port of the settings).")
@click.option("--watch", is_flag=True, help="Follow the rollout of NAME until it has ended.")
@common_options("port", "api_key_file")
def command(run: Run, name: str, url: str, watch: bool) -> int:
    """List the rollouts of a running server, newest first; of one NAME with all figures of the last.

    With --watch the exit status is 0 when it was promoted, and 1 when it was rolled back.

    \b
    Examples:
      aweigh rollouts
      aweigh rollouts fraud --watch
    """
    from aweigh.app.promotion import Server
    from aweigh.cli.following import followed
    from aweigh.core.errors import InvalidInput
    from aweigh.core.names import model_name

    if watch and not name:
        raise InvalidInput("--watch follows one model", hint="'aweigh rollouts NAME --watch'")
    server = Server(run.settings, url)
    reports = server.reports(model_name(name) if name else "")
    if watch and reports and reports[0].open:
        report = followed(run, server, reports[0])
        run.output.show(report, lambda: run.output.text(*lines_of(report)))
        return int(report.state != "promoted")
    run.output.show(reports, lambda: _draw(run, name, reports))
    return 0


def _draw(run: Run, name: str, reports: Sequence[Report]) -> None:
    if not reports:
        run.output.text("nothing was rolled out yet: 'aweigh promote NAME:VERSION --canary 10%' begins")
        return
    if name:
        run.output.text(*lines_of(reports[0]), "")
    rows = reports[1:] if name else reports
    if rows:
        run.output.table(COLUMNS, [shown_row(report) for report in rows], title="before that" if name else "")

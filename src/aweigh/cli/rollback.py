"""`aweigh rollback`: end a rollout, or go back to the version that was live before."""

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.rollout_text import lines_of


@click.command("rollback")
@click.argument("name", metavar="NAME")
@click.option("--url", metavar="URL", default="", help="The server (default: the host and port of the settings).")
@click.option("--store-only", is_flag=True, help="Ask no server: change which version the next one serves.")
@common_options("port", "api_key_file")
def command(run: Run, name: str, url: str, store_only: bool) -> None:
    """Let the stable version answer all requests again.

    Ends the rollout under way. Where there is none, the version that was live before the last promotion is loaded and takes over.

    \b
    Examples:
      aweigh rollback fraud
    """
    from aweigh.app.promotion import Server, rollback_in_store
    from aweigh.core.names import model_name

    checked = model_name(name)
    report = rollback_in_store(run.settings, checked) if store_only else Server(run.settings, url).rollback(checked)
    run.output.show(report, lambda: run.output.text(*lines_of(report)))

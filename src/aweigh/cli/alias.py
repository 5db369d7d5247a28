"""`aweigh alias`: let a name such as 'champion' mean a version."""

import click

from aweigh.app.packages import set_alias
from aweigh.cli.options import Run, common_options


@click.command("alias")
@click.argument("model", metavar="NAME[:VERSION]")
@click.argument("alias")
@common_options()
def command(run: Run, model: str, alias: str) -> None:
    """Let ALIAS name a version (the newest, if none is given), whatever it named before.

    It is then written NAME@ALIAS. 'aweigh remove NAME@ALIAS' takes it away.
    """
    found = set_alias(run.settings, model, alias)
    document = {"model": found.name, "version": found.version, "alias": alias}
    run.output.show(document, lambda: run.output.text(f"{found.name}@{alias} is now {found}"))

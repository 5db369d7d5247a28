"""`aweigh remove`: take a version, an alias or a whole model out of the store."""

import click

from aweigh.app.packages import remove_package
from aweigh.cli.options import Run, common_options


@click.command("remove")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.option("--all", "every_version", is_flag=True, help="Remove every version and alias of the model.")
@click.option("--force", is_flag=True, help="Remove the version though an alias names it; the alias goes too.")
@common_options()
def command(run: Run, model: str, *, every_version: bool, force: bool) -> None:
    """Remove a version, an alias (its version stays) or, with --all, the whole model.

    A bare name is enough where there is one version. A version's number is never used again; its space is freed by a removal that
    comes an hour later or more.
    """
    removed = remove_package(run.settings, model, every_version=every_version, force=force)
    document = {"removed": [str(reference) for reference in removed]}
    run.output.show(document, lambda: run.output.text(*(f"removed {reference}" for reference in removed)))

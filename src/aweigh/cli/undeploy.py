"""`aweigh undeploy`: take away what `aweigh deploy --apply` made."""

import click

from aweigh.cli.options import Run, common_options


@click.command("undeploy")
@click.argument("name")
@click.option("--to", "target", metavar="TARGET", default="", help="Which, where the name stands on several targets.")
@common_options()
def command(run: Run, name: str, target: str) -> None:
    """Take away what was deployed under a name, through the vendor's own client. The rendered files stay.

    \b
    Example:
      aweigh undeploy fraud
    """
    from aweigh.app.deploy import undeploy_package

    with run.output.progress() as progress:
        gone = undeploy_package(run.settings, name, target=target, progress=progress)
    run.output.show(gone, lambda: run.output.text(f"removed {gone.name} from {gone.target}; its files stay in {gone.folder}"))

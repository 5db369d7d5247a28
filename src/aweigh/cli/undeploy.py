"""`aweigh undeploy`: take away what `aweigh deploy --apply` made."""

import click

from aweigh.cli.options import Run, common_options


@click.command("undeploy")
@click.argument("name")
@click.option("--to", "target", metavar="TARGET", default="", help="Which, where the name stands on several targets.")
@click.option("--forget", is_flag=True, help="Only drop the record of it: where nothing was made, or is left.")
@common_options()
def command(run: Run, name: str, target: str, forget: bool) -> None:
    """Take away what was deployed under a name, through the vendor's own client. The rendered files stay.

    \b
    Example:
      aweigh undeploy fraud
    """
    from aweigh.app.deploy import undeploy_package

    with run.output.progress() as progress:
        gone = undeploy_package(run.settings, name, target=target, forget=forget, progress=progress)
    said = f"forgot {gone.name} on {gone.target}; nothing was taken away" if forget else f"removed {gone.name} from {gone.target}"
    run.output.show(gone, lambda: run.output.text(f"{said}; its files stay in {gone.folder}"))

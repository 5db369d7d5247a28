"""`aweigh deployments`: what was deployed where."""

import click

from aweigh.cli.options import Run, common_options


@click.command("deployments")
@common_options()
def command(run: Run) -> None:
    """List what `aweigh deploy --apply` deployed from here and `aweigh undeploy` did not take away."""
    from aweigh.app.deploy import list_deployments

    found = list_deployments(run.settings)

    def draw() -> None:
        if not found:
            run.output.text("nothing was deployed from here: see 'aweigh deploy --help'")
            return
        rows = [
            (each.name, each.target, each.model, each.address or "-", each.applied_at + " (not finished)" * each.unfinished)
            for each in found
        ]
        run.output.table(("deployment", "target", "model", "address", "applied (UTC)"), rows)

    run.output.show({"deployments": found}, draw)

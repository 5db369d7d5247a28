"""`aweigh models`: what is in the store."""

import click

from aweigh.app.packages import list_packages
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text


@click.command("models")
@common_options()
def command(run: Run) -> None:
    """List the packages in the store: every version with its aliases, task, runtime and verdict."""
    lines = list_packages(run.settings)

    def draw() -> None:
        if not lines:
            run.output.text(f"no packages in {run.settings.home_folder}", "make one: aweigh pack FILE --name NAME")
            return
        rows = [
            (line.reference, ", ".join(line.aliases), line.task, line.runtime, line.verdict, size_text(line.size_bytes), line.packed_at)
            for line in lines
        ]
        run.output.table(("model", "aliases", "task", "runtime", "verdict", "size", "packed at"), rows)

    run.output.show({"models": lines}, draw)

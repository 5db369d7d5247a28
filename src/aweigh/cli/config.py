"""`aweigh config`: every setting, its value and where that came from."""

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.settings_help import setting_help


@click.command("config")
@common_options()
def command(run: Run) -> None:
    """Print every setting, its value, where that came from, and what it does."""
    help_of = setting_help()
    document = {
        "settings": [{"name": row.name, "value": row.value, "origin": row.origin, "help": help_of.get(row.name, "")} for row in run.origins]
    }

    def draw() -> None:
        rows = [(row.name, _shown(row.value), row.origin, help_of.get(row.name, "")) for row in run.origins]
        run.output.table(("setting", "value", "origin", "what it does"), rows)

    run.output.show(document, draw)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "(empty)" if value == "" else str(value)

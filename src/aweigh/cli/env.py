"""`aweigh env`: the environments that aweigh made for libraries that were not installed."""

import datetime as dt

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, size_text
from aweigh.isolate.environments import Kept


@click.group("env")
def command() -> None:
    """Make, list and remove environments for libraries that are not installed.

    When the library of a model's framework is not installed, `aweigh pack` makes an environment that has it: once, from a list of exact versions
    and digests, apart from your own. Models that only that library can run are served from there too.
    """


@command.command("list")
@common_options()
def list_command(run: Run) -> None:
    """Show the environments: what they take on disk, and when they were last used."""
    from aweigh.app.environments import kept_environments

    found = kept_environments(run.settings)
    run.output.show({"folder": str(run.settings.environments_folder), "environments": found}, lambda: _draw(run.output, found))


@command.command("make")
@click.argument("names", metavar="NAME", nargs=-1, required=True)
@common_options("no_isolate")
def make_command(run: Run, names: tuple[str, ...]) -> None:
    """Make environments before anything needs them: for an image, or a machine that will have no package index."""
    from aweigh.app.environments import make_environments

    with run.output.progress() as progress:
        found = make_environments(run.settings, names, progress=progress)
    run.output.show({"environments": found}, lambda: _draw(run.output, found))


@command.command("prune")
@click.option(
    "--all", "everything", is_flag=True, help="Remove those that this version would use too: they are made again when they are needed."
)
@common_options()
def prune_command(run: Run, *, everything: bool) -> None:
    """Remove environments that this version of aweigh does not use any more, and what was left half made. Those in which something is running stay."""
    from aweigh.app.environments import prune_environments

    done = prune_environments(run.settings, everything=everything)

    def draw() -> None:
        freed = sum(kept.size_bytes for kept in done.removed)
        run.output.text(f"removed {len(done.removed)} environments ({size_text(freed)})")
        if done.left:
            run.output.text(f"left, because something is running in them: {', '.join(kept.name for kept in done.left)}")

    run.output.show(done, draw)


def _draw(output: Output, found: list[Kept]) -> None:
    if not found:
        output.text("there are none: they are made when a model needs a library that is not installed")
        return
    rows = [
        (
            kept.name,
            size_text(kept.size_bytes),
            dt.datetime.fromtimestamp(kept.used_at, dt.UTC).strftime("%Y-%m-%d %H:%M"),
            "now" if kept.in_use else "no",
            "yes" if kept.current else "no: 'aweigh env prune' removes it",
        )
        for kept in found
    ]
    output.table(("environment", "size", "last used (UTC)", "in use", "of this version"), rows)

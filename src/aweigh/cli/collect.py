"""`aweigh collect`: free the space of what no version needs."""

import click

from aweigh.app.packages import collect_garbage
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text
from aweigh.store import GRACE_S


@click.command("collect")
@click.option(
    "--grace-s",
    metavar="NUMBER",
    type=click.FloatRange(min=0),
    default=GRACE_S,
    help=f"Spare what is younger than this (default: {GRACE_S:g}): someone may have it open.",
)
@common_options()
def command(run: Run, *, grace_s: float) -> None:
    """Free the space of what no version needs: blobs and views of removed versions, and what killed processes left behind.

    A removal does the same on its way. Nothing that a version needs is ever touched.
    """
    done = collect_garbage(run.settings, grace_s=grace_s)
    run.output.show(
        done,
        lambda: run.output.text(
            f"removed {done.blobs} blobs ({size_text(done.size_bytes)}), {done.views} views, {done.temporary} leftovers of killed processes"
        ),
    )

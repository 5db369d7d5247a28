"""`aweigh import`: a package from one file into the store."""

from pathlib import Path

import click

from aweigh.cli.options import Run, common_options


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--name", metavar="NAME", default="", help="Name of the model (default: the one it was exported under).")
@click.option("--trust", is_flag=True, help="Take it even if loading it runs code that came with it (pickle, hooks).")
@common_options("store_quota_bytes", "child_memory_bytes", "child_timeout_s")
def command(run: Run, file: str, *, name: str, trust: bool) -> None:
    """Publish the package in a file that 'aweigh export' wrote.

    Every digest is checked, and the package is loaded in a capped child, which replays its golden set, before it becomes visible. It keeps
    its digest, and its version number where that is free. Importing it twice gives one version.
    """
    from aweigh.app.archives import import_package
    from aweigh.cli.adopted import show_adopted

    with run.output.progress() as progress:
        adopted = import_package(run.settings, Path(file), name=name, trust=trust, progress=progress)
    show_adopted(run.output, adopted)

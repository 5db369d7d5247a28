"""`aweigh pull`: a package from a registry or an object store."""

import click

from aweigh.cli.credentials import SETTINGS, access_from, credential_options
from aweigh.cli.options import Run, common_options


@click.command("pull")
@click.argument("address", metavar="ADDRESS[:TAG|@DIGEST]")
@click.option("--name", metavar="NAME", default="", help="Name of the model (default: the last part of the address).")
@click.option("--trust", is_flag=True, help="Take it even if loading it runs code that came with it (pickle, hooks).")
@credential_options
@common_options(*SETTINGS, "store_quota_bytes", "child_memory_bytes", "child_timeout_s")
def command(run: Run, address: str, **said: object) -> None:
    """Publish the package at an address; without a tag, the newest version there.

    Every digest is checked, and the package is loaded in a capped child, which replays its golden set, before it becomes visible. It keeps
    its digest, and its version number where that is free. Files that are here are not fetched again.

    \b
    Examples:
      aweigh pull registry.example/team/fraud:v3
      aweigh pull s3://bucket/models/fraud --name fraud
    """
    from aweigh.app.shipping import pull_package
    from aweigh.cli.adopted import show_adopted

    access = access_from(run, username=str(said["username"]), password_stdin=bool(said["password_stdin"]))
    with run.output.progress() as progress:
        adopted = pull_package(run.settings, address, name=str(said["name"]), access=access, trust=bool(said["trust"]), progress=progress)
    show_adopted(run.output, adopted)

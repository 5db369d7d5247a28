"""`aweigh push`: a package to a registry or an object store."""

import click

from aweigh.cli.credentials import SETTINGS, access_from, credential_options
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text


@click.command("push")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.argument("address", metavar="ADDRESS[:TAG]")
@click.option("--force", is_flag=True, help="Let a version's tag name this package though it names another there.")
@click.option(
    "--mount-from", metavar="REPOSITORY", default="", help="A repository of the registry that may hold some of the files already."
)
@credential_options
@common_options(*SETTINGS)
def command(run: Run, model: str, address: str, **said: object) -> None:
    """Send a package to an OCI registry or an object store, under the tag 'v' and its number, and the alias it was named by.

    Files that are there are not sent again, and a broken transfer goes on where it stopped. Nobody sees the package before it is whole.

    \b
    Examples:
      aweigh push fraud registry.example/team/fraud
      aweigh push fraud@champion localhost:5000/fraud
      aweigh push fraud:3 s3://bucket/models/fraud
    """
    from aweigh.app.shipping import push_package

    access = access_from(
        run, username=str(said["username"]), password_stdin=bool(said["password_stdin"]), mount_from=str(said["mount_from"])
    )
    with run.output.progress() as progress:
        package, place, done = push_package(run.settings, model, address, access=access, force=bool(said["force"]), progress=progress)
    document = {"model": str(package.reference), "address": str(place), **{name: getattr(done, name) for name in done.__slots__}}

    def draw() -> None:
        run.output.text(f"{package.reference}  {done.digest}")
        run.output.text(f"sent {done.sent} files ({size_text(done.sent_bytes)}), {done.kept} were there")
        repository = str(place).removesuffix(f":{place.tag}") if place.tag else str(place)
        run.output.text(*(f"aweigh pull {repository}:{tag}" for tag in done.tags))

    run.output.show(document, draw)

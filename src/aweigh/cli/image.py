"""`aweigh image`: a container image of a model, built without Docker, for any platform."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.credentials import SETTINGS, access_from, credential_options
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text

if TYPE_CHECKING:
    from aweigh.app.image import Made


@click.command("image")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]|FILE")
@click.option("--to", metavar="PLACE", default="", help="oci:FOLDER[:TAG], docker-archive:FILE[:NAME:TAG], or the address of a registry.")
@click.option(
    "--platform", "platforms", metavar="LIST", default="linux/amd64", help="Platforms, separated by commas (default: linux/amd64)."
)
@click.option(
    "--base", metavar="IMAGE", help="Image to build on: an address, oci:FOLDER[:TAG] or docker-archive:FILE (default: distroless Python)."
)
@click.option("--variant", "variants", metavar="NAME", multiple=True, help="Take this variant instead of the quickest that is proven.")
@click.option(
    "--runner", is_flag=True, help="Put the runner in, not the server: starts in a fraction of the time, and answers what it can."
)
@click.option("--sign-key", metavar="FILE", default="", help="Sign the image with this ECDSA key (PEM), as cosign does.")
@click.option("--dockerfile", metavar="DIR", default="", help="Write a Dockerfile, a compose file and what they copy into a folder.")
@click.option("--no-bytecode", is_flag=True, help="Leave bytecode out: any Python can build it, and it starts slower.")
@credential_options
@common_options(*SETTINGS)
def command(run: Run, model: str, base: str | None, no_bytecode: bool, **said: object) -> None:  # click calls it by name
    """Build a container image of a model, without Docker.

    It holds the base, the libraries of one runtime, aweigh and the model, each in a layer of its own; runs as nobody, on a read-only root. The same model gives
    the same digest on every machine. Layers that the registry has are not sent again.

    \b
    Examples:
      aweigh image fraud --to registry.example/team/fraud
      aweigh image fraud --platform linux/amd64,linux/arm64 --to oci:images
      aweigh image fraud:3 --to docker-archive:fraud.tar
    """
    from aweigh.app.image import ImageOptions, make_image
    from aweigh.deploy.images import BASE

    access = access_from(run, username=str(said["username"]), password_stdin=bool(said["password_stdin"]))
    options = ImageOptions(
        to=str(said["to"]),
        platforms=str(said["platforms"]),
        base=base or BASE,
        variants=tuple(said["variants"]),  # type: ignore[arg-type]  # click gives a tuple of texts
        bytecode=not no_bytecode,
        runner=bool(said["runner"]),
        sign_key=str(said["sign_key"]),
        dockerfile=str(said["dockerfile"]),
    )
    with run.output.progress() as progress:
        made = make_image(run.settings, model, options, access=access, progress=progress)
    run.output.show(_document(made), lambda: _draw(run, made))


def _document(made: "Made") -> dict[str, object]:
    return {
        "model": str(made.package.reference),
        "where": made.where,
        "digest": made.image.digest,
        "variants": [variant.name for variant in made.variants],
        "platforms": [
            {
                "platform": str(each.platform),
                "digest": each.descriptor.digest,
                "size_bytes": each.size_bytes,
                "python": ".".join(map(str, each.inside.python)),
                "glibc": ".".join(map(str, each.inside.glibc)),
                "base": each.base.digest,
                "layers": [
                    {"digest": layer.digest, "size_bytes": layer.size_bytes, "title": layer.created_by or "base"} for layer in each.layers
                ],
                "libraries": {library.name: library.version for library in each.libraries},
            }
            for each in made.image.platforms
        ],
        "attached": [
            {"subject": each.subject, "type": each.descriptor.artifact_type or "index", "digest": each.descriptor.digest, "tag": each.tag}
            for each in made.attached
        ],
        "dockerfile": str(made.folder) if made.folder else "",
        "sent": None if made.sent is None else {name: getattr(made.sent, name) for name in ("sent", "sent_bytes", "kept")},
    }


def _draw(run: Run, made: "Made") -> None:
    out = run.output
    out.text(*([made.where] if made.where else []), f"{made.image.digest}", *([f"{made.folder}/Dockerfile"] if made.folder else []))
    for each in made.image.platforms:
        out.text("", f"{each.platform}: {size_text(each.size_bytes)}, Python {'.'.join(map(str, each.inside.python))}, {each.base.name}")
        out.table(
            ("layer", "size", "holds"),
            [(layer.digest[7:19], size_text(layer.size_bytes), (layer.created_by or "base").partition(":")[0]) for layer in each.layers],
        )
    if made.sent is not None:
        out.text("", f"sent {made.sent.sent} blobs ({size_text(made.sent.sent_bytes)}), {made.sent.kept} were there")

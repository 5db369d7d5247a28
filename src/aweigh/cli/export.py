"""`aweigh export`: a package as one file."""

from pathlib import Path

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text


@click.command("export")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.argument("file", metavar="FILE.tar")
@common_options()
def command(run: Run, model: str, file: str) -> None:
    """Write a package to one file, for 'aweigh import' on another machine.

    The file is an OCI image layout in a plain tar (skopeo reads it as oci-archive:FILE.tar). The same package gives the same bytes.
    """
    from aweigh.app.archives import export_package

    with run.output.progress() as progress:
        package, digest = export_package(run.settings, model, Path(file), progress=progress)
    size = Path(file).stat().st_size
    document = {"model": str(package.reference), "digest": package.digest, "file": file, "file_digest": digest, "size_bytes": size}
    run.output.show(document, lambda: run.output.text(f"{package.reference}  {package.digest}", f"wrote {file} ({size_text(size)})"))

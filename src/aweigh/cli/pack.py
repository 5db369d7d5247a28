"""`aweigh pack`: a trained model file becomes a proven, versioned package."""

import shlex
import sys

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.proof import draw_proof
from aweigh.core.errors import InvalidInput


@click.command("pack")
@click.argument("source", metavar="FILE")
@click.option("--name", metavar="NAME", help="Name of the model (default: made from the file's name).")
@click.option("--sample", metavar="FILE", help="Rows like those to come: parquet, csv, npy, npz, jsonl. Makes the proof a full one.")
@click.option("--labels", metavar="FILE", help="The right answers to the sample, for the task's metrics.")
@click.option("--trust", is_flag=True, help="Load the file even if that runs code from it (pickle, joblib). Only for files you made.")
@click.option("--pre", metavar="MODULE:FUNCTION", default="", help="Your function to call before the model; rides along in the package.")
@click.option("--post", metavar="MODULE:FUNCTION", default="", help="Your function to call after the model; rides along in the package.")
@click.option(
    "--pad",
    "pads",
    metavar="INPUT=VALUE",
    multiple=True,
    help="Fill this input up with VALUE so that requests of different sizes run together, where the proof finds that it changes nothing; may be given several times.",
)
@click.option("--alias", "aliases", metavar="ALIAS", multiple=True, help="Point this alias at the new version; may be given several times.")
@click.option("--description", metavar="TEXT", default="", help="One sentence on what the model is for.")
@click.option("--licence", metavar="TEXT", default="", help="Licence of the model, as an SPDX identifier.")
@common_options("child_memory_bytes", "child_timeout_s")
def command(run: Run, source: str, name: str | None, aliases: tuple[str, ...], pads: tuple[str, ...], **said: object) -> None:
    """Turn a trained model file into a proven package.

    FILE is recognised by its content: ONNX, XGBoost, LightGBM, CatBoost, or a scikit-learn estimator as joblib, pickle or skops. The model is run in its own framework,
    converted, and compared on the sample and on edge inputs; what disagrees is repaired, kept in its own runtime, or refused.

    \b
    Examples:
      aweigh pack model.onnx --name digits
      aweigh pack model.joblib --trust --name fraud --sample X.parquet --labels y.parquet
    """
    from pathlib import Path

    from aweigh.app.options import PackOptions
    from aweigh.app.pack import pack_and_publish
    from aweigh.core.names import suggest_name

    sys.path.insert(0, "")  # hooks are named as modules of the folder one stands in
    chosen = name or suggest_name(Path(source).name.partition(".")[0])
    options = PackOptions(command=shlex.join(["aweigh", *sys.argv[1:]]), padding=_padding(pads), **said)  # type: ignore[arg-type]  # the options above are its fields
    with run.output.progress() as progress:
        package = pack_and_publish(run.settings, Path(source), chosen, options=options, aliases=aliases, progress=progress)
    document = {"model": str(package.reference), "digest": package.digest, "size_bytes": package.size_bytes, "manifest": package.manifest}

    def draw() -> None:
        draw_proof(run.output, package)
        run.output.text("", f"next: aweigh serve {package.reference.name}    or    aweigh show {package.reference}")

    run.output.show(document, draw)


def _padding(pads: tuple[str, ...]) -> dict[str, int | float | str]:
    """INPUT=VALUE, each input once."""
    found: dict[str, int | float | str] = {}
    for pad in pads:
        name, equals, value = pad.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--pad {pad!r} is no INPUT=VALUE", hint="for example --pad ids=0 --pad mask=0")
        if name in found:
            raise InvalidInput(f"--pad names input '{name}' twice", hint="one value for each input")
        found[name] = value
    return found

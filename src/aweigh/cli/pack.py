"""`aweigh pack`: a trained model file becomes a proven, versioned package."""

import sys

import click

from aweigh.cli.command_line import kept
from aweigh.cli.options import Run, common_options
from aweigh.cli.proof import draw_proof
from aweigh.core.errors import InvalidInput


@click.command("pack")
@click.argument("source", metavar="FILE|FOLDER|ADDRESS")
@click.option("--name", metavar="NAME", help="Name of the model (default: made from the file's name).")
@click.option("--sample", metavar="FILE", help="Rows like those to come: parquet, csv, npy, npz, jsonl. Makes the proof a full one.")
@click.option(
    "--labels",
    metavar="FILE|COL",
    help="The right answers to the sample, for the task's metrics: a file of one column, or a column of the sample.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Load the file even if that runs code from it (pickle, joblib, a pipeline's functions). Only for files you made.",
)
@click.option(
    "--class",
    "factory",
    metavar="MODULE:FACTORY",
    default="",
    help="Your class or function that makes the PyTorch or Flax module a file of weights belongs to, called with nothing; or your JAX function of parameters and inputs.",
)
@click.option(
    "--opset",
    type=click.IntRange(7, 30),
    callback=lambda _context, _option, chosen: chosen or 0,
    metavar="N",
    help="The opset that the ONNX must have (default: what the framework writes best). An exporter that writes another is refused.",
)
@click.option("--pre", metavar="MODULE:FUNCTION", default="", help="Your function to call before the model; rides along in the package.")
@click.option("--post", metavar="MODULE:FUNCTION", default="", help="Your function to call after the model; rides along in the package.")
@click.option(
    "--image",
    metavar="WORDS",
    default="",
    help="The model is asked with images: how they become its input, as in 'size=224x224 scale=1/255 mean=0.5 std=0.5 layout=NCHW'. The sample is a folder of images.",
)
@click.option(
    "--sound",
    metavar="WORDS",
    default="",
    help="The model is asked with WAV files: how they become its input, as in 'rate=16000 seconds=1 mel=40'. The sample is a folder of them.",
)
@click.option(
    "--answer",
    metavar="WORDS",
    default="",
    help="What is made of the outputs of a model asked with files: 'labels=cat,dog softmax', or 'labels=cat,dog boxes=OUTPUT scores=OUTPUT'.",
)
@click.option(
    "--pad",
    "pads",
    metavar="INPUT=VALUE",
    multiple=True,
    help="Fill this input up with VALUE so that requests of different sizes run together, where the proof finds that it changes nothing; may be given several times.",
)
@click.option(
    "--tolerance",
    "tolerances",
    metavar="[OUTPUT=]RTOL[,ATOL]",
    multiple=True,
    help="Hold float outputs to these bounds instead of their datatype's, here and wherever the package is loaded; may be given several times.",
)
@click.option(
    "--also",
    metavar="RUNTIME",
    multiple=True,
    help="Prove a further variant: openvino or onnxruntime:PROVIDER (cuda, openvino, …) of what became ONNX, lleaves of a LightGBM model; tensorflow, torch, torchscript or torch-eager: a network in that form too. The quickest that is proven answers; may be given several times.",
)
@click.option("--alias", "aliases", metavar="ALIAS", multiple=True, help="Point this alias at the new version; may be given several times.")
@click.option("--description", metavar="TEXT", default="", help="One sentence on what the model is for.")
@click.option("--licence", metavar="TEXT", default="", help="Licence of the model, as an SPDX identifier.")
@common_options("no_isolate", "child_memory_bytes", "child_timeout_s", "private_hosts", "max_source_bytes", "ca_file", "plain_http")
def command(
    run: Run, source: str, name: str | None, aliases: tuple[str, ...], pads: tuple[str, ...], tolerances: tuple[str, ...], **said: object
) -> None:
    """Turn a trained model file, or a pipeline of packages, into a proven package.

    FILE is recognised by its content: ONNX, XGBoost, LightGBM, CatBoost, or a scikit-learn estimator as joblib, pickle or skops. The model is run in its own framework,
    converted, and compared on the sample and on edge inputs; what disagrees is repaired, kept in its own runtime, or refused. A TOML file with [[step]]s is a
    pipeline, whose steps are packages of the store, Python functions and built-in combinations. A FOLDER may be another tool's (MLflow, Triton, BentoML, ...); an
    ADDRESS is https://, s3://, gs://, oci://, hf:// or git+https://.

    \b
    Examples:
      aweigh pack model.onnx --name digits
      aweigh pack model.joblib --trust --name fraud --sample X.parquet --labels y.parquet
      aweigh pack hf://OWNER/NAME@REVISION
      aweigh pack checkout.toml --name checkout --sample X.parquet
    """
    from pathlib import Path

    from aweigh.app.addresses import is_address, name_from_address
    from aweigh.app.options import PackOptions
    from aweigh.app.pack import pack_and_tell
    from aweigh.core.names import suggest_name

    sys.path.insert(0, "")  # hooks are named as modules of the folder one stands in
    elsewhere = is_address(source)
    chosen = name or (name_from_address(source) if elsewhere else suggest_name(Path(source).name.partition(".")[0]))
    options = PackOptions(command=kept(sys.argv[1:]), padding=_padding(pads), tolerances=_tolerances(tolerances), **said)  # type: ignore[arg-type]  # the options above are its fields
    with run.output.progress() as progress:
        packing = pack_and_tell(
            run.settings, source if elsewhere else Path(source), chosen, options=options, aliases=aliases, progress=progress
        )
    package = packing.package
    document = {
        "model": str(package.reference),
        "digest": package.digest,
        "size_bytes": package.size_bytes,
        "environments": {name: round(seconds, 3) for name, seconds in packing.environments.items()},
        "manifest": package.manifest,
    }

    def draw() -> None:
        draw_proof(run.output, package)
        run.output.text("", f"next: aweigh serve {package.reference.name}    or    aweigh show {package.reference}")

    run.output.show(document, draw)


def _tolerances(texts: tuple[str, ...]) -> dict[str, tuple[float, float | None]]:
    """By output, "" for all."""
    from aweigh.core.tolerances import parse_tolerance

    return {output: (rtol, atol) for output, rtol, atol in map(parse_tolerance, texts)}


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

"""Write docs/frameworks.md (`make frameworks`): each framework and kind of model, trained, packed and proven for real, as one row of a table.

Every source is made by a script of tools/sources in the environment that has its framework; `aweigh pack` does the rest, as anyone would call it.
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import aweigh
from aweigh.core.settings import Settings
from aweigh.isolate.environments import Environments

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "sources"
PAGE = ROOT / "docs" / "frameworks.md"
RECORD = ROOT / "docs" / "frameworks.json"
LIMIT_S = 600
NETWORKS = ("linear", "mlp", "cnn", "rnn", "transformer")
MODULES = ("linear", "mlp", "cnn", "depthwise", "rnn", "gru", "transformer")
TABLE: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("scikit-learn", "trees", "sklearn_source.py", "sklearn", ("linear", "mlp", "svm", "neighbours", "forest", "boosting", "trees", "missing", "categories", "text", "mixed")),
    ("XGBoost", "trees", "sklearn_source.py", "xgboost", ("trees", "missing", "categories")),
    ("LightGBM", "trees", "sklearn_source.py", "lightgbm", ("trees", "missing", "categories")),
    ("CatBoost", "trees", "sklearn_source.py", "catboost", ("trees", "missing", "categories")),
    ("PyTorch, exported program", "torch", "torch_source.py", "pt2", MODULES),
    ("PyTorch, TorchScript", "torch", "torch_source.py", "torchscript", MODULES),
    ("PyTorch, state dict and class", "torch", "torch_source.py", "state", MODULES),
    ("PyTorch, live module", "torch", "torch_source.py", "live", MODULES),
    ("Keras", "tensorflow", "keras_source.py", "keras", NETWORKS),
    ("Keras, HDF5", "tensorflow", "keras_source.py", "h5", ("mlp",)),
    ("TensorFlow SavedModel", "tensorflow", "keras_source.py", "savedmodel", NETWORKS),
    ("LiteRT", "tensorflow", "keras_source.py", "tflite", ("linear", "mlp", "cnn", "transformer")),
    ("LiteRT, INT8", "tensorflow", "keras_source.py", "int8", ("mlp", "cnn")),
    ("JAX", "jax", "jax_source.py", "jax", NETWORKS),
    ("Apache MXNet", "mxnet", "mxnet_source.py", "mxnet", ("linear", "mlp", "cnn")),
    ("Hugging Face", "huggingface", "huggingface_source.py", "hf", ("embeddings", "classification", "pairs", "tokens", "answers")),
    ("ONNX", "torch", "onnx_source.py", "onnx", ("mlp", "cnn", "transformer")),
)  # fmt: skip
"""Framework as people say it, the environment its source is made in, the script and its format, the kinds of model."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one source. `refused` is the cause where it was not packed."""

    framework: str
    kind: str
    runtime: str = ""
    difference: float | None = None
    flips: float | None = None
    apart: float | None = None
    """How far what the loaded package answers is from what the source's own process wrote down."""
    size_bytes: int = 0
    seconds: float = 0.0
    refused: str = ""


def main() -> int:
    """Make every row, or those of `--only`, write the page, and tell how many were packed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of a framework's name, such as PyTorch; other rows stay as they were")
    only = parser.parse_args().only.lower()
    kept = [Row(**each) for each in json.loads(RECORD.read_text())["rows"]] if RECORD.exists() else []
    rows = [row for row in kept if only and only not in row.framework.lower()]
    with tempfile.TemporaryDirectory(prefix="frameworks-") as folder:
        digits(Path(folder))
        for framework, environment, script, form, kinds in TABLE:
            if only in framework.lower() and (SOURCES / script).exists():
                rows += each(Path(folder), framework, environment, script, form, kinds)
    order = [name for name, *_ in TABLE]
    rows.sort(key=lambda row: order.index(row.framework))
    RECORD.write_text(json.dumps({"rows": [dataclasses.asdict(row) for row in rows]}, indent=1) + "\n")
    PAGE.write_text(page(rows))
    packed = sum(not row.refused for row in rows)
    print(f"{packed} of {len(rows)} rows packed")
    return 0


def digits(folder: Path) -> None:
    """The scripts and the handwritten digits that scikit-learn brings, where any environment can read them."""
    from sklearn.datasets import load_digits

    for script in SOURCES.glob("*.py"):
        (folder / script.name).write_text(script.read_text())
    x, y = load_digits(return_X_y=True)
    np.savez(folder / "digits.npz", x=x / 16, y=y)


def each(folder: Path, framework: str, environment: str, script: str, form: str, kinds: tuple[str, ...]) -> Iterator[Row]:
    """The rows of one framework and format."""
    home = Environments(Settings().environments_folder).home(environment)
    for kind in kinds:
        place = folder / f"{kind}-{form}"
        place.mkdir()
        row = one(folder, place, framework, kind, [home.python, "-P", str(folder / script), f"{kind}-{form}", str(place)])
        print(f"{row.framework:32} {row.kind:14} {row.refused or row.runtime:60} {row.seconds:6.1f} s", flush=True)
        yield row


def one(folder: Path, place: Path, framework: str, kind: str, maker: list[str]) -> Row:
    """Train, pack, load and compare one model."""
    made = run(maker, folder)
    if made.returncode:
        return Row(framework=framework, kind=kind, refused=f"the source could not be made: {last(made.stderr)}")
    said = json.loads(made.stdout.strip().splitlines()[-1])
    began = spent_s()
    if said.get("packed"):  # a live model, which packs itself where it was made
        document, seconds = said["packed"], said["packed"]["seconds"]
        if "refused" in document:
            return Row(framework=framework, kind=kind, seconds=seconds, refused=document["refused"])
    else:
        command = [sys.executable, "-m", "aweigh", "--home", str(place / "home"), "pack", said["file"], "--name", "model", "--json"]
        packed = run([*command, "--sample", said["sample"], *said["words"]], folder)
        seconds = spent_s() - began
        if packed.returncode:
            return Row(framework=framework, kind=kind, seconds=seconds, refused=cause(packed.stdout))
        document = json.loads(packed.stdout)
    variant = document["manifest"]["variants"][0]
    checks = {check["name"]: check.get("figures", {}) for check in variant["evidence"]["checks"]}
    worst = [value for name, value in checks["parity"].items() if name.endswith(".max_of_row") and value is not None]
    return Row(
        framework=framework, kind=kind, runtime=variant["runtime"], difference=max(worst, default=0.0), flips=checks.get("flips", {}).get("flips"),
        apart=apart(place), size_bytes=document["size_bytes"], seconds=seconds,
    )  # fmt: skip


def apart(place: Path) -> float | None:
    """The greatest difference between the package's answers and those that the source wrote down, where it did."""
    if not (place / "answers.npz").exists():
        return None
    sample, answers = (list(np.load(place / name).values()) for name in ("sample.npz", "answers.npz"))
    with aweigh.load("model", home=str(place / "home")) as model:
        names = [spec.name for spec in model.signature.inputs]
        got = model.infer(
            {
                name: column.reshape(-1, 1).astype(object) if column.dtype.kind == "U" else column
                for name, column in zip(names, sample, strict=True)
            }
        )
    numbers = [each for each in got.values() if each.dtype.kind in "fiu"]
    return max(float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()) for a, b in zip(numbers, answers, strict=False))


def spent_s() -> float:
    """Processor seconds of every program that was run so far and has ended: what else the machine does counts little."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """A program in the folder of the sources, bounded in time."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(Environments(Settings().environments_folder).code()))),
        "HF_HUB_OFFLINE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=folder, env=environment)


def cause(stdout: str) -> str:
    """Why a pack was refused, from its error document."""
    try:
        return str(json.loads(stdout)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return last(stdout)


def last(text: str) -> str:
    """The last line that says something."""
    return (text.strip().splitlines() or ["no word"])[-1]


def page(rows: list[Row]) -> str:
    """The page for readers."""
    packed = [row for row in rows if not row.refused]
    lines = [
        "<!-- Written by `make frameworks` from real runs; do not edit. -->",
        "# What can be packed, tried for real",
        "",
        f"Each row is a model that was trained, packed with `aweigh pack` and proven on one machine ({platform.machine()}, Python {platform.python_version()}):",
        f"{len(packed)} of {len(rows)} were packed; each of the others was refused, and the cause is said. How to pack a model of each framework:",
        "[pack a model](guides/pack.md).",
        "",
        "*Difference*: between the answers of the source in its own framework and those of the variant that serves, the greatest over the golden set and",
        "generated rows, as a share of the largest value of the row where that is above 1. *Flips*: rows with another label. *Read again*: the greatest",
        "difference between what the source's own process wrote down and what the loaded package answers. Time is the processor's, of `aweigh pack` and",
        "all that it starts, with the environment already made.",
        "",
        "| framework | model | served by | difference | flips | read again | size | processor time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.framework} | {row.kind} | {row.runtime} | {figure(row.difference)} | {figure(row.flips)} | {figure(row.apart)} | {row.size_bytes / 1000:,.0f} kB | {row.seconds:.1f} s |"
        for row in packed
    ]
    refused = [row for row in rows if row.refused]
    if refused:
        lines += ["", "## Refused", "", "| framework | model | cause |", "| --- | --- | --- |"]
        lines += [f"| {row.framework} | {row.kind} | {tidy(row.refused)} |" for row in refused]
    return "\n".join(lines) + "\n"


def figure(value: float | None) -> str:
    """A number as a reader wants it; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def tidy(text: str) -> str:
    """A message that fits into a cell, without this machine's paths."""
    return re.sub(r"(/[\w.-]+){2,}/", "", text).replace("|", "\\|").replace("\n", " ")[:400]


if __name__ == "__main__":
    sys.exit(main())

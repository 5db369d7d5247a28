"""Jobs over the ONNX models of `onnx_models`, and what was made of them beside the float answers on held-out rows."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tests.frameworks.kit import make
from tests.passes.kit import answers, signature_of, write_calibration

from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.optimization.passing import Made, PassJob

SIGNATURE = signature_of({"x": (64,)}, {"y": (10,)})
TOKENS = signature_of({"x": ("tokens", 64)}, {"y": ("tokens", 64)})
_HERE = Path(__file__).with_name("onnx_models.py")


@functools.cache
def models() -> Path:
    """The folder of all of them, made once."""
    folder = Path(tempfile.mkdtemp(prefix="aweigh-onnx-models-"))
    return make("optimize", f"import runpy, sys\nsys.argv = ['', '.']\nrunpy.run_path({str(_HERE)!r}, run_name='__main__')", folder)


@functools.cache
def rows() -> dict[str, Any]:
    """calibration, held, labels."""
    with np.load(models() / "rows.npz") as found:
        return dict(found)


def held(signature: Signature = SIGNATURE) -> Any:
    """Rows that no pass has seen."""
    return rows()["held"] if signature is SIGNATURE else np.random.default_rng(2).normal(size=(20, 7, 64)).astype(np.float32)


def job_of(name: str, folder: Path, *, signature: Signature = SIGNATURE, calibration: bool = True, **more: Any) -> PassJob:
    """A job over a model, with calibration rows where they are asked for."""
    files = {f"onnx/{file.name}": str(file) for file in sorted(models().glob(f"{name}.onnx*"))}
    variant = Variant(name="base", runtime="onnxruntime", precision="float32", files=tuple(files))
    job = PassJob(variant=variant, files=files, signature=signature, folder=str(folder / "made"), **more)
    if not calibration:
        return job
    inputs = rows()["calibration"] if signature is SIGNATURE else np.random.default_rng(3).normal(size=(64, 7, 64)).astype(np.float32)
    place = write_calibration(folder / "calibration.tensors", {"x": inputs}, {"y": float_answers(job, inputs)})
    return msgspec.structs.replace(job, calibration=place)


def float_answers(job: PassJob, inputs: Any) -> Any:
    """What the job's own variant answers."""
    made = Made(runtime="onnxruntime", precision="float32", files={file.rpartition("/")[2]: place for file, place in job.files.items()})
    return answers(made, job.signature, {"x": inputs})[0]


def beside(job: PassJob, made: Made) -> tuple[Any, Any]:
    """Answers to the held-out rows: of the float variant, and of what was made."""
    inputs = held(job.signature)
    return float_answers(job, inputs), answers(made, job.signature, {"x": inputs})[0]


def agreement(job: PassJob, made: Made) -> float:
    """Share of the held-out rows with the same largest score."""
    one, other = beside(job, made)
    return float((one.argmax(axis=1) == other.argmax(axis=1)).mean())


def size(files: dict[str, str]) -> int:
    return sum(Path(file).stat().st_size for file in files.values())

"""What a model became that a person's code trained: an ONNX file, held to the model's own answers. Needs onnxruntime; the passes that train call it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime

from aweigh.core.errors import ProofFailed
from aweigh.core.tensors import Tensor
from aweigh.optimization.passing import Made, PassJob
from aweigh.optimization.training.hook import NEAR, far


def check_written(job: PassJob, file: Path, rows: Mapping[str, Tensor], answers: Sequence[Tensor], near: float = NEAR) -> None:
    """Raise ProofFailed where the file answers the rows otherwise than the model, whose answers these are."""
    given = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, dict(rows))
    for spec, one, other in zip(job.signature.outputs, given, answers, strict=True):
        if one.shape != other.shape or far(one, other, near):
            raise ProofFailed(f"the ONNX file answers '{spec.name}' otherwise than the model that was trained")


def made(job: PassJob, file: Path, *notes: str, precision: str = "fp32") -> Made:
    """What a pass gives back."""
    kept = (
        job.variant.environment
        if job.variant.runtime == "onnxruntime"
        else (f"onnxruntime=={onnxruntime.__version__}", f"numpy=={np.__version__}")
    )
    return Made(
        runtime="onnxruntime",
        precision=precision,
        files={file.name: str(file)},
        environment=kept,
        notes=tuple(note for note in notes if note),
    )

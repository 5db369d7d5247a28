"""Asking graphs with the calibration rows: what a changed graph answers, as its runtime gives it, and how far that is from the source's answers."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort

from aweigh.core.tensors import Tensor
from aweigh.optimization.calibration import rows_and_answers
from aweigh.optimization.graphs.sensitivity import Found
from aweigh.optimization.likeness import likeness
from aweigh.optimization.passing import PassJob
from aweigh.runtimes.onnxruntime import OnnxRuntime, model_input_adapter

_AT_ONCE: Final = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Calibration rows: inputs by name, and the source's answers in the signature's order."""

    inputs: dict[str, Tensor]
    outputs: list[Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def some(self, count: int) -> "Rows":
        """At most so many, evenly spread."""
        if len(self) <= count:
            return self
        at = np.linspace(0, len(self) - 1, count).round().astype(np.int64)
        return Rows(inputs={name: tensor[at] for name, tensor in self.inputs.items()}, outputs=[output[at] for output in self.outputs])

    def chunks(self, signature_batched: bool, fixed: int) -> Iterator[dict[str, Tensor]]:
        """The inputs a few rows at a time; of a model that takes a fixed number of rows, so many."""
        size = _AT_ONCE if signature_batched else max(1, fixed)
        for start in range(0, len(self), size):
            part = {name: tensor[start : start + size] for name, tensor in self.inputs.items()}
            if signature_batched or len(next(iter(part.values()))) == size:
                yield part


def read_rows(job: PassJob) -> Rows:
    """The job's. Raises Unsupported where it has none."""
    inputs, answers = rows_and_answers(job)
    return Rows(inputs=inputs, outputs=[answers[spec.name] for spec in job.signature.outputs])


def chunks(job: PassJob, rows: Rows) -> Iterator[dict[str, Tensor]]:
    """The rows as the job's model takes them."""
    first = job.signature.inputs[0].shape[0] if job.signature.inputs[0].shape else 1
    return rows.chunks(job.signature.batched, first if isinstance(first, int) else 1)


def feeds(job: PassJob, model: Path, rows: Rows) -> list[dict[str, Tensor]]:
    """The rows as ONNX Runtime itself takes them, whose types may be others than the signature's."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    kinds = {node.name: node.type for node in session.get_inputs()}
    adapters = {spec.name: model_input_adapter(spec, kinds[spec.name], job.variant) for spec in job.signature.inputs}
    return [{name: adapt(tensor) if (adapt := adapters[name]) else tensor for name, tensor in part.items()} for part in chunks(job, rows)]


def answers(job: PassJob, files: dict[str, str], rows: Rows, options: dict[str, Any] | None = None) -> list[Tensor]:
    """What a model answers to the rows, in the signature's order."""
    variant = msgspec.structs.replace(job.variant, files=tuple(files), options=job.variant.options if options is None else options)
    session = OnnxRuntime(session_threads=1).load(variant, job.signature, lambda name: Path(files[name]))
    try:
        parts = [session.run(part) for part in chunks(job, rows)]
    finally:
        session.close()
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def found(job: PassJob, rows: Rows, given: list[Tensor]) -> Found:
    """How like the source's the answers are."""
    count = len(given[0])
    source = [output[:count] for output in rows.outputs]
    share = float(likeness(job.measure, job.signature, source, given).value)
    return Found(share=share if np.isfinite(share) else 0.0, error=_error(source, given))


def _error(source: list[Tensor], given: list[Tensor]) -> float:
    """The largest, over outputs of floats, of what was added to the answers beside the answers themselves, as root mean squares."""
    worst = 0.0
    for one, other in zip(source, given, strict=True):
        if one.dtype.kind == "f" and one.shape == other.shape:
            expected, actual = one.astype(np.float64), other.astype(np.float64)
            size = float(np.sqrt(np.nanmean(expected**2))) or 1.0
            gap = float(np.sqrt(np.nanmean((actual - expected) ** 2))) / size
            worst = max(worst, gap if np.isfinite(actual).sum() >= np.isfinite(expected).sum() else np.inf)
    return worst

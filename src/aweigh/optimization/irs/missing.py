"""What OpenVINO makes of NaN and infinities: numbers, by some of its operators, where ONNX Runtime answers NaN. Asked of both, once, when a model is made."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.core.errors import AweighError
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.irs.models import Feeder, ask, compiled
from aweigh.optimization.passing import Choice, PassJob
from aweigh.runtimes.onnxruntime import OnnxRuntime

_SIZE: Final = 8
"""Of a symbolic axis behind the batch."""
_ROWS: Final = 4

_ODD: Final = (("nan_rows", np.nan, "a NaN"), ("infinite_rows", np.inf, "an infinity"))

Told = tuple[dict[str, Choice], tuple[str, ...]]


def nan_options(job: PassJob, model: Any) -> Told:
    """Options of the variant for rows that ONNX Runtime answers with NaN and OpenVINO with numbers; and a note for each."""
    signature = job.signature
    if not signature.batched or not any(spec.datatype.is_float for spec in signature.outputs):
        return {}, ()
    try:
        session = OnnxRuntime(session_threads=1).load(job.variant, signature, lambda name: Path(job.files[name]))
        feeder, other = Feeder(model, signature), compiled(model, 1)
        found = {}
        for option, value, what in _ODD:
            rows = _odd(job, value)
            expected = _lost(signature, session.run(rows))[1::2]
            if expected.all() and not _lost(signature, ask(other, signature, feeder.feed(rows)))[1::2].all():
                found[option] = what
    except (AweighError, RuntimeError):  # rows of no meaning may be refused: the proof decides
        return {}, ()
    notes = (f"rows that hold {what} are answered with NaN by aweigh, where OpenVINO would answer numbers" for what in found.values())
    return dict.fromkeys(found, "nan"), tuple(notes)


def _odd(job: PassJob, value: float) -> dict[str, Tensor]:
    """A few rows, with the value in every second one."""
    rows = _rows(job)
    for spec in job.signature.inputs:
        if spec.datatype.is_float:
            rows[spec.name] = rows[spec.name].copy()
            rows[spec.name].reshape(len(rows[spec.name]), -1)[1::2, 0] = value
    return rows


def _lost(signature: Signature, outputs: list[Tensor]) -> Tensor:
    """Of each row and float output, whether all of it is NaN."""
    found = [
        np.isnan(output.reshape(len(output), -1)).all(axis=1)
        for spec, output in zip(signature.outputs, outputs, strict=True)
        if spec.datatype.is_float
    ]
    return np.stack(found, axis=1)


def _rows(job: PassJob) -> dict[str, Tensor]:
    """A few rows as the model takes them: of the calibration where there is one, else ones."""
    if job.calibration:
        return {name: tensor[:_ROWS] for name, tensor in input_rows(job).items()}
    sizes: dict[str, int] = {}
    rows: dict[str, Tensor] = {}
    for spec in job.signature.inputs:
        shape = [_ROWS, *(axis if isinstance(axis, int) else sizes.setdefault(axis, _SIZE) for axis in spec.shape[1:])]
        rows[spec.name] = np.ones(shape, dtype=spec.datatype.dtype)
    return rows

"""Engines of TensorRT: built by ONNX Runtime's provider on the GPU that is here, and kept inside an ONNX file that holds nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import Unsupported
from aweigh.core.signature import BATCH, Signature
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.passing import Choice, Made, PassJob
from aweigh.runtimes.onnxruntime import open_native

_ENGINE: Final = "engine.onnx"
_PROVIDERS: Final = "tensorrt,cuda"
_BATCHES: Final = (1, 8, 256)
"""Rows at least, usually and at most."""
_SIZES: Final = (1, 64, 512)
"""Of other symbolic axes, where no calibration rows tell them."""


def built(job: PassJob) -> Made:
    """Build the engine, which takes minutes. Raises what the runtime raises where the provider does not start."""
    precision = str(job.way.choices["precision"])
    files = _with_eight_bits(job) if precision == "fp8" else dict(job.files)
    said = engine_options(job, precision)
    out = Path(job.folder) / _ENGINE
    making: dict[str, Choice] = {
        "provider:trt_dump_ep_context_model": "1",
        "provider:trt_ep_context_embed_mode": "1",
        "provider:trt_ep_context_file_path": str(out),
    }
    variant = msgspec.structs.replace(job.variant, files=tuple(files), options={**job.variant.options, **said, **making})
    open_native(variant, lambda name: Path(files[name]), session_threads=job.device.threads)
    shown = ", ".join(f"{text}: {said[name]}" for name, text in _PROFILE.items() if name in said)
    if out.is_file():
        kept, note = (
            {_ENGINE: str(out)},
            "the engine is in the package, and fits cards of this generation and this version of TensorRT alone",
        )
    else:  # operators that it leaves to others are between its parts: the engine cannot stand alone
        kept = {path.rpartition("/")[2]: file for path, file in files.items()}
        note = "part of the graph is not TensorRT's: the engine is built wherever the variant is loaded"
    return Made(
        runtime=job.variant.runtime,
        precision=precision,
        files=kept,
        options={**job.variant.options, **said},
        environment=job.variant.environment,
        notes=tuple(each for each in (note, shown) if each),
    )


_PROFILE: Final = {
    "provider:trt_profile_min_shapes": "smallest",
    "provider:trt_profile_opt_shapes": "usual",
    "provider:trt_profile_max_shapes": "largest",
}


def engine_options(job: PassJob, precision: str) -> dict[str, Choice]:
    """Options of the variant: what the engine is built for, and what it is loaded with."""
    said: dict[str, Choice] = {"providers": _PROVIDERS}
    if precision in {"fp16", "fp8"}:
        said["provider:trt_fp16_enable"] = "1"
    if any(isinstance(axis, str) for spec in job.signature.inputs for axis in spec.shape):
        usual = _usual_sizes(job)
        for at, name in enumerate(_PROFILE):
            said[name] = profile(job.signature, usual, at)
    return said


def profile(signature: Signature, usual: Mapping[str, int], at: int) -> str:
    """Shapes of every input as the provider reads them ('ids:1x64,mask:1x64'): the smallest (0), the usual (1) or the largest (2)."""
    shapes = []
    for spec in signature.inputs:
        sizes = [axis if isinstance(axis, int) else _size(axis, usual, at) for axis in spec.shape]
        shapes.append(f"{spec.name}:{'x'.join(map(str, sizes))}")
    return ",".join(shapes)


def _size(axis: str, usual: Mapping[str, int], at: int) -> int:
    if axis == BATCH:
        return _BATCHES[at]
    known = usual.get(axis, _SIZES[1])
    return (_SIZES[0], known, max(known, _SIZES[2]))[at]


def _usual_sizes(job: PassJob) -> dict[str, int]:
    """Of symbolic axes, what calibration rows have."""
    if not job.calibration:
        return {}
    rows = input_rows(job)
    return {
        axis: int(size)
        for spec in job.signature.inputs
        for axis, size in zip(spec.shape, rows[spec.name].shape, strict=True)
        if isinstance(axis, str) and axis != BATCH
    }


def _with_eight_bits(job: PassJob) -> dict[str, str]:
    """The graph with quantisation to floats of 8 bits around its products, as TensorRT reads it."""
    from aweigh.optimization.graphs.floats_of_eight import lowered

    out = lowered(job)
    if not out:
        raise Unsupported("the graph has no product of matrices")
    return {job.variant.files[0]: out}

"""The child's side of `mapped`: lets ONNX Runtime write a model as its kernels want it, weights apart, and tries whether a process that loads
that keeps them in the file's own pages.

Runs in a capped child of its own. With `save_external_prepacked_constant_initializers` prepared weights are written too, so that sharing costs no
time; kernels that cannot do that are told to take weights as they are (`disable_prepacking`), which for batches may be slower.
"""

import gc
import os
from pathlib import Path
from time import perf_counter
from typing import Any, Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import msgspec
import numpy as np
import onnxruntime as ort

from aweigh.core.errors import AweighError
from aweigh.core.protocols import Session
from aweigh.core.tensorfile import read_tensors
from aweigh.core.tensors import Tensor
from aweigh.runtimes.files import laid_out
from aweigh.runtimes.mapped import MODEL_FILE, WEIGHTS_FILE, Job, Layout
from aweigh.runtimes.onnxruntime import OnnxRuntime

_LEAST_BYTES: Final = "4096"
"""Smaller weights stay in the model."""
_WORTH: Final = 0.25
"""A layout that leaves more than this part of the weights in memory of one's own shares nothing worth having."""
_CALLS: Final = 9
_BUDGET_S: Final = 1.0
_UNPREPARED: Final[dict[str, str | int | float | bool]] = {"config:session.disable_prepacking": "1"}
_OPTIMISED: Final[dict[str, str | int | float | bool]] = {"graph_optimization_level": "disabled"}
"""What is loaded has been optimised."""


def lay_out(job: Job) -> Layout:
    """Write the layout into the job's folder, and say whether it shares and what it costs. Raises what loading raises."""
    inputs = _inputs(job)
    own_us, _ = _try(job, job.variant.files, {}, inputs, files={name: Path(file) for name, file in job.files.items()})
    _write(job)
    folder = Path(job.folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        return Layout(shared=False, why="the model has no large weights")
    size = weights.stat().st_size
    private = 0
    for options in (_OPTIMISED, {**_OPTIMISED, **_UNPREPARED}):
        names = (MODEL_FILE, WEIGHTS_FILE)
        shared_us, private = _try(job, names, options, inputs, files={name: folder / name for name in names})
        if private < size * _WORTH:
            return Layout(shared=True, options=options, weights_bytes=size, private_bytes=private, own_us=own_us, shared_us=shared_us)
    return Layout(shared=False, why=f"this model's kernels copy their weights ({private} of {size} bytes)", weights_bytes=size)


def _write(job: Job) -> None:
    files = {name: Path(file) for name, file in job.files.items()}
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = job.session_threads
    options.optimized_model_filepath = str(Path(job.folder) / MODEL_FILE)
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _LEAST_BYTES)
    with laid_out(job.variant.files, files.__getitem__) as entry:
        ort.InferenceSession(str(entry), sess_options=options, providers=["CPUExecutionProvider"])


def _inputs(job: Job) -> dict[str, Tensor]:
    """Those of the golden case, where they are what the session itself takes."""
    if not job.inputs:
        return {}
    try:
        tensors = read_tensors(Path(job.inputs).read_bytes(), place=job.inputs)
    except (OSError, AweighError):
        return {}
    found = {name.removeprefix("input/"): tensor for name, (_, tensor) in tensors.items() if name.startswith("input/")}
    return found if set(found) == {spec.name for spec in job.signature.inputs} else {}


def _try(
    job: Job, names: tuple[str, ...], options: dict[str, Any], inputs: dict[str, Tensor], *, files: dict[str, Path]
) -> tuple[float, int]:
    """Median microseconds of a call, and the memory that loading and calling took for the process alone."""
    gc.collect()
    before = _private_bytes()
    variant = msgspec.structs.replace(job.variant, files=names, options={**job.variant.options, **options})
    session = OnnxRuntime(session_threads=job.session_threads).load(variant, job.signature, files.__getitem__)
    try:
        took_us = _time(session, inputs) if inputs else 0.0
        return took_us, _private_bytes() - before
    finally:
        session.close()


def _time(session: Session, inputs: dict[str, Tensor]) -> float:
    times: list[float] = []
    began = perf_counter()
    session.run(inputs)
    while len(times) < _CALLS and (not times or perf_counter() - began < _BUDGET_S):
        started = perf_counter()
        session.run(inputs)
        times.append(perf_counter() - started)
    return float(np.median(times)) * 1e6


def _private_bytes() -> int:
    _, resident, shared, *_ = Path("/proc/self/statm").read_text("ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")

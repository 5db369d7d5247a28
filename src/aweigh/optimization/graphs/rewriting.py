"""Rewriting a graph into one with the same answers: cleaned up, a transformer's blocks fused, ONNX Runtime's own format."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import onnxslim

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

from onnxruntime.tools.ort_format_model import create_config_from_models
from onnxruntime.transformers.optimizer import optimize_by_fusion

from aweigh.core.errors import AweighError, Unsupported
from aweigh.core.package import Variant
from aweigh.optimization.graphs.files import ORT_SUFFIX, read_graph, tensor_bytes, tidy, write_graph
from aweigh.optimization.passing import Made, PassJob
from aweigh.runtimes.onnxruntime import open_native

_ORT_FILE: Final = f"model{ORT_SUFFIX}"
_OPERATORS: Final = "required_operators.config"
_TYPES: Final = re.compile(r"\{.*?\}(?=,|$)")
"""What follows an operator's name in that list."""
_NORMALS: Final = frozenset({"LayerNormalization", "Softmax", "Erf", "Tanh", "Sigmoid"})
"""Without any of them there is no transformer to be fused."""


def slim(job: PassJob) -> Made:
    """What is constant computed, what is never read or said twice taken out."""
    model = read_graph(job)
    before, held = len(model.graph.node), _held(model)
    with _plainly("cleaning this graph up"):
        model = onnxslim.slim(model)
    tidy(model)
    after = len(model.graph.node)
    if after >= before and _held(model) >= held:
        raise Unsupported(f"there is nothing to clean up: {before} operators before and {after} after")
    return _made(job, write_graph(model, Path(job.folder)), f"{before} operators before, {after} after")


def fuse(job: PassJob) -> Made:
    """Attention, normalisation with what is added before it, GELU: each as one operator of ONNX Runtime's own."""
    model = read_graph(job)
    kinds = {node.op_type for node in model.graph.node}
    if not kinds & _NORMALS or not kinds & {"MatMul", "Gemm"}:
        raise Unsupported("the graph is no transformer: it has no product with a normalisation or GELU beside it")
    with _plainly("fusing this graph"):
        fused = optimize_by_fusion(model, str(job.way.choices["family"]))
        counts = fused.get_fused_operator_statistics()
    there = {kind: count for kind, count in counts.items() if count and kind not in kinds}
    if not there:
        raise Unsupported("nothing was fused: the graph is not written as the exporters write it that ONNX Runtime's fusion knows")
    model = fused.model
    tidy(model)
    said = ", ".join(f"{kind} x{count}" for kind, count in there.items())
    return _made(job, write_graph(model, Path(job.folder)), f"fused: {said}")


def ort_format(job: PassJob) -> Made:
    """ONNX Runtime's own format, optimised ahead of time, and the list of operators for a build of it that has no others."""
    if job.variant.files[0].endswith(ORT_SUFFIX):
        raise Unsupported("the variant is in ONNX Runtime's format already")
    out = Path(job.folder) / _ORT_FILE
    options = {name: value for name, value in job.variant.options.items() if name != "graph_optimization_level"}

    def saving(session: Any) -> None:
        session.optimized_model_filepath = str(out)
        session.add_session_config_entry("session.save_model_format", "ORT")

    variant: Variant = msgspec.structs.replace(job.variant, options={**options, "graph_optimization_level": job.way.choices["level"]})
    open_native(variant, lambda file: Path(job.files[file]), session_threads=1, prepare=saving)
    operators = Path(job.folder) / _OPERATORS
    with _plainly("listing the operators"):
        create_config_from_models([out], operators, enable_type_reduction=True)
    lines = [line for line in operators.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    operators.write_text("\n".join([*lines, ""]), encoding="utf-8")  # without the comment, which names folders of this machine
    count = sum(len(_TYPES.sub("", line).split(";")[2].split(",")) for line in lines if line.count(";") >= 2)
    return Made(
        runtime=job.variant.runtime,
        precision=job.variant.precision,
        files={_ORT_FILE: str(out), _OPERATORS: str(operators)},
        options={**options, "graph_optimization_level": "disabled"},
        environment=job.variant.environment,
        notes=(f"{_OPERATORS} lists what a reduced build of ONNX Runtime needs: {count} operators",),
    )


def _held(model: Any) -> int:
    return sum(map(tensor_bytes, model.graph.initializer))


def _made(job: PassJob, files: dict[str, str], note: str) -> Made:
    return Made(
        runtime=job.variant.runtime,
        precision=job.variant.precision,
        files=files,
        options=job.variant.options,
        environment=job.variant.environment,
        notes=(note,),
    )


@contextlib.contextmanager
def _plainly(what: str) -> Iterator[None]:
    """These libraries raise whatever they meet; a graph that they do not know is no fault of the pass."""
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    except AweighError:
        raise
    except Exception as error:
        raise Unsupported(f"{what} fails: {type(error).__name__}: {str(error)[:300]}") from error

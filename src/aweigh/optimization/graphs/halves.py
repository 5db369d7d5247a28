"""Floats of sixteen bits: which operators stay in float32 is found by their error, those whose numbers overflow first of all."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from aweigh.core.errors import Unsupported
from aweigh.optimization.graphs.asking import feeds, read_rows
from aweigh.optimization.graphs.eight import mixed_files, plainly
from aweigh.optimization.graphs.files import read_graph, write_graph
from aweigh.optimization.graphs.shapes import prepared
from aweigh.optimization.passing import Made, PassJob

_LARGEST: Final = 6e4
"""Just below what a float of sixteen bits ends at."""
_SENTINEL: Final = 1e30
"""Beyond it stands no number but a mask, which may be cut to what there is."""
_OVERFLOW_ROWS: Final = 32
_PLACE: Final = re.compile(r"^.*?(?:Load model from \S+ failed:|NOT_IMPLEMENTED : |FAIL : )")
"""What ONNX Runtime says before the reason: a number, and the file's place on disk."""
_OUTPUTS_AT_ONCE: Final = 40


def half(job: PassJob) -> Made:
    """FP16 weights and computation, with float32 at the ends."""
    work = Path(job.folder) / "work"
    source = prepared(read_graph(job), work)
    graph = onnx.load(str(source)).graph
    nodes = [node.name for node in graph.node if node.op_type not in DEFAULT_OP_BLOCK_LIST]
    if not any(weight.data_type == onnx.TensorProto.FLOAT for weight in graph.initializer):
        raise Unsupported("the graph has no weights of float32")
    with plainly("asking for the numbers inside"):
        large = _overflowing(job, source) if job.calibration else []
    free = [name for name in nodes if name not in large]

    def build(kept: frozenset[str]) -> dict[str, str]:
        with plainly("conversion to half precision"):
            model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True, node_block_list=sorted({*kept, *large}))
        return write_graph(model, Path(job.folder))

    files, notes = mixed_files(job, build, free, "operators")
    told = (
        (f"{len(large)} operators stayed in float because their numbers overflow half precision: {', '.join(large[:6])}",) if large else ()
    )
    return _made(job, files, "float16", (*told, *notes))


def _overflowing(job: PassJob, source: Path) -> list[str]:
    """Operators that give numbers beyond half precision on the calibration rows."""
    model = onnx.load(str(source))
    given = {name for node in model.graph.node for name in node.output}  # shapes of tensors that were optimised away are told too
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    floats = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT and name in given]
    rows = read_rows(job).some(_OVERFLOW_ROWS)
    parts = feeds(job, source, rows)
    large: set[str] = set()
    for start in range(0, len(floats), _OUTPUTS_AT_ONCE):
        names = floats[start : start + _OUTPUTS_AT_ONCE]
        asked = _asking_for(model, names)
        for part in parts:
            for name, array in zip(names, asked.run(names, part), strict=True):
                finite = np.abs(array[np.isfinite(array)])
                if ((finite > _LARGEST) & (finite < _SENTINEL)).any():
                    large.add(name)
    return [node.name for node in model.graph.node if large.intersection(node.output)]


def _asking_for(model: Any, names: Sequence[str]) -> Any:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    there = {output.name for output in exposed.graph.output}
    exposed.graph.output.extend([value for value in model.graph.value_info if value.name in names and value.name not in there])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def brain(job: PassJob) -> Made:
    """BF16 all through. Raises Unsupported with what ONNX Runtime says where it has no kernels for it."""
    model = read_graph(job)
    originals = {
        weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT
    }
    if not originals:
        raise Unsupported("the graph has no weights of float32")
    source = prepared(model, Path(job.folder) / "work")
    ready = onnx.load(str(source))
    originals |= {
        weight.name: onnx.numpy_helper.to_array(weight) for weight in ready.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT
    }
    with plainly("conversion to bfloat16"):
        lowered = convert_float_to_float16(ready, keep_io_types=True)
    _as_brain(lowered, originals)
    files = write_graph(lowered, Path(job.folder))
    providers = str(job.way.choices.get("providers", "cpu"))
    if providers == "cpu":
        _runs_here(next(iter(files.values())))
    options = job.variant.options if providers == "cpu" else {**job.variant.options, "providers": providers}
    return _made(job, files, "bfloat16", (), options)


def _as_brain(model: Any, originals: dict[str, Any]) -> None:
    """Turn every float16 into bfloat16, weights from their float32 originals."""
    half_type, brain_type = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    for weight in model.graph.initializer:
        if weight.data_type == half_type:
            array = originals.get(weight.name, onnx.numpy_helper.to_array(weight))
            shape = list(weight.dims)
            weight.CopyFrom(onnx.helper.make_tensor(weight.name, brain_type, shape, _brain_bytes(array), raw=True))
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == half_type:
            value.type.tensor_type.elem_type = brain_type
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {"to", "dtype"} and attribute.i == half_type:
                attribute.i = brain_type


def _brain_bytes(array: Any) -> bytes:
    """The upper halves of floats of 32 bits, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4").astype(np.uint64)
    return bytes(((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype("<u2").tobytes())


def _runs_here(path: str) -> None:
    try:
        ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        said = _PLACE.sub("", str(error))[:200]
        raise Unsupported(f"ONNX Runtime {ort.__version__} cannot run this graph in bfloat16 on a processor: {said}") from error


def _made(job: PassJob, files: dict[str, str], precision: str, notes: Sequence[str], options: Any = None) -> Made:
    return Made(
        runtime="onnxruntime",
        precision=precision,
        files=files,
        options=job.variant.options if options is None else options,
        environment=job.variant.environment,
        notes=tuple(notes),
    )

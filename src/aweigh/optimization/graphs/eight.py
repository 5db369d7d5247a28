"""INT8 by ONNX Runtime's quantisers, dynamic and static, with the layers that hurt left in float."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_dynamic,
    quantize_static,
    save_tensors_data,
)

from aweigh.core.errors import AweighError, Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.graphs.asking import Rows, answers, feeds, found, read_rows
from aweigh.optimization.graphs.files import NAME, read_graph, tensor_bytes, weights_of, write_graph, written
from aweigh.optimization.graphs.products import gemm_to_matmul, weighted_nodes
from aweigh.optimization.graphs.sensitivity import Found, mix, told
from aweigh.optimization.graphs.shapes import prepared
from aweigh.optimization.passing import Made, PassJob

_DYNAMIC: Final = ("MatMul", "Gemm", "Gather", "Attention", "LSTM", "EmbedLayerNormalization")
_DYNAMIC_PRODUCTS: Final = ("MatMul", "Attention", "LSTM")
_AROUND_CONVOLUTIONS: Final = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad",
    "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""In a network of convolutions everything between two of them, so that numbers stay of eight bits on their way."""
_PRODUCTS: Final = ("Gemm", "MatMul")
"""Elsewhere the products alone: normalisation and softmax lose more than they win."""
_LEAST_PART: Final = 0.1
"""Of the weights of convolutions, what products must weigh."""
_CALIBRATED_ROWS: Final = 256
_ASKED_ROWS: Final = 512
_RANKED_ROWS: Final = 64
_RANKING_PART: Final = 0.35
"""Of the pass's time, what finding the worst layers may take."""
_METHODS: Final = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy, "percentile": CalibrationMethod.Percentile}

Build = Callable[[frozenset[str]], dict[str, str]]
"""Write the model with these nodes in float; gives its files."""


def dynamic(job: PassJob) -> Made:
    """Weights of eight bits; the range of activations is found in each call."""
    work = Path(job.folder) / "work"
    model = onnx.load(str(prepared(read_graph(job), work)))
    gemm_to_matmul(model)  # the quantiser does so too, under other names
    nodes = weighted_nodes(model.graph, _DYNAMIC_PRODUCTS)
    if not nodes:
        raise Unsupported("the graph has no product of a matrix with weights, which is all that dynamic INT8 makes faster")
    _worth_it(model.graph)
    source = write_graph(model, work)[NAME]
    said = job.way.choices

    def build(kept: frozenset[str]) -> dict[str, str]:
        out = Path(job.folder) / NAME
        with plainly("dynamic quantisation"):
            quantize_dynamic(
                source,
                out,
                op_types_to_quantize=list(_DYNAMIC),
                per_channel=bool(said["per_channel"]),
                reduce_range=bool(said["reduce_range"]),
                weight_type=QuantType.QInt8 if said["weights"] == "int8" else QuantType.QUInt8,
                nodes_to_exclude=sorted(kept),
            )
        return written(out)

    return _made(job, build, nodes, "products")


def _worth_it(graph: Any) -> None:
    """Raise Unsupported for a network of convolutions with a small head: its time is not in products."""
    weights = weights_of(graph)
    sizes = {
        kind: sum(tensor_bytes(weights[node.input[1]]) for node in graph.node if node.op_type == kind and node.input[1] in weights)
        for kind in ("Conv", "MatMul")
    }
    if sizes["MatMul"] < _LEAST_PART * sizes["Conv"]:
        raise Unsupported(
            "nearly all weights are in convolutions, which dynamic INT8 would make many times slower: static INT8 is for these"
        )


def static(job: PassJob) -> Made:
    """Weights and activations of eight bits, with ranges that the calibration rows showed."""
    rows = read_rows(job)
    model = read_graph(job)
    if not weighted_nodes(model.graph):
        raise Unsupported("the graph has no convolution and no product of a matrix with weights")
    work = Path(job.folder) / "work"
    source = prepared(model, work)
    graph = onnx.load(str(source), load_external_data=False).graph
    nodes = weighted_nodes(graph)
    kinds = _AROUND_CONVOLUTIONS if any(node.op_type == "Conv" for node in graph.node) else _PRODUCTS
    ranges = _calibrated(job, source, kinds, rows, work)
    said = job.way.choices

    def build(kept: frozenset[str]) -> dict[str, str]:
        out = Path(job.folder) / NAME
        with plainly("static quantisation"):
            quantize_static(
                source,
                out,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(kinds),
                per_channel=bool(said["per_channel"]),
                reduce_range=bool(said["reduce_range"]),
                activation_type=QuantType.QInt8 if said["activations"] == "int8" else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(kept),
                calibrate_method=_METHODS[str(said["method"])],
                calibration_cache_path=ranges,
                extra_options={"MatMulConstBOnly": True},
            )
        return written(out)

    return _made(job, build, nodes, "layers")


def _calibrated(job: PassJob, source: Path, kinds: Sequence[str], rows: Rows, work: Path) -> Path:
    """The ranges that inner tensors take, kept in a file: found once, whatever stays in float later. A few rows at a time, which bounds memory."""
    method = _METHODS[str(job.way.choices["method"])]
    place = work / "ranges.json"
    with plainly("calibration"):
        calibrator = create_calibrator(source, list(kinds), augmented_model_path=str(work / "augmented.onnx"), calibrate_method=method)
        for part in feeds(job, source, rows.some(_CALIBRATED_ROWS)):
            calibrator.collect_data(_OnePart(part))
        save_tensors_data(calibrator.compute_data(), place)
    _finite(place)
    return place


class _OnePart(CalibrationDataReader):  # type: ignore[misc]  # untyped library
    """One portion of rows, once."""

    def __init__(self, part: dict[str, Tensor]) -> None:
        self._left: dict[str, Tensor] | None = part

    def get_next(self) -> dict[str, Tensor] | None:
        part, self._left = self._left, None
        return part


def _finite(ranges: Path) -> None:
    """Raise Unsupported where a tensor's range has no end: eight bits cannot hold it."""
    if any(word in ranges.read_text(encoding="utf-8") for word in ("Infinity", "NaN")):
        raise Unsupported(
            "an inner tensor takes infinite values on the calibration rows (an attention mask, most likely), which eight bits cannot hold"
        )


@contextlib.contextmanager
def plainly(what: str) -> Iterator[None]:
    """Quantisers raise whatever they meet; a graph that they do not know is no fault of the pass."""
    logging.getLogger().setLevel(logging.ERROR)  # they advise on what has been done already, through the root logger
    try:
        yield
    except AweighError:
        raise
    except Exception as error:
        raise Unsupported(f"{what} of this graph fails in ONNX Runtime: {type(error).__name__}: {str(error)[:300]}") from error


def _made(job: PassJob, build: Build, nodes: Sequence[str], what: str) -> Made:
    files, notes = mixed_files(job, build, nodes, what)
    return Made(
        runtime="onnxruntime",
        precision="int8",
        files=files,
        options=job.variant.options,
        environment=job.variant.environment,
        notes=notes,
    )


def mixed_files(job: PassJob, build: Build, nodes: Sequence[str], what: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The model with as many nodes lowered as the calibration rows allow; with all where there are no rows. And what to tell of it."""
    if not job.calibration:
        return build(frozenset()), (f"{len(nodes)} {what} in few bits; without calibration rows none was found that hurts",)
    rows = read_rows(job).some(_ASKED_ROWS)
    few = rows.some(_RANKED_ROWS)
    end = monotonic() + job.time_s * _RANKING_PART

    def ask(kept: frozenset[str], rows: Rows) -> Found:
        return found(job, rows, answers(job, build(kept), rows))

    mixed = mix(nodes, lambda kept: ask(kept, rows), lambda kept: ask(kept, few).error, job.agreement, lambda: monotonic() > end)
    return build(frozenset(mixed.kept)), told(mixed, nodes, what)

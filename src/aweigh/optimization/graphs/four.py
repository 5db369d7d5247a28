"""INT4 weights in blocks, each with a scale and a zero of its own: products unpack them as they go. For size; what hurts stays in float."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

from onnxruntime.quantization import QuantType, quantize_dynamic

from aweigh.core.errors import Unsupported
from aweigh.optimization.graphs.eight import mixed_files, plainly
from aweigh.optimization.graphs.files import array_of, drop_unused, read_graph, weights_of, write_graph, written
from aweigh.optimization.graphs.products import gemm_to_matmul
from aweigh.optimization.graphs.shapes import prepared
from aweigh.optimization.passing import Made, PassJob

_LEAST_TABLE: Final = 4096
"""Numbers in a table of embeddings that is worth the trouble."""
_DOMAIN: Final = "com.microsoft"
_LEVELS: Final = 15
_SHRUNK: Final = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Parts of a block's range that are tried: to cut an outlier off may cost less than coarse steps for all others."""

Packed = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]


def four_bits(job: PassJob) -> Made:
    """Products' weights of four bits, tables of embeddings of eight."""
    work = Path(job.folder) / "work"
    model = onnx.load(str(prepared(read_graph(job), work)))
    rewritten = gemm_to_matmul(model)
    block, level = int(job.way.choices["block"]), int(job.way.choices["accuracy_level"])
    nodes = _deep_enough(model.graph, block)
    if not nodes:
        raise Unsupported(f"no product of a matrix has float32 weights that are {block} numbers deep, of which blocks could be made")
    tables = _tables(model.graph)
    if tables:
        model = _smaller_tables(model, tables, work)
    weights = weights_of(model.graph)
    packed = {node.name: pack(array_of(weights[node.input[1]]), block) for node in model.graph.node if node.name in set(nodes)}

    def build(kept: frozenset[str]) -> dict[str, str]:
        lowered = onnx.ModelProto()
        lowered.CopyFrom(model)
        _replace(lowered, {name: each for name, each in packed.items() if name not in kept}, block, level)
        return write_graph(lowered, Path(job.folder))

    files, notes = mixed_files(job, build, nodes, "products")
    return Made(
        runtime="onnxruntime",
        precision="int4",
        files=files,
        options=job.variant.options,
        environment=job.variant.environment,
        notes=(*notes, *_told(rewritten, len(tables))),
    )


def pack(matrix: NDArray[np.float32], block: int) -> Packed:
    """A matrix [depth, width] as MatMulNBits wants it: four bits [width, blocks, block / 2], scales [width x blocks], zeros [width x half the blocks]."""
    depth, width = matrix.shape
    blocks = -(-depth // block)
    padded = np.zeros((width, blocks * block), dtype=np.float32)
    padded[:, :depth] = matrix.T
    numbers = padded.reshape(width, blocks, block)
    best, scales, zeros, least = (
        np.zeros(numbers.shape, np.uint8),
        np.ones((width, blocks), np.float32),
        np.zeros((width, blocks), np.uint8),
        None,
    )
    for part in _SHRUNK:
        low, high = np.minimum(numbers.min(axis=2), 0) * part, np.maximum(numbers.max(axis=2), 0) * part
        scale = np.where(high > low, (high - low) / _LEVELS, 1).astype(np.float32)
        zero = np.clip(np.round(-low / scale), 0, _LEVELS)
        steps = np.clip(np.round(numbers / scale[..., None]) + zero[..., None], 0, _LEVELS)
        error = (((steps - zero[..., None]) * scale[..., None] - numbers) ** 2).sum(axis=2)
        better = np.ones_like(error, dtype=np.bool_) if least is None else error < least
        least = error if least is None else np.where(better, error, least)
        best[better], scales[better], zeros[better] = steps[better], scale[better], zero[better]
    return _in_pairs(best), scales.reshape(-1), _in_pairs(zeros).reshape(-1)


def _in_pairs(fours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two to a byte along the last axis, the first in the lower half."""
    if fours.shape[-1] % 2:
        fours = np.concatenate([fours, np.zeros((*fours.shape[:-1], 1), np.uint8)], axis=-1)
    return np.asarray(fours[..., 0::2] | (fours[..., 1::2] << 4), dtype=np.uint8)


def _replace(model: Any, packed: Mapping[str, Packed], block: int, level: int) -> None:
    graph, gone = model.graph, []
    sizes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for node in graph.node:
        if node.name not in packed:
            continue
        weight = node.input[1]
        depth, width = sizes[weight]
        names = [f"{node.name}.{part}" for part in ("four", "scales", "zeros")]
        for name, array in zip(names, packed[node.name], strict=True):
            graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        product = helper.make_node("MatMulNBits", [node.input[0], *names], list(node.output), name=node.name, domain=_DOMAIN)
        said = {"K": depth, "N": width, "bits": 4, "block_size": block, "accuracy_level": level}
        product.attribute.extend([helper.make_attribute(key, value) for key, value in said.items()])
        node.CopyFrom(product)
        gone.append(weight)
    drop_unused(graph, gone)
    if not any(each.domain == _DOMAIN for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))


def _told(rewritten: int, tables: int) -> list[str]:
    notes = [f"{rewritten} Gemm were written as MatMul and Add first"] if rewritten else []
    return [*notes, f"{tables} tables of embeddings have eight bits"] if tables else notes


def _deep_enough(graph: Any, block: int) -> list[str]:
    weights = weights_of(graph)
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul"
        and (weight := weights.get(node.input[1])) is not None
        and weight.data_type == onnx.TensorProto.FLOAT
        and len(weight.dims) == 2
        and weight.dims[0] >= block
    ]


def _tables(graph: Any) -> list[str]:
    """Lookups in weights of float32."""
    weights = weights_of(graph)
    return [
        node.name
        for node in graph.node
        if node.op_type == "Gather"
        and (table := weights.get(node.input[0])) is not None
        and table.data_type == onnx.TensorProto.FLOAT
        and int(np.prod(list(table.dims))) >= _LEAST_TABLE
    ]


def _smaller_tables(model: Any, tables: list[str], work: Path) -> Any:
    source, out = write_graph(model, work, "tables.onnx")["tables.onnx"], work / "smaller.onnx"
    with plainly("quantising tables of embeddings"):
        quantize_dynamic(source, out, op_types_to_quantize=["Gather"], weight_type=QuantType.QUInt8, nodes_to_quantize=tables)
    return onnx.load(written(out)[out.name])

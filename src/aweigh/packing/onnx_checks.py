"""Judges an ONNX model before anything executes it: tensors, external data, operator domains, then onnx's own full check.

Called by `frameworks/onnx.py` inside a child with capped memory, where a graph that explodes while shapes are inferred dies alone.
External data must be plain files beside the model: no other place, no link, no device, nothing beyond their end.
"""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto

from aweigh.core.errors import FileMissing, InvalidFile, Unsupported

_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_BITS: Final = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.BFLOAT16: 16,
}
_MAX_DEPTH: Final = 32
_MAX_ELEMENTS: Final = 2**40


def check_model(model: Any, folder: Path | None) -> list[str]:
    """Judge the model's parts; the locations of its external data, each once. `folder` is where they lie, None for a live model."""
    own = {(function.domain, function.name) for function in model.functions}
    locations: dict[str, None] = {}
    for graph in _graphs(model):
        for node in graph.node:
            if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
                raise Unsupported(
                    f"the model uses operator '{node.op_type}' of the domain '{node.domain}', which is no standard one",
                    hint="export the model with standard operators; custom operators need native code that aweigh does not load",
                    operator=f"{node.domain}:{node.op_type}",
                )
    for tensor in _tensors(model):
        _check_shape(tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            locations[_check_external(tensor, folder)] = None
        elif tensor.HasField("raw_data"):
            _check_raw(tensor)
    return list(locations)


def full_check(model: Any, path: Path | None) -> None:
    """onnx's own checker with shape inference. Raises InvalidFile."""
    try:
        onnx.checker.check_model(str(path) if path else model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError, TypeError) as error:
        raise InvalidFile(f"not a valid ONNX model: {str(error)[:400]}", hint="export it again; onnx.checker refuses it") from error


def _graphs(model: Any) -> Iterator[Any]:
    """Every graph and function body of the model."""
    waiting = [(model.graph, 0), *((function, 0) for function in model.functions)]
    while waiting:
        graph, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise InvalidFile(f"graphs are nested more than {_MAX_DEPTH} deep", hint="no exporter writes such a model")
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append((attribute.g, depth + 1))
                waiting += [(inner, depth + 1) for inner in attribute.graphs]


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        if getattr(graph, "sparse_initializer", ()):
            raise Unsupported("the model has sparse initializers", hint="export it with dense weights")
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                    raise Unsupported(f"node '{node.name}' has a sparse tensor", hint="export it with dense weights")
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_shape(tensor: Any) -> None:
    if any(size < 0 for size in tensor.dims):
        raise InvalidFile(f"tensor '{tensor.name}' has the negative dimension {min(tensor.dims)}", hint="the file is damaged")
    if math.prod(tensor.dims) > _MAX_ELEMENTS:
        raise InvalidFile(f"tensor '{tensor.name}' claims {math.prod(tensor.dims)} elements", hint="the file is damaged")


def _check_raw(tensor: Any) -> None:
    bits = _BITS.get(tensor.data_type)
    if bits and len(tensor.raw_data) != math.prod(tensor.dims) * bits // 8:
        raise InvalidFile(
            f"tensor '{tensor.name}' holds {len(tensor.raw_data)} bytes, its shape {list(tensor.dims)} needs "
            f"{math.prod(tensor.dims) * bits // 8}",
            hint="the file is damaged",
        )


def _check_external(tensor: Any, folder: Path | None) -> str:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = str(entries.get("location", ""))
    if folder is None:
        raise InvalidFile(
            f"tensor '{tensor.name}' lies in the external file {location!r}", hint="pack the .onnx file with its data beside it, by path"
        )
    size = _size_of(tensor.name, location, folder)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
    except ValueError as error:
        raise InvalidFile(f"tensor '{tensor.name}': external offset or length is no number", hint="export the model again") from error
    bits = _BITS.get(tensor.data_type)
    wanted = math.prod(tensor.dims) * bits // 8 if bits else length
    length = wanted if length == -1 else length
    if offset < 0 or length < 0 or offset + length > size or (wanted != length and bits):
        raise InvalidFile(
            f"tensor '{tensor.name}' claims bytes {offset} to {offset + length} of {location!r}, which has {size}; its shape needs {wanted}",
            hint="the data file is truncated or belongs to another model",
        )
    return location


def _size_of(name: str, location: str, folder: Path) -> int:
    """Size of an external file, every step of its path looked at without following a link. Raises InvalidFile, FileMissing."""
    parts = location.split("/")
    plain = location and "\\" not in location and "\x00" not in location and ":" not in location and not location.startswith("/")
    if not plain or any(part in {"", ".", ".."} for part in parts):
        raise InvalidFile(f"tensor '{name}' lies at {location[:200]!r}, which is no plain path beside the model", hint="export it again")
    place = folder
    for at, part in enumerate(parts):
        place = place / part
        try:
            status = os.lstat(place)
        except OSError as error:
            raise FileMissing(
                f"the model's data file {location[:200]!r} is not beside it", hint="keep the data file with the .onnx"
            ) from error
        wanted = stat.S_ISREG if at == len(parts) - 1 else stat.S_ISDIR
        if not wanted(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1):
            raise InvalidFile(
                f"the model's data file {location[:200]!r} is a link or no plain file", hint="put a plain copy of the data beside the model"
            )
    return status.st_size

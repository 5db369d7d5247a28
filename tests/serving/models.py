"""Small ONNX models for servers under test: `linear` at once, `dear` after some milliseconds, `words` with text."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING
WEIGHTS = np.array([[1, 0, -1], [2, 1, 0], [0, 3, 1], [1, 1, 1]], dtype=np.float32)


def _save(folder: Path, name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    path = folder / f"{name}.onnx"
    onnx.save(made, path)
    return path


def linear(folder: Path) -> Path:
    """scores = X · W and the place of the largest."""
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", FLOAT, ["n", 4])]
    outputs = [
        helper.make_tensor_value_info("best", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("scores", FLOAT, ["n", 3]),
    ]
    return _save(folder, "linear", nodes, inputs, outputs, [numpy_helper.from_array(WEIGHTS, "W")])


def dear(folder: Path) -> Path:
    """Y = X, after a matrix product of some ten milliseconds that no optimiser can leave out."""
    side = np.full((600, 600), 1e-3, dtype=np.float32)
    nodes = [
        helper.make_node("Shape", ["X"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sizes"], to=FLOAT),
        helper.make_node("ReduceSum", ["sizes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["side", "nothing"], ["left"]),
        helper.make_node("MatMul", ["left", "side"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["still_nothing"]),
        helper.make_node("Add", ["X", "still_nothing"], ["Y"]),
    ]
    values = [helper.make_tensor_value_info(name, FLOAT, ["n", 4]) for name in ("X", "Y")]
    constants = [numpy_helper.from_array(side, "side"), numpy_helper.from_array(np.float32(0), "zero")]
    return _save(folder, "dear", nodes, values[:1], values[1:], constants)


def words(folder: Path) -> Path:
    """Text comes back as it is."""
    values = [helper.make_tensor_value_info(name, TEXT, ["n", 1]) for name in ("text", "same")]
    return _save(folder, "words", [helper.make_node("Identity", ["text"], ["same"])], values[:1], values[1:], [])

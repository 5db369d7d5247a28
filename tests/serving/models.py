"""Small ONNX models for servers under test: `linear` at once, `dear` after some milliseconds, `words` with text, `lasting` for seconds where asked."""

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


def linear(folder: Path, weights: np.ndarray = WEIGHTS) -> Path:
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
    return _save(folder, "linear", nodes, inputs, outputs, [numpy_helper.from_array(weights, "W")])


def dear(folder: Path, *, name: str = "dear", size: int = 600) -> Path:
    """Y = X, after a matrix product of some ten milliseconds that no optimiser can leave out; of `size` rows and columns."""
    side = np.full((size, size), 1e-3, dtype=np.float32)
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
    return _save(folder, name, nodes, values[:1], values[1:], constants)


def words(folder: Path) -> Path:
    """Text comes back as it is."""
    values = [helper.make_tensor_value_info(name, TEXT, ["n", 1]) for name in ("text", "same")]
    return _save(folder, "words", [helper.make_node("Identity", ["text"], ["same"])], values[:1], values[1:], [])


def encoder(folder: Path, *, masked: bool = True, positions: int = 64, name: str = "") -> Path:
    """A small transformer: an answer per token, and the mean of the tokens that the mask keeps. Without mask what is filled up counts as well."""
    random, width, heads, words = np.random.default_rng(3), 8, 2, 50
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(constants)}"))
        return str(constants[-1].name)

    def weight(*shape: int) -> str:
        return constant((random.standard_normal(shape) * 0.4).astype(np.float32))

    def op(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        made = output or f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [made], **attributes))
        return made

    def split(tensor: str, perm: list[int]) -> str:
        return op("Transpose", op("Reshape", tensor, constant(np.array([0, 0, heads, width // heads]))), perm=perm)

    length = op("Gather", op("Shape", "ids"), constant(np.array([1])))
    place = op("Slice", weight(positions, width), constant(np.array([0])), length, constant(np.array([0])))
    tokens = op("Add", op("Gather", weight(words, width), "ids"), place)
    query, key, value = (op("MatMul", tokens, weight(width, width)) for _ in range(3))
    scores = op("MatMul", split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
    one, axis = constant(np.float32(1)), constant(np.array([1]))
    mask = op("Cast", "mask", to=FLOAT) if masked else ""
    if masked:
        hidden = op("Mul", op("Sub", mask, one), constant(np.float32(1e4)))
        scores = op("Add", scores, op("Unsqueeze", hidden, constant(np.array([1, 2]))))
    mixed = op("Transpose", op("MatMul", op("Softmax", scores, axis=-1), split(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    mixed = op("Reshape", mixed, constant(np.array([0, 0, width])))
    hidden = op("LayerNormalization", op("Add", tokens, mixed), constant(np.ones(width, np.float32)), axis=-1)
    tokens = op("MatMul", hidden, weight(width, width), output="tokens")
    if masked:
        kept = op("Unsqueeze", mask, constant(np.array([2])))
        total = op("ReduceSum", op("Mul", tokens, kept), axis, keepdims=0)
        op("Div", total, op("Max", op("ReduceSum", mask, axis, keepdims=1), one), output="embedding")
    else:
        op("ReduceMean", tokens, output="embedding", axes=[1], keepdims=0)
    inputs = [helper.make_tensor_value_info(each, TensorProto.INT64, ["batch", "sequence"]) for each in ("ids", "mask")[: 1 + masked]]
    outputs = [
        helper.make_tensor_value_info("tokens", FLOAT, ["batch", "sequence", width]),
        helper.make_tensor_value_info("embedding", FLOAT, ["batch", width]),
    ]
    return _save(folder, name or ("encoder" if masked else "unmasked"), nodes, inputs, outputs, constants)


def lasting(folder: Path, *, turns: int = 10_000) -> Path:
    """Y = X; after some seconds where X holds 7777, a millisecond or less for each of the turns, and at once elsewhere."""
    side = np.full((300, 300), 1e-3, dtype=np.float32)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("MatMul", ["before", "side"], ["after"])],
        "turn",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("before", FLOAT, [300, 300])],
        [value("on", TensorProto.BOOL, []), value("after", FLOAT, [300, 300])],
        [numpy_helper.from_array(side, "side")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["X"], ["most"], keepdims=0),
        helper.make_node("Equal", ["most", "asked"], ["lasts"]),
        helper.make_node("Where", ["lasts", "many", "none"], ["turns"]),
        helper.make_node("Loop", ["turns", "", "start"], ["product"], body=body),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["X", "nothing"], ["Y"]),
    ]
    values = [value(name, FLOAT, ["n", 1]) for name in ("X", "Y")]
    numbers = {"zero": np.float32(0), "asked": np.float32(7777), "many": np.int64(turns), "none": np.int64(0)}
    constants = [numpy_helper.from_array(side, "start"), *(numpy_helper.from_array(number, name) for name, number in numbers.items())]
    return _save(folder, "lasting", nodes, values[:1], values[1:], constants)


def table(folder: Path) -> Path:
    """Y = the X-th of eight numbers. A row beyond them fails, and with it every call that holds it."""
    values = [
        helper.make_tensor_value_info("X", TensorProto.INT64, ["n", 1]),
        helper.make_tensor_value_info("Y", FLOAT, ["n", 1]),
    ]
    numbers = numpy_helper.from_array(np.arange(8, dtype=np.float32) * 1.5, "numbers")
    return _save(folder, "table", [helper.make_node("Gather", ["numbers", "X"], ["Y"])], values[:1], values[1:], [numbers])

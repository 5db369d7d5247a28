"""Rounded layers in ONNX as ONNX Runtime computes them in eight bits: weights and biases as integers. Needs onnx."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

_LAYERS: Final = frozenset({"Conv", "Gemm"})
_BIAS: Final = 2
_MATRIX: Final = 2
"""Axes."""
_MOVES: Final = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool"})
"""What leaves integers what they are."""
_CHANNEL: Final = {"Conv": 0, "Gemm": 1, "MatMul": 1}
"""The axis of the output channels of their weights."""
_LARGEST: Final = 127
_OFF: Final = 0.02
"""Of a step: as far as a weight may be from a whole one after what was multiplied into it."""


def whole_biases(file: Path) -> int:
    """Write the biases of rounded layers as integers, in place; how many. ONNX Runtime computes a layer in eight bits only where its bias is one."""
    model = onnx.load(str(file))
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    done = 0
    _join_sums(model, constants, makers)
    for node in [each for each in graph.node if each.op_type in _LAYERS and len(each.input) > _BIAS and each.input[_BIAS] in constants]:
        scales = [_scale(name, makers, constants) for name in node.input[:_BIAS]]
        bias = constants[node.input[_BIAS]]
        if scales[0] is None or scales[1] is None or bias.dtype != np.float32 or bias.ndim != 1:
            continue
        scale = np.broadcast_to(scales[0] * scales[1], bias.shape).astype(np.float32)
        limit = np.iinfo(np.int32).max
        name = f"{node.input[_BIAS]}/{done}"
        whole = np.clip(np.rint(bias.astype(np.float64) / scale), -limit, limit).astype(np.int32)
        graph.initializer.extend([numpy_helper.from_array(whole, f"{name}/whole"), numpy_helper.from_array(scale, f"{name}/scale")])
        graph.node.insert(0, helper.make_node("DequantizeLinear", [f"{name}/whole", f"{name}/scale"], [name], axis=0))
        node.input[_BIAS] = name
        done += 1
    _save(model, file)
    return done


def whole_weights(file: Path) -> int:
    """Write weights that are whole multiples of a step, one step for each output channel, as integers, in place; how many. They are multiplied by what is rounded already."""
    model = onnx.load(str(file))
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    done = 0
    for node in [each for each in graph.node if each.op_type in _CHANNEL and each.input[1] in constants]:
        weight, axis = constants[node.input[1]], _CHANNEL[node.op_type]
        if node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute):
            axis = 0
        made = _integers(weight, axis)
        if made is None:
            continue
        name = f"{node.input[1]}/{done}"
        whole, step = made
        graph.initializer.extend([numpy_helper.from_array(whole, f"{name}/whole"), numpy_helper.from_array(step, f"{name}/step")])
        graph.initializer.append(numpy_helper.from_array(np.zeros(len(step), np.int8), f"{name}/zero"))
        graph.node.insert(0, helper.make_node("DequantizeLinear", [f"{name}/whole", f"{name}/step", f"{name}/zero"], [name], axis=axis))
        node.input[1] = name
        done += 1
    _save(model, file)
    return done


def _integers(weight: Any, axis: int) -> tuple[Any, Any] | None:
    """The multiples and the steps; None where it is no such weight."""
    if weight.dtype != np.float32 or weight.ndim < 2:
        return None
    others = tuple(at for at in range(weight.ndim) if at != axis)
    step = np.abs(weight).max(axis=others, keepdims=True) / _LARGEST
    step = np.where(step > 0, step, 1).astype(np.float32)
    multiples = weight / step
    whole = np.rint(multiples)
    if np.abs(multiples - whole).max() > _OFF:
        return None
    return whole.astype(np.int8), step.ravel()


def _save(model: Any, file: Path) -> None:
    """Without what nothing uses any more."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def _scale(name: str, makers: dict[str, Any], constants: dict[str, Any]) -> Any:
    """What the integers that a value is made of are multiplied by; None where it is not made of integers."""
    node = makers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    return constants.get(node.input[1]) if node is not None and node.op_type == "DequantizeLinear" else None


def _join_sums(model: Any, constants: dict[str, Any], makers: dict[str, Any]) -> None:
    """A product of two rounded matrices and the sum after it, as one Gemm: what has a bias that can be an integer."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    used = Counter(name for node in model.graph.node for name in node.input)
    for add in [each for each in model.graph.node if each.op_type == "Add"]:
        product = next(
            (makers[name] for name in add.input if name in makers and makers[name].op_type == "MatMul" and used[name] == 1), None
        )
        bias = next((name for name in add.input if name in constants and constants[name].ndim == 1), None)
        if product is None or bias is None or any(ranks.get(name, _rank(constants, name)) != _MATRIX for name in product.input):
            continue
        if all(_scale(name, makers, constants) is not None for name in product.input):
            gemm = helper.make_node("Gemm", [*product.input, bias], list(add.output), name=product.name or add.name)
            at = list(model.graph.node).index(add)
            model.graph.node.remove(add)
            model.graph.node.insert(at, gemm)
            model.graph.node.remove(product)


def _rank(constants: dict[str, Any], name: str) -> int:
    return int(constants[name].ndim) if name in constants else 0

"""Writes a tree library's model as ONNX: a graph of its own from named columns, or nodes inside a pipeline's graph. Called by `boosted_pack.py`.

Every step is done in the precision and order of the library: where it adds in float32, so does the graph, tree by tree from the base on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.frameworks.boosted import Boosted, Link
from aweigh.packing.frameworks.forest import attributes
from aweigh.packing.frameworks.onnx_types import ONNX_TYPES

OPSET: Final = 18
ML_OPSET: Final = 5


class Graph(Protocol):
    """Where nodes go: `sklearn_nodes.Nodes` inside skl2onnx, `_Own` for a graph of our own."""

    def add(self, kind: str, inputs: list[str], *, output: str = "", domain: str = "", **attributes: Any) -> str: ...
    def constant(self, array: NDArray[Any]) -> str: ...


class _Own:
    """A graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, kind: str, inputs: list[str], *, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = output or f"inside_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def graph_of(model: Boosted, signature: Signature, categorical: Mapping[int, tuple[str, ...]]) -> ModelProto:
    """The whole graph of a model that is fed the signature's columns; `categorical` are the texts of features that come as categories."""
    graph = _Own()
    source = _matrix(graph, model, signature, {**model.encodings, **categorical})
    chosen = outputs_of(graph, model, source)
    for spec in signature.outputs:
        kind = "label" if spec.role == "label" else "probability" if spec.role == "probability" else "value"
        _door(graph, chosen[kind](), spec)
    made = helper.make_graph(
        graph.nodes,
        "trees",
        [helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.datatype], list(spec.shape)) for spec in signature.inputs],
        [helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.datatype], list(spec.shape)) for spec in signature.outputs],
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9, producer_name="aweigh")


def _door(graph: Graph, source: str, spec: TensorSpec) -> None:
    sizes = [-1, *[axis for axis in spec.shape[1:] if isinstance(axis, int)]]
    shaped = graph.add("Reshape", [source, graph.constant(np.array(sizes, dtype=np.int64))])
    if spec.datatype is Datatype.BYTES:
        graph.add("Identity", [shaped], output=spec.name)
    else:
        graph.add("Cast", [shaped], output=spec.name, to=ONNX_TYPES[spec.datatype])


def _number(model: Boosted) -> int:
    return int(TensorProto.FLOAT if model.narrow else TensorProto.DOUBLE)


def _matrix(graph: Graph, model: Boosted, signature: Signature, categorical: Mapping[int, tuple[str, ...]]) -> str:
    """The signature's columns as one matrix of numbers, categories as their places."""
    to = _number(model)
    if len(signature.inputs) == 1 and signature.inputs[0].shape[1:] == (model.features,) and not categorical:
        if signature.inputs[0].datatype is Datatype.BYTES:
            raise NotImplementedError("a matrix of texts")
        return graph.add("Cast", [signature.inputs[0].name], to=to)
    parts = []
    for feature, column in enumerate(signature.columns):
        spec = signature.input(column.input)
        if feature in categorical:
            parts.append(_place(graph, spec, categorical[feature], to))
        elif spec.datatype is Datatype.BYTES:
            raise NotImplementedError(f"column '{column.name}' holds text, but the model does not say which categories")
        else:
            parts.append(graph.add("Cast", [spec.name], to=to))
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, axis=1)


def _place(graph: Graph, spec: TensorSpec, values: tuple[str, ...], to: int) -> str:
    """The place of each element among `values`, NaN for any other, as the number type `to`."""
    if spec.datatype is Datatype.BYTES:
        marks: dict[str, Any] = {
            "keys_strings": list(values),
            "values_floats": [float(at) for at in range(len(values))],
            "default_float": float("nan"),
        }
        return graph.add("Cast", [graph.add("LabelEncoder", [spec.name], domain="ai.onnx.ml", **marks)], to=to)
    numbers = np.array([_plain(value, spec.datatype) for value in values], dtype=np.float64).reshape(1, -1)
    wide = graph.add("Cast", [spec.name], to=TensorProto.DOUBLE)
    equal = graph.add("Cast", [graph.add("Equal", [wide, graph.constant(numbers)])], to=TensorProto.DOUBLE)
    weights = np.arange(1, numbers.shape[1] + 1, dtype=np.float64).reshape(-1, 1)
    found = graph.add("MatMul", [equal, graph.constant(weights)])  # 1 + place, 0 for none: exact, one term is not zero
    absent = graph.add("Equal", [found, graph.constant(np.array(0.0))])
    place = graph.add("Sub", [found, graph.constant(np.array(1.0))])
    return graph.add("Cast", [graph.add("Where", [absent, graph.constant(np.array(np.nan)), place])], to=to)


def _plain(value: str, datatype: Datatype) -> float:
    """A category as a number of the input's type; NaN, which equals nothing, for one that belongs to another column."""
    if datatype is Datatype.BOOL:
        return float(value.lower() == "true")
    try:
        return float(value)
    except ValueError:
        return float("nan")


def outputs_of(graph: Graph, model: Boosted, matrix: str) -> dict[str, Callable[[], str]]:
    """How to make each kind of output ("value", "probability", "label") from the matrix of numbers; nodes appear as they are asked for."""
    raw = _raw(graph, model, _prepared(graph, model, matrix))
    if not model.labels:
        value = _linked(graph, model, raw)
        return {"value": lambda: value}
    chances = _chances(graph, model, raw)
    return {"probability": lambda: chances, "label": lambda: _label(graph, model, raw, chances)}


def _prepared(graph: Graph, model: Boosted, matrix: str) -> str:
    """What the library does to its inputs before it compares."""
    dtype = np.float32 if model.narrow else np.float64
    nan = graph.constant(np.array(np.nan, dtype=dtype))
    zero = graph.constant(np.array(0.0, dtype=dtype))
    if model.missing == model.missing:
        absent = graph.add("Equal", [matrix, graph.constant(np.array(model.missing, dtype=dtype))])
        matrix = graph.add("Where", [absent, nan, matrix])
    if model.cut_short:
        rounded = graph.add("Floor", [matrix])
        if not model.narrow:  # LightGBM truncates towards zero; XGBoost sends what is negative to the left at once
            below = graph.add("Less", [matrix, zero])
            rounded = graph.add("Where", [below, graph.add("Ceil", [matrix]), rounded])
        matrix = graph.add("Where", [graph.constant(_mask(model.features, model.cut_short)), rounded, matrix])
    if model.zero_up_to or model.zero_missing:
        limit = graph.constant(np.array(model.zero_up_to, dtype=dtype))
        small = graph.add("LessOrEqual", [graph.add("Abs", [matrix]), limit])
        instead = np.where(_mask(model.features, model.zero_missing), np.nan, 0.0).astype(dtype)
        matrix = graph.add("Where", [small, graph.constant(instead), matrix])
    return matrix


def _mask(features: int, chosen: frozenset[int]) -> NDArray[np.bool_]:
    return np.array([[at in chosen for at in range(features)]], dtype=np.bool_)


def _raw(graph: Graph, model: Boosted, matrix: str) -> str:
    wide = matrix if model.single else graph.add("Cast", [matrix], to=TensorProto.DOUBLE)
    raw = graph.add("TreeEnsemble", [wide], domain="ai.onnx.ml", **attributes(model.trees, model.targets, single=model.single))
    dtype = np.float32 if model.single else np.float64
    if model.scale != 1.0:
        raw = graph.add("Mul", [raw, graph.constant(np.array(model.scale, dtype=dtype))])
    if any(model.bias):
        raw = graph.add("Add", [raw, graph.constant(np.array([model.bias], dtype=dtype))])
    return raw


def _linked(graph: Graph, model: Boosted, raw: str) -> str:
    if model.link is Link.IDENTITY:
        return raw
    wide = graph.add("Cast", [raw], to=TensorProto.DOUBLE)
    if model.link is Link.EXP:
        return graph.add("Exp", [wide])
    if model.link is Link.SQUARE:
        return graph.add("Mul", [wide, graph.add("Abs", [wide])])
    if model.link is Link.SOFTPLUS:
        one = graph.constant(np.array(1.0))
        return graph.add("Log", [graph.add("Add", [graph.add("Exp", [wide]), one])])
    if model.link is Link.SOFTMAX:
        return graph.add("Softmax", [wide], axis=1)
    return graph.add("Sigmoid", [_sharp(graph, model, wide)])


def _sharp(graph: Graph, model: Boosted, wide: str) -> str:
    return wide if model.sharpness == 1.0 else graph.add("Mul", [wide, graph.constant(np.array(model.sharpness))])


def _chances(graph: Graph, model: Boosted, raw: str) -> str:
    second = _linked(graph, model, raw)
    if model.targets > 1 or len(model.labels) != 2:
        return second
    if model.single:
        second = graph.add("Cast", [second], to=TensorProto.FLOAT)
    first = graph.add("Sub", [graph.constant(np.array(1.0, dtype=np.float32 if model.single else np.float64)), second])
    return graph.add("Concat", [first, second], axis=1)


def _label(graph: Graph, model: Boosted, raw: str, chances: str) -> str:
    if model.targets == 1:
        kind: Any = np.float32 if model.single else np.float64
        flat = graph.add("Reshape", [raw, graph.constant(np.array([-1], dtype=np.int64))])
        over = graph.add("GreaterOrEqual", [flat, graph.constant(np.array(model.cut, dtype=kind))])
        at = graph.add("Cast", [over], to=TensorProto.INT64)
    else:
        single = graph.add("Cast", [chances], to=TensorProto.FLOAT) if model.single else raw
        at = graph.add("ArgMax", [single], axis=1, keepdims=0)
    if all(isinstance(label, str) for label in model.labels):
        return graph.add("Gather", [graph.constant(np.array(model.labels, dtype=object)), at], axis=0)
    if all(isinstance(label, int) and not isinstance(label, bool) for label in model.labels):
        return graph.add("Gather", [graph.constant(np.array(model.labels, dtype=np.int64)), at], axis=0)
    raise NotImplementedError(f"labels such as {model.labels[0]!r}")

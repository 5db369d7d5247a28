"""Estimators that were fitted on a frame of numbers and take its columns as one matrix, with no transformer that picks them by name. Called by `sklearn_convert`.

skl2onnx refuses several inputs there. So the estimator is converted with one, and the graph gets the columns, put side by side in the frame's order, as
scikit-learn's own validation does.
"""

from typing import Any, Final

from onnx import ModelProto, helper
from sklearn.compose import ColumnTransformer

from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype
from aweigh.packing.frameworks.sklearn_signature import steps_of

JOINED: Final = "aweigh__columns"
"""The matrix's name; no column's, for those are renamed where they have it."""


def takes_joined(estimator: Any, signature: Signature) -> bool:
    """Whether the estimator is fed several columns of numbers that nothing in it tells apart."""
    numbers = all(spec.datatype is not Datatype.BYTES and spec.shape[1:] == (1,) for spec in signature.inputs)
    return len(signature.inputs) > 1 and numbers and not isinstance(steps_of(estimator)[0], ColumnTransformer)


def with_columns(model: ModelProto, signature: Signature) -> ModelProto:
    """The model of one matrix as one of the signature's columns, of the matrix's type."""
    graph = model.graph
    kind = graph.input[0].type.tensor_type.elem_type
    names = [spec.name for spec in signature.inputs]
    _make_free(graph, set(names))
    del graph.input[:]
    graph.input.extend(helper.make_tensor_value_info(name, kind, [None, 1]) for name in names)
    nodes = [helper.make_node("Concat", names, [JOINED], axis=1), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _make_free(graph: Any, names: set[str]) -> None:
    """Rename what the graph inside calls as a column is called; outputs too, which whoever fits the graph finds by their place or their own names."""
    inside = {name for node in graph.node for name in (*node.input, *node.output)} | {tensor.name for tensor in graph.initializer}
    taken = {name: f"{name}__inside_columns" for name in names & inside}
    for node in graph.node:
        for listed in (node.input, node.output):
            for at, name in enumerate(listed):
                listed[at] = taken.get(name, name)
    for tensor in (*graph.initializer, *graph.output):
        tensor.name = taken.get(tensor.name, tensor.name)

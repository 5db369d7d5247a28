"""Nodes for skl2onnx's container, as our own converters write them. Called by `sklearn_trees.py` and `sklearn_columns.py`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def joined(graph: "Nodes", operator: Any, kind: int) -> str:
    """All inputs of an operator as one matrix of the ONNX type `kind`; 0 leaves the type as it is."""
    names = [str(variable.full_name) for variable in operator.inputs]
    cast = [graph.add("Cast", [name], to=kind) for name in names] if kind else names
    return cast[0] if len(cast) == 1 else graph.add("Concat", cast, axis=1)


class Nodes:
    """Adds nodes to skl2onnx's container, with names from its scope."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def add(self, kind: str, inputs: list[str], *, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = output or self._scope.get_unique_variable_name(f"exact_{kind.lower()}")
        node = helper.make_node(kind, inputs, [name], name=self._scope.get_unique_operator_name(kind), domain=domain, **attributes)
        self._container.nodes.append(node)
        self._container.node_domain_version_pair_sets.add((domain, 1 if domain else 18))
        return str(name)

    def constant(self, array: NDArray[Any]) -> str:
        name = str(self._scope.get_unique_variable_name("exact_constant"))
        self._container.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

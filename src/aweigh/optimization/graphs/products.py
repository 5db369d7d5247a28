"""Products of matrices: which nodes are products with weights, and Gemm written as MatMul and Add, which is all that weight-only quantisers know."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import helper, numpy_helper

from aweigh.optimization.graphs.files import array_of, drop_unused, weights_of

WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where nearly all of a network's time and weights are."""


def weighted_nodes(graph: Any, kinds: Sequence[str] = WEIGHTED) -> list[str]:
    """Names, in the graph's order, of nodes of these kinds whose second input is a weight."""
    weights = weights_of(graph)
    return [node.name for node in graph.node if node.op_type in kinds and len(node.input) > 1 and node.input[1] in weights]


def gemm_to_matmul(model: Any) -> int:
    """Rewrite every Gemm whose matrix is a weight; tells how many there were. A weight that others read too is copied, not changed."""
    graph = model.graph
    weights = weights_of(graph)
    nodes: list[Any] = []
    replaced: list[str] = []
    count = 0
    for node in graph.node:
        said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type != "Gemm" or node.input[1] not in weights or said.get("transA", 0):
            nodes.append(node)
            continue
        nodes += _as_product(graph, node, weights, said)
        replaced += node.input[1:]
        count += 1
    if count:
        del graph.node[:]
        graph.node.extend(nodes)
        drop_unused(graph, replaced)
    return count


def _as_product(graph: Any, node: Any, weights: dict[str, Any], said: dict[str, Any]) -> list[Any]:
    matrix = array_of(weights[node.input[1]])
    if said.get("transB", 0):
        matrix = matrix.T
    matrix = np.ascontiguousarray(matrix * np.asarray(said.get("alpha", 1.0), dtype=matrix.dtype))
    weight = f"{node.name}.matrix"
    graph.initializer.append(numpy_helper.from_array(matrix, weight))
    bias = node.input[2] if len(node.input) > 2 else ""
    product = node.output[0] if not bias else f"{node.output[0]}.product"
    nodes = [helper.make_node("MatMul", [node.input[0], weight], [product], name=f"{node.name}.product")]
    if bias:
        factor = float(said.get("beta", 1.0))
        if factor != 1.0:
            scale = f"{node.name}.beta"
            graph.initializer.append(numpy_helper.from_array(np.asarray(factor, dtype=matrix.dtype), scale))
            scaled = f"{node.name}.bias"
            nodes.append(helper.make_node("Mul", [bias, scale], [scaled], name=scaled))
            bias = scaled
        nodes.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{node.name}.sum"))
    return nodes

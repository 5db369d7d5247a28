"""Puts columns side by side without losing digits: skl2onnx joins them by FeatureVectorizer, whose output is float32 whatever goes in.

Rewrites every such node to casts and a Concat. Called by `sklearn_convert` before anything is proven.
"""

from typing import Any, Final

from onnx import ModelProto, TensorProto, helper

_CASTS: Final = frozenset({"Cast", "CastLike"})


def widened(model: ModelProto, *, double: bool) -> ModelProto:
    """The model with its columns joined in float64 (`double`) or float32. Nodes that take the joined columns uncast go on taking float32."""
    graph = model.graph
    wide = TensorProto.DOUBLE if double else TensorProto.FLOAT
    nodes: list[Any] = []
    narrow: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "FeatureVectorizer":
            if node.op_type not in _CASTS:
                _use(node, narrow)
            nodes.append(node)
            continue
        output = node.output[0]
        casts = [helper.make_node("Cast", [name], [f"{output}__{at}"], to=wide) for at, name in enumerate(node.input)]
        nodes += [*casts, helper.make_node("Concat", [cast.output[0] for cast in casts], [output], axis=1)]
        if double:
            narrow[output] = f"{output}__float32"
            nodes.append(helper.make_node("Cast", [output], [narrow[output]], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _use(node: Any, renamed: dict[str, str]) -> None:
    for at, name in enumerate(node.input):
        node.input[at] = renamed.get(name, name)

"""TensorFlow functions as ONNX, by tf2onnx: names and axes as the signature says, the opset as asked, `Erfc` taught. Called by packing, and by passes that train with Keras."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import tf2onnx
from tf2onnx.handler import tf_op

from aweigh.core.errors import Unsupported
from aweigh.core.signature import Signature

OPSET: Final = 18
"""The newest that tf2onnx writes."""
_MAIN: Final = frozenset({"", "ai.onnx"})


@tf_op("Erfc")
class _Erfc:
    """1 - erf(x): the exact GELU needs it, and tf2onnx has no rule for it."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
        output = node.output[0]
        dtype, shape = ctx.get_dtype(output), ctx.get_shape(output)
        ctx.remove_node(node.name)
        erf = ctx.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
        one = ctx.make_const(tf2onnx.utils.make_name("one"), np.array(1, tf2onnx.utils.map_onnx_to_numpy_type(dtype)))
        ctx.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], dtypes=[dtype], shapes=[shape])


def from_function(function: Any, specs: list[Any], signature: Signature, path: Path) -> None:
    """Write what a tf.function of flat tensors computes. Raises what tf2onnx raises, and Unsupported where the graph is not what was asked for."""
    write(tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)[0], signature, path)


def write(proto: Any, signature: Signature, path: Path) -> None:
    """Name inputs, outputs and axes as the signature does, and write. Raises Unsupported where they are not the same in number, or the opset is another."""
    foreign = sorted({node.domain for node in proto.graph.node} - _MAIN - {"ai.onnx.ml"})
    if foreign:
        raise Unsupported(f"the ONNX graph needs operators of {', '.join(foreign)}")
    opset = next((item.version for item in proto.opset_import if item.domain in _MAIN), 0)
    if opset != OPSET:
        raise Unsupported(f"opset {OPSET} was asked for, tf2onnx wrote {opset}")
    for values, wanted in ((proto.graph.input, signature.inputs), (proto.graph.output, signature.outputs)):
        if len(values) != len(wanted):
            raise Unsupported(f"the ONNX graph has {len(values)} inputs or outputs where the model has {len(wanted)}")
    _rename(proto.graph, {value.name: spec.name for value, spec in zip(proto.graph.input, signature.inputs, strict=True)}, "in")
    _rename(proto.graph, {value.name: spec.name for value, spec in zip(proto.graph.output, signature.outputs, strict=True)}, "out")
    for value, spec in zip(proto.graph.input, signature.inputs, strict=True):
        for dim, axis in zip(value.type.tensor_type.shape.dim, spec.shape, strict=False):
            if isinstance(axis, str):
                dim.dim_param = axis
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _rename(graph: Any, names: dict[str, str], side: str) -> None:
    """Give values of the main graph other names, inside subgraphs too; whoever bore such a name before gives way."""
    every = {name for node in _nodes(graph) for name in (*node.input, *node.output)} | {item.name for item in graph.initializer}
    change = {old: new for old, new in names.items() if old != new}
    change |= {new: f"{new}__{side}" for new in change.values() if new in every and new not in change}
    for node in _nodes(graph):
        for values in (node.input, node.output):
            for at, name in enumerate(values):
                if name in change:
                    values[at] = change[name]
    for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        item.name = change.get(item.name, item.name)


def _nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)

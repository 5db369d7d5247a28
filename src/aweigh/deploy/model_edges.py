"""What an ONNX file itself takes and gives, asked of ONNX Runtime: servers that run it alone are told that, not what aweigh makes of it."""

import msgspec

from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.deploy.model_servers import Edge, Edges
from aweigh.runtimes.onnxruntime import model_datatype, open_native


def onnx_edges(package: PackageHandle, variant: Variant) -> Edges:
    """Of the variant's ONNX file, loaded on the processor whatever it is to run on. Raises what loading raises."""
    plain = msgspec.structs.replace(variant, options={})
    session = open_native(plain, package.path, session_threads=1)
    signature: Signature = package.manifest.session_signature
    takes = {node.name: node for node in session.get_inputs()}
    gives = {node.name: node for node in session.get_outputs()}
    inputs = tuple(_edge(spec, takes) for spec in signature.inputs)
    outputs = tuple(_edge(spec, gives) for spec in signature.outputs)
    open_rows = all(edge.shape and edge.shape[0] == -1 for edge in (*inputs, *outputs))
    return Edges(inputs=inputs, outputs=outputs, batched=signature.batched and open_rows)


def _edge(spec: TensorSpec, nodes: dict[str, object]) -> Edge:
    node = nodes[spec.name]
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)  # type: ignore[attr-defined]  # untyped library
    datatype: Datatype = model_datatype(node.type, spec.name)  # type: ignore[attr-defined]
    return Edge(name=spec.name, datatype=datatype, shape=shape or tuple(spec.wire_shape))

"""What an ONNX model holds inside for given inputs, as ONNX Runtime computes it. For finding the cause of a difference while packing; never served from."""

import os
from collections.abc import Mapping

import msgspec
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort

from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.runtimes.onnxruntime import model_input_adapter, session_options


def inside(data: bytes, variant: Variant, signature: Signature, inputs: Mapping[str, Tensor], *, optimised: bool) -> dict[str, Tensor]:
    """Every output of a serialised model whose graph gives out what it holds inside; inputs are adapted as the variant's session adapts them.

    `optimised` leaves ONNX Runtime's rewriting of the graph as the variant has it, else it is off. Raises what ONNX Runtime raises.
    """
    plain = variant if optimised else msgspec.structs.replace(variant, options={**variant.options, "graph_optimization_level": "disabled"})
    session = ort.InferenceSession(data, sess_options=session_options(plain, 1, len(data)), providers=["CPUExecutionProvider"])
    takes = {node.name: node.type for node in session.get_inputs()}
    feeds = {}
    for spec in signature.inputs:
        if spec.name in takes:
            adapt = model_input_adapter(spec, takes[spec.name], variant)
            feeds[spec.name] = adapt(inputs[spec.name]) if adapt else inputs[spec.name]
    names = [node.name for node in session.get_outputs()]
    return {name: value for name, value in zip(names, session.run(names, feeds), strict=True) if isinstance(value, np.ndarray)}

"""What a Keras model holds inside for given inputs, at the tensors of its ONNX graph: one landmark a layer. Called by `keras.py` once a proof failed.

tf2onnx keeps the path of TensorFlow's scopes in its nodes' names, in which every layer has a part of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras

from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.packing.cause import Inside, Landmark
from aweigh.runtimes.tensorflow_tensors import as_tensorflow, from_tensorflow

_SUFFIXES: Final = ("", *(f"_{at}" for at in range(1, 10)))


def layer_landmarks(model: Any, signature: Signature) -> Inside:
    """How to look inside of a model whose layers are a graph (Sequential and functional ones)."""

    def inside(proto: Any, inputs: Mapping[str, Tensor]) -> Sequence[Landmark]:
        layers = [layer for layer in model.layers if _answers_once(layer)]
        if not layers:
            return []
        asked = keras.Model(model.inputs, [layer.output for layer in layers])
        given = [as_tensorflow(inputs[spec.name], spec) for spec in signature.inputs]
        answers = keras.tree.flatten(asked(given[0] if len(given) == 1 else given, training=False))
        tensors = _last_tensors(proto, [layer.name for layer in layers])
        return [
            Landmark(place=f"layer '{layer.name}' ({type(layer).__name__})", tensor=tensors[layer.name], expected=from_tensorflow(answer))
            for layer, answer in zip(layers, answers, strict=True)
            if layer.name in tensors
        ]

    return inside


def _answers_once(layer: Any) -> bool:
    nodes = getattr(layer, "_inbound_nodes", [])
    return len(nodes) == 1 and not isinstance(layer, keras.layers.InputLayer) and len(keras.tree.flatten(layer.output)) == 1


def _last_tensors(proto: Any, layers: Sequence[str]) -> dict[str, str]:
    """What the last node of each layer gives, by the layer's name. A model that is traced again has numbers behind all of its scopes' names: those under which
    most layers are found count."""
    scopes = {part: node.output[0] for node in proto.graph.node for part in node.name.split("/")[:-1]}
    found = [{name: scopes[f"{name}{suffix}"] for name in layers if f"{name}{suffix}" in scopes} for suffix in _SUFFIXES]
    return max(found, key=len)

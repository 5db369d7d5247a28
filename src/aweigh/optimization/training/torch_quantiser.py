"""Where a network is rounded to eight bits while it learns, as ONNX Runtime computes it: before and after each layer that multiplies, and what stands between. Needs torch, torchao.

Called by `torch_qat.py`. Weights by output channel, symmetric; activations by tensor, unsigned; what the model answers stays in float.
"""

from typing import Any, Final

import torch
from torchao.quantization.pt2e import FusedMovingAvgObsFakeQuantize, MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer, SharedQuantizationSpec

from aweigh.core.errors import Unsupported

_ANNOTATION: Final = "quantization_annotation"
_LAYERS: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
_AFTER: Final = frozenset({"batch_norm", "relu", "relu_"})
"""What becomes one with the layer before it."""
_SUMS: Final = frozenset({"add", "add_"})
_SAME: Final = frozenset(
    {"max_pool2d", "flatten", "view", "reshape", "dropout", "dropout_", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"}
)
"""What only picks or moves numbers: its output has its input's range."""
_SMALL: Final = 2**-12


class OnnxQuantizer(Quantizer):  # type: ignore[misc]  # untyped where torchao is not installed
    """`levels` is the largest number of an activation: 127 where a processor's sums of two products would overflow, 255 elsewhere."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        moving = FusedMovingAvgObsFakeQuantize.with_args(eps=_SMALL, observer=MovingAverageMinMaxObserver)
        self._activation = QuantizationSpec(
            dtype=torch.uint8, quant_min=0, quant_max=levels, qscheme=torch.per_tensor_affine, observer_or_fake_quant_ctr=moving
        )
        by_channel = FusedMovingAvgObsFakeQuantize.with_args(eps=_SMALL, observer=MovingAveragePerChannelMinMaxObserver)
        self._weight = QuantizationSpec(
            dtype=torch.int8,
            quant_min=-127,
            quant_max=127,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            observer_or_fake_quant_ctr=by_channel,
        )
        self.layers = 0

    def annotate(self, model: Any) -> Any:
        for node in model.graph.nodes:
            if _name(node) in _LAYERS:
                self._layer(node)
            elif _name(node) in _SUMS and all(isinstance(each, torch.fx.Node) and _is_float(each) for each in node.args[:2]):
                self._sum(node)
        for node in model.graph.nodes:  # afterwards: they go by what is before them
            if _name(node) in _SAME and self._rounded(node.args[0]):
                self._alike(node)
        if not self.layers:
            raise Unsupported("the model has no linear layer and no convolution")
        return model

    def validate(self, model: Any) -> None:
        """Whatever was annotated can be run."""

    def _layer(self, node: Any) -> None:
        self.layers += 1
        last = _last(node)
        given = {node.args[0]: self._activation, node.args[1]: self._weight}
        node.meta[_ANNOTATION] = QuantizationAnnotation(
            input_qspec_map=given, output_qspec=self._output(node) if last is node else None, _annotated=True
        )
        if last is not node:
            last.meta[_ANNOTATION] = QuantizationAnnotation(output_qspec=self._output(last), _annotated=True)

    def _sum(self, node: Any) -> None:
        last = _last(node)
        given = dict.fromkeys(node.args[:2], self._activation)
        node.meta[_ANNOTATION] = QuantizationAnnotation(
            input_qspec_map=given, output_qspec=self._output(node) if last is node else None, _annotated=True
        )
        if last is not node:
            last.meta[_ANNOTATION] = QuantizationAnnotation(output_qspec=self._output(last), _annotated=True)

    def _alike(self, node: Any) -> None:
        given = node.args[0]
        shared = SharedQuantizationSpec((given, node))
        node.meta[_ANNOTATION] = QuantizationAnnotation(
            input_qspec_map={given: self._activation}, output_qspec=None if _answers(node) else shared, _annotated=True
        )

    def _output(self, node: Any) -> Any:
        return None if _answers(node) else self._activation

    def _rounded(self, node: Any) -> bool:
        found = node.meta.get(_ANNOTATION)
        return found is not None and found.output_qspec is not None


def _name(node: Any) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0] if node.op == "call_function" else ""


def _last(node: Any) -> Any:
    """The last of what becomes one with a layer."""
    while len(node.users) == 1 and _name(after := next(iter(node.users))) in _AFTER and after.args[0] is node:
        node = after
        if _name(node).startswith("relu"):
            break
    return node


def _answers(node: Any) -> bool:
    return any(user.op == "output" for user in node.users)


def _is_float(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()

"""What is done to the weights and activations of a Keras model while it learns: rounded to eight bits, or few shared numbers. Needs keras, tensorflow.

Keras 3 has no training of this sort itself (its `quantize` rounds afterwards), and TensorFlow's Model Optimization Toolkit knows Keras 2 alone.
"""

from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.training.clusters import centres_of, means, nearest
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.keras_run import KerasModel
from aweigh.runtimes.tensorflow_keras import flat_answer

_LAYERS: Final = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_MOVERS: Final = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Flatten,
)
"""What is given eight bits too, so that nothing stands in float between two layers."""
_LARGEST: Final = 127
_SETTLED: Final = 3
"""Epochs after which the ranges of activations stay as they are."""


def layers(model: Any) -> list[Any]:
    """Those that multiply, each once. Raises Unsupported where there are none."""
    found = list({id(layer): layer for layer in model._flatten_layers() if type(layer) in _LAYERS}.values())
    if not found:
        raise Unsupported("the model has no dense layer and no convolution")
    return found


@dataclass(slots=True, kw_only=True)
class _Input:
    """The range of what a layer is given."""

    low: Any
    high: Any
    seen: list[float]


class Rounded(Treatment):
    """Weights are whole multiples of a step of their output channel in every forward pass, while what is learnt is added to weights that are kept exact beside them (the
    straight-through estimator); what layers are given is rounded in the graph. Source: Jacob et al., https://arxiv.org/abs/1712.05877"""

    def __init__(self, live: KerasModel, levels: int) -> None:
        self._live = live
        self._wider = 255 / levels
        self._kernels = [layer.kernel for layer in layers(live.model)]
        self._watching = True
        self._inputs = [self._wrap(layer) for layer in live.model._flatten_layers() if type(layer) in (*_LAYERS, *_MOVERS)]
        self._exact: list[Tensor] = [kernel.numpy() for kernel in self._kernels]
        self._rounded: list[Tensor] = []
        self._look()
        self._round()

    @property
    def count(self) -> int:
        return len(self._kernels)

    def step(self) -> None:
        for at, kernel in enumerate(self._kernels):
            self._exact[at] = self._exact[at] + (kernel.numpy() - self._rounded[at])
        self._round()

    def epoch(self, done: int) -> None:
        if done <= _SETTLED:
            self._look()

    def hold(self) -> None:
        """Round what the best epoch brought back: it was rounded already, so nothing else changes."""
        self._exact = [kernel.numpy() for kernel in self._kernels]
        self._round()

    def _round(self) -> None:
        self._rounded = [round_channels(each) for each in self._exact]
        for kernel, value in zip(self._kernels, self._rounded, strict=True):
            kernel.assign(value)

    def _wrap(self, layer: Any) -> _Input:
        state = _Input(low=tf.Variable(0.0, trainable=False), high=tf.Variable(1.0, trainable=False), seen=[])
        inner = layer.call

        def call(inputs: Any, *args: Any, **more: Any) -> Any:
            if self._watching and tf.executing_eagerly():
                state.seen += [float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))]
                return inner(inputs, *args, **more)
            return inner(tf.quantization.fake_quant_with_min_max_vars(inputs, state.low, state.high), *args, **more)

        layer.call = call
        return state

    def _look(self) -> None:
        """Find the ranges anew, from the search's rows."""
        self._watching = True
        flat_answer(self._live.model, [tf.convert_to_tensor(rows) for rows in self._live.rows.inputs.values()])
        self._watching = False
        for state in self._inputs:
            low, high = min(0.0, *state.seen), max(0.0, *state.seen)
            state.seen.clear()
            state.low.assign(low)
            state.high.assign(low + max(high - low, 1e-6) * self._wider)


def round_channels(weight: Tensor) -> Tensor:
    """Whole multiples of a step, one for each output channel: the last axis."""
    step = np.abs(weight).max(axis=tuple(range(weight.ndim - 1)), keepdims=True) / _LARGEST
    step = np.where(step > 0, step, 1).astype(np.float32)
    found: Tensor = (np.rint(weight / step) * step).astype(np.float32)
    return found


class SharedKernels(Treatment):
    """Each weight belongs to one of so many numbers of its layer; after each step it is their mean again. Source: Han et al., https://arxiv.org/abs/1510.00149"""

    def __init__(self, live: KerasModel, count: int) -> None:
        self._groups = []
        for layer in layers(live.model):
            values = layer.kernel.numpy().ravel()
            if values.size > 2 * count:
                centres = centres_of(values, count)
                self._groups.append((layer.kernel, nearest(values, centres), centres))
        if not self._groups:
            raise Unsupported(f"no layer has more weights than {count} shared numbers would save")
        self.step()

    def step(self) -> None:
        for kernel, which, centres in self._groups:
            kernel.assign(means(kernel.numpy().ravel(), which, centres)[which].reshape(kernel.shape))

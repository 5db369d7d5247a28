"""Distillation: a model learns from a teacher's answers beside its own targets. Needs torch."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from aweigh.core.errors import InvalidInput
from aweigh.optimization.training.hook import Treatment
from aweigh.runtimes.torch_program import flat_outputs

_TEMPERATURE: Final = 3.0
"""How much the teacher's answers are softened, so that what it holds for nearly as likely counts too."""
_WEIGHT: Final = 0.7
"""Of the teacher's answers, beside the person's own loss."""
_SUM: Final = 1e-3


class Taught(Treatment):
    """`loss` mixes the person's own with the distance to the teacher's answers. Source: Hinton, Vinyals, Dean, https://arxiv.org/abs/1503.02531"""

    def __init__(self, teacher: Any) -> None:
        self._teacher = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False)

    def loss(self, output: Any, target: Any, inputs: Any, own: Callable[[Any, Any], Any]) -> Any:
        if inputs is None:
            raise InvalidInput(
                "callbacks.loss was given no inputs, which the teacher is asked with", hint="call callbacks.loss(output, target, inputs)"
            )
        with torch.no_grad():
            taught = first(self._asked(inputs))
        answered = first(output)
        if answered.dim() > 1 and not target.is_floating_point():
            distance = _apart(answered, taught)
        else:
            distance = torch.nn.functional.mse_loss(answered, taught)
        return (1 - _WEIGHT) * own(output, target) + _WEIGHT * distance

    def _asked(self, inputs: Any) -> Any:
        if isinstance(inputs, Mapping):
            return self._teacher(**inputs)
        return self._teacher(*inputs) if isinstance(inputs, tuple | list) else self._teacher(inputs)


def first(output: Any) -> Any:
    """The first tensor of real numbers that a module answered."""
    return next(tensor for _, tensor in flat_outputs(output) if tensor.is_floating_point())


def _apart(output: Any, taught: Any) -> Any:
    scores, wanted = (_logits(each) / _TEMPERATURE for each in (output, taught))
    distance = torch.nn.functional.kl_div(
        scores.log_softmax(-1).flatten(0, -2), wanted.log_softmax(-1).flatten(0, -2), reduction="batchmean", log_target=True
    )
    return distance * _TEMPERATURE**2


def _logits(scores: Any) -> Any:
    """Scores before softmax: the logarithm, where they are shares already."""
    shares = bool((scores >= 0).all()) and bool(((scores.sum(-1) - 1).abs() < _SUM).all())
    return scores.clamp_min(1e-9).log() if shares else scores

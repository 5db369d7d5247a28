"""Weights that are held at zero while a model learns: the smallest of all, more with each epoch, or two of every four. Needs torch."""

from typing import Any, Final

import torch
from torch import nn

from aweigh.core.errors import Unsupported
from aweigh.optimization.training.hook import Treatment

LAYERS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RAMP: Final = 5
"""Epochs until all are gone that are to go."""
_OF: Final = 4


def weights(module: Any) -> list[tuple[str, Any]]:
    """The weights of layers that multiply, by name, each once. Raises Unsupported where there are none."""
    found: dict[int, tuple[str, Any]] = {}
    for name, part in module.named_modules():
        if isinstance(part, LAYERS):
            found.setdefault(id(part.weight), (f"{name}.weight" if name else "weight", part.weight))
    if not found:
        raise Unsupported("the model has no linear layer and no convolution")
    return list(found.values())


class Sparse(Treatment):
    """The smallest weights of the whole model go, by a share that grows over the first epochs. Source: Zhu, Gupta, https://arxiv.org/abs/1710.01878"""

    def __init__(self, module: Any, share: float) -> None:
        self._weights = [weight for _, weight in weights(module)]
        self._share = share
        self._masks: list[Any] = []
        self._reached = 0.0
        self._choose(share * _ramp(0))

    @property
    def settled(self) -> bool:
        return self._reached >= self._share

    def step(self) -> None:
        with torch.no_grad():
            for weight, mask in zip(self._weights, self._masks, strict=True):
                weight.mul_(mask)

    def epoch(self, done: int) -> None:
        if not self.settled:
            self._choose(self._share * _ramp(done))

    def hold(self) -> None:
        """Everything that is to go is gone, also where training ended sooner, or gave back an average of weights that were not zero yet."""
        if self.settled:
            self.step()
        else:
            self._choose(self._share)

    def zeros(self) -> float:
        """The share of weights that are zero."""
        every = sum(int(weight.numel()) for weight in self._weights)
        return sum(int((weight == 0).sum()) for weight in self._weights) / every

    def _choose(self, share: float) -> None:
        self._reached = share
        # by layer relative to its own largest weight, so that a layer of small numbers is not lost as a whole
        sizes = torch.cat([(weight.detach().abs() / weight.detach().abs().mean().clamp_min(1e-12)).flatten() for weight in self._weights])
        limit = sizes.kthvalue(max(1, round(share * sizes.numel()))).values
        parts = sizes.split([weight.numel() for weight in self._weights])
        self._masks = [(part > limit).reshape(weight.shape).to(weight.dtype) for part, weight in zip(parts, self._weights, strict=True)]
        self.step()


def _ramp(done: int) -> float:
    return 1 - (1 - min(1.0, (done + 1) / _RAMP)) ** 3


class TwoOfFour(Treatment):
    """Of every four neighbouring weights of an output the two smaller ones are zero: what graphics cards from Ampere on multiply twice as fast."""

    def __init__(self, module: Any) -> None:
        named = [(name, weight) for name, weight in weights(module) if weight[0].numel() % _OF == 0]
        if not named:
            raise Unsupported("no layer takes a number of inputs that four divides")
        self.names = [name for name, _ in named]
        self._weights = [weight for _, weight in named]
        self._masks = [two_of_four(weight.detach()) for weight in self._weights]
        self.step()

    def step(self) -> None:
        with torch.no_grad():
            for weight, mask in zip(self._weights, self._masks, strict=True):
                weight.mul_(mask)


def two_of_four(weight: Any) -> Any:
    """1 for the two largest of every four along the inputs of an output (channels first varying slowest), 0 for the others."""
    rows = (
        weight.flatten(1) if weight.dim() == 2 else weight.movedim(1, -1).flatten(1)
    )  # of convolutions, cards take the channels as neighbours
    fours = rows.abs().reshape(-1, _OF)
    mask = torch.zeros_like(fours).scatter_(1, fours.topk(_OF // 2, dim=1).indices, 1.0).reshape(rows.shape)
    if weight.dim() == 2:
        return mask
    moved = weight.movedim(1, -1).shape
    return mask.reshape(moved).movedim(-1, 1)

"""Weights of a layer as a few shared numbers, which learn on together. Needs torch."""

from typing import Any

import torch

from aweigh.core.errors import Unsupported
from aweigh.optimization.training.clusters import centres_of, nearest
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.torch_masks import weights


class Shared(Treatment):
    """Each weight belongs to one of so many numbers of its layer; after each step it is their mean again. Source: Han et al., https://arxiv.org/abs/1510.00149"""

    def __init__(self, module: Any, count: int) -> None:
        self._groups = []
        for _, weight in weights(module):
            if weight.numel() > 2 * count:
                values = weight.detach().flatten().numpy()
                centres = centres_of(values, count)
                self._groups.append((weight, torch.from_numpy(nearest(values, centres)), len(centres)))
        if not self._groups:
            raise Unsupported(f"no layer has more weights than {count} shared numbers would save")
        self.step()

    def step(self) -> None:
        with torch.no_grad():
            for weight, which, count in self._groups:
                flat = weight.flatten()
                sums = torch.zeros(count).index_add_(0, which, flat)
                mean = sums / torch.bincount(which, minlength=count).clamp_min(1)
                weight.copy_(mean[which].reshape(weight.shape))

"""A PyTorch program as converters to phones take it: outputs in the package's order, and no more. Imported by passes that are at work, where torch is."""

from collections.abc import Sequence
from typing import Any

import torch

from aweigh.runtimes.torch_program import Program, flat_outputs


class InOrder(torch.nn.Module):  # type: ignore[misc]  # untyped where torch is not installed
    """Takes the program's tensors by place, and gives those of these names."""

    def __init__(self, program: Program, names: Sequence[str]) -> None:
        super().__init__()
        self.module = program.module
        self._call = program.call
        self._names = tuple(names)

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        answers = dict(flat_outputs(self._call(tensors)))
        return tuple(answers[name] for name in self._names)

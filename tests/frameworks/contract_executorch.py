"""Samples for the contract of the runtime `executorch`: programs of one row, lowered on the spot. See test_contract.py."""

from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.testing import RuntimeSample

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4) / 10


class Columns(torch.nn.Module):
    """y = x W + b and the greatest of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(WEIGHTS))

    def forward(self, b: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.nn.functional.linear(x, self.weights) + b
        return y.amax(1), y


def samples(folder: Path) -> list[RuntimeSample]:
    """Two inputs and two outputs, at other places than the signature has them; batches go row by row."""
    program = torch.export.export(Columns().eval(), (torch.zeros(1, 3), torch.zeros(1, 4)))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "columns.pte").write_bytes(bytes(lowered.buffer))
    x = np.array([[0.1, -0.2, 0.3, 0.4], [0.5, -0.6, 0.7, -0.8], [0.0, 1.0, 0.0, 0.0]], dtype=np.float32)
    b = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], dtype=np.float32)
    y = x @ WEIGHTS.T + b
    signature = Signature(
        inputs=(_spec("x", 4), _spec("b", 3)),
        outputs=(_spec("y", 3), TensorSpec(name="greatest", datatype=Datatype.FP32, shape=("batch",))),
    )
    variant = Variant(
        name="executorch",
        runtime="executorch",
        precision="fp32",
        files=("columns.pte",),
        options={"input:b": 0, "input:x": 1, "output:greatest": 0, "output:y": 1},
    )
    return [RuntimeSample(variant=variant, signature=signature, folder=folder, inputs={"x": x, "b": b}, expected=[y, y.max(axis=1)])]


def _spec(name: str, size: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.FP32, shape=("batch", size))

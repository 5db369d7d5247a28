"""An image of 1x3x224x224 floats (602,112 bytes) in binary, 1,000 scores out, no model behind it, beside a handler that copies it once.

What is timed is how often a large tensor is copied on its way, and what is asked of its numbers.
"""

import dataclasses
from pathlib import Path

import numpy as np

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from bench.scenarios.null import store_with
from bench.workload import Workload

_SHAPE = (1, 3, 224, 224)
_SCORES = 1000
_SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, *_SHAPE[1:])),),
    outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH, _SCORES)),),
)


def prepare(folder: Path) -> Workload:
    image = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)
    scores = np.zeros((1, _SCORES), dtype=np.float32)
    workload = Workload(
        title="image: 1x3x224x224 FP32 in binary, 1,000 scores out, no model behind it",
        model="image",
        file=folder / "image",
        inputs={"X": image},
        expected={"Y": scores},
        null=True,
        binary=True,
        connections=8,
        base="memcpy",
        targets={"rest": 1 / 1.3, "grpc": 1 / 1.3},
    )
    return dataclasses.replace(workload, home=store_with("image", _SIGNATURE, workload, [scores], folder))

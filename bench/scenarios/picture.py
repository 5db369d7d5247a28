"""An image of 1x3x224x224 floats into a small convolutional network, as JSON or as binary: what is timed is mostly the tensor's way in."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
from onnx import TensorProto

from bench.scenarios.graphs import Graph, workload
from bench.workload import Workload

SHAPE = (1, 3, 224, 224)
SCORES = 1000
CHANNELS = (3, 16, 32, 64)


def prepare_json(folder: Path) -> Workload:
    return _prepare(folder, binary=False)


def prepare_binary(folder: Path) -> Workload:
    return _prepare(folder, binary=True)


def _prepare(folder: Path, *, binary: bool) -> Workload:
    random = np.random.default_rng(0)
    file = folder / "picture.onnx"
    _network(random, file)
    form = "binary" if binary else "JSON (about 1.6 MB)"
    title = f"1x3x224x224 FP32 as {form} into three convolutions with random weights, {SCORES:,} scores out"
    made = workload(title, file, {"X": random.normal(size=SHAPE).astype(np.float32)}, binary=binary)
    return dataclasses.replace(made, connections=8, doors=("rest", "grpc") if binary else ("rest",))


def _network(random: np.random.Generator, file: Path) -> None:
    graph, at = Graph(), "X"
    for layer, (before, after) in enumerate(itertools.pairwise(CHANNELS)):
        scale = (2.0 / (9 * before)) ** 0.5
        kernel = graph.weight(f"kernel{layer}", random.normal(0, scale, (after, before, 3, 3)).astype(np.float32))
        stride = [4, 4] if layer == 0 else [2, 2]
        at = graph.add("Relu", graph.add("Conv", at, kernel, kernel_shape=[3, 3], strides=stride, pads=[1, 1, 1, 1]))
    flat = graph.add("Flatten", graph.add("GlobalAveragePool", at))
    positive = np.abs(random.normal(0, 0.01, (CHANNELS[-1], SCORES)))  # sums that do not cancel: rounding stays within what packing allows
    dense = graph.weight("dense", positive.astype(np.float32))
    graph.add("MatMul", flat, dense, output="Y")
    graph.save(file, {"X": (TensorProto.FLOAT, ["batch", *SHAPE[1:]])}, {"Y": (TensorProto.FLOAT, ["batch", SCORES])})

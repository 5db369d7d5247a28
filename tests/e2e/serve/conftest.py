"""Real servers: `aweigh serve` in processes of their own, on free ports, over two small ONNX models packed once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.serving.served import Served

import aweigh

FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING
WEIGHTS = np.array([[1, 0, -1], [2, 1, 0], [0, 3, 1], [1, 1, 1]], dtype=np.float32)


Serve = Callable[..., Served]


def _save(folder: Path, name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    path = folder / f"{name}.onnx"
    onnx.save(made, path)
    return path


def _linear(folder: Path) -> Path:
    """scores = X · W and the place of the largest."""
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", FLOAT, ["n", 4])]
    outputs = [
        helper.make_tensor_value_info("best", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("scores", FLOAT, ["n", 3]),
    ]
    return _save(folder, "linear", nodes, inputs, outputs, [numpy_helper.from_array(WEIGHTS, "W")])


def _dear(folder: Path) -> Path:
    """Y = X, after a matrix product of some ten milliseconds that no optimiser can leave out."""
    side = np.full((600, 600), 1e-3, dtype=np.float32)
    nodes = [
        helper.make_node("Shape", ["X"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sizes"], to=FLOAT),
        helper.make_node("ReduceSum", ["sizes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["side", "nothing"], ["left"]),
        helper.make_node("MatMul", ["left", "side"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["still_nothing"]),
        helper.make_node("Add", ["X", "still_nothing"], ["Y"]),
    ]
    values = [helper.make_tensor_value_info(name, FLOAT, ["n", 4]) for name in ("X", "Y")]
    constants = [numpy_helper.from_array(side, "side"), numpy_helper.from_array(np.float32(0), "zero")]
    return _save(folder, "dear", nodes, values[:1], values[1:], constants)


def _words(folder: Path) -> Path:
    """Text comes back as it is."""
    values = [helper.make_tensor_value_info(name, TEXT, ["n", 1]) for name in ("text", "same")]
    return _save(folder, "words", [helper.make_node("Identity", ["text"], ["same"])], values[:1], values[1:], [])


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear`, `dear` and `words`."""
    folder = tmp_path_factory.mktemp("served")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    aweigh.pack(str(_linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    aweigh.pack(str(_dear(folder)), "dear", sample=sample[:2], home=str(folder / "home"))
    aweigh.pack(str(_words(folder)), "words", home=str(folder / "home"))
    return folder / "home"


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    """Starts servers that end with the test."""
    started: list[Served] = []

    def start(*words: str) -> Served:
        started.append(Served(home, *words))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Served]:
    """One server of all three models, shared by the tests that only ask."""
    shared = Served(home, "linear", "dear", "words")
    yield shared
    assert shared.end() == 0, shared.log


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    return np.random.default_rng(11).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def expected(rows: np.ndarray) -> np.ndarray:
    """What `linear` answers to `rows`."""
    return rows @ WEIGHTS

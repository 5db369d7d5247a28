"""Real servers: `aweigh serve` in processes of their own, on free ports, over two small ONNX models packed once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.serving.models import WEIGHTS, dear, lasting, linear, words
from tests.serving.served import Served

import aweigh

Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear`, `dear` and `words`."""
    folder = tmp_path_factory.mktemp("served")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    aweigh.pack(str(dear(folder)), "dear", sample=sample[:2], home=str(folder / "home"))
    aweigh.pack(str(words(folder)), "words", home=str(folder / "home"))
    return folder / "home"


@pytest.fixture
def serve_from() -> Iterator[Serve]:
    """Starts servers on a store that end with the test."""
    started: list[Served] = []

    def start(home: Path, *words: str) -> Served:
        started.append(Served(home, *words))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def serve(serve_from: Serve, home: Path) -> Serve:
    """The same on the shared store."""
    return partial(serve_from, home)


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Served]:
    """One server of all three models, shared by the tests that only ask."""
    shared = Served(home, "linear", "dear", "words")
    yield shared
    assert shared.end() == 0, shared.log


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of `lasting` alone: on every machine its answer to 7777 takes longer than a short deadline."""
    folder = tmp_path_factory.mktemp("patient")
    aweigh.pack(str(lasting(folder, turns=1500)), "lasting", sample=np.ones((3, 1), np.float32), home=str(folder / "home"))
    shared = Served(folder / "home", "lasting")
    yield shared
    assert shared.end() == 0, shared.log


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    return np.random.default_rng(11).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def expected(rows: np.ndarray) -> np.ndarray:
    """What `linear` answers to `rows`."""
    return rows @ WEIGHTS

"""Servers that something happens to: `aweigh serve` in processes of their own, over models packed once.

`linear` answers at once, `dear` after some milliseconds on threads, `lasting` after seconds where the row holds 7777, `words` gives text back, and `trouble` is `linear` behind a
hook that misbehaves when asked to (tests/serving/trouble.py), in a process of its own.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.models import dear, lasting, linear, words
from tests.serving.served import Served
from tests.serving.trouble import HOOK
from tests.serving.workers import Faults

import aweigh

Start = Callable[..., Served]
_BESIDE_OTHERS = frozenset({
    "test_behind_haproxy", "test_dependencies_gone", "test_disk_full", "test_poison_rows", "test_shutdown", "test_store_crash", "test_store_damage",
})  # fmt: skip
"""Those that measure nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem not in _BESIDE_OTHERS:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all of them. Not to be changed: copy it (`shelf`) to publish into it."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "trouble_hook.py").write_text(HOOK)
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    where = str(folder / "home")
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=where)
    aweigh.pack(str(dear(folder)), "dear", sample=sample[:2], home=where)
    aweigh.pack(str(lasting(folder)), "lasting", sample=np.ones((3, 1), np.float32), home=where)
    aweigh.pack(str(words(folder)), "words", home=where)
    sys.path.insert(0, str(folder))
    try:
        aweigh.pack(str(folder / "linear.onnx"), "trouble", sample=sample, pre="trouble_hook:pre", home=where)
    finally:
        sys.path.remove(str(folder))
    return folder / "home"


@pytest.fixture
def orders(tmp_path: Path) -> Faults:
    """Through which a test makes a process of its server hold the interpreter lock, or grow. Orders nothing until asked to."""
    return Faults(tmp_path)


@pytest.fixture
def start(home: Path, orders: Faults) -> Iterator[Start]:
    """Starts servers by the installed command and ends them with the test: `start("linear", "--workers", "2")`. `where` is another store."""
    started: list[Served] = []

    def begin(*words: str, where: Path = home, environment: dict[str, str] | None = None, **more: Any) -> Served:
        started.append(Served(where, *words, environment={**orders.environment, **(environment or {})}, **more))
        return started[-1]

    yield begin
    for server in started:
        server.end()

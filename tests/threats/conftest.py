"""Servers that are attacked: `aweigh serve` in processes of their own, over models packed once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.models import lasting, linear, words
from tests.serving.served import Served
from tests.threats.siege import MAX_BODY, MIB, Siege

import aweigh

Besiege = Callable[..., Siege]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear`, `words` and `lasting`."""
    folder = tmp_path_factory.mktemp("threats")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    aweigh.pack(str(words(folder)), "words", home=str(folder / "home"))
    aweigh.pack(str(lasting(folder)), "lasting", sample=np.ones((3, 1), np.float32), home=str(folder / "home"))
    return folder / "home"


def _besieged(home: Path, **environment: str) -> Iterator[Siege]:
    server = Served(home, "linear", "words", "--max-body-bytes", str(MAX_BODY), "--request-timeout-s", "5", environment=environment)
    besieged = Siege(server)
    yield besieged
    besieged.check_nothing_is_kept()
    assert server.end() == 0, server.log


@pytest.fixture(scope="session")
def siege(home: Path) -> Iterator[Siege]:
    """One server for all attacks that leave it as it is, which each of them must."""
    yield from _besieged(home)


@pytest.fixture(scope="session")
def unasserting(home: Path) -> Iterator[Siege]:
    """The same under `python -O`, which leaves out every assert: no check may rest on one."""
    yield from _besieged(home, PYTHONOPTIMIZE="1")


@pytest.fixture(params=["siege", "unasserting"], ids=["plain", "optimised"])
def either(request: pytest.FixtureRequest) -> Siege:
    """Both, one after the other."""
    besieged: Siege = request.getfixturevalue(request.param)
    return besieged


@pytest.fixture(scope="session")
def large_siege(home: Path) -> Iterator[Siege]:
    """One server with the body limit that it has by default."""
    server = Served(home, "linear", "words")
    besieged = Siege(server, 64 * MIB)
    yield besieged
    besieged.check_nothing_is_kept()
    assert server.end() == 0, server.log


@pytest.fixture
def besiege(home: Path) -> Iterator[Besiege]:
    """Servers of a test's own, with settings of its own."""
    started: list[Served] = []

    def start(*words: str, max_body: int = MAX_BODY, **environment: str) -> Siege:
        started.append(Served(home, "linear", "words", "lasting", "--max-body-bytes", str(max_body), *words, environment=environment))
        return Siege(started[-1], max_body)

    yield start
    for server in started:
        assert server.end() == 0, server.log

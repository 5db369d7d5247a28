"""Two replicas behind a real haproxy with the configuration of docs/guides/behind-a-proxy.md: one dies, or is stopped, and no request is lost.

Not of B.3's list: the client's retries and the proxy's health checks together.
"""

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from tests.serving.models import WEIGHTS
from tests.serving.served import Served
from tests.serving.workers import kill, until

import aweigh
from aweigh.core.errors import AweighError

PAGE = Path(__file__).resolve().parents[2] / "docs/guides/behind-a-proxy.md"
PER_S = 40.0
"""Requests, of which each fourth is a dear one: a replica holds some at any time."""
CLIENTS = 8
DRAIN_DELAY_S = 2.0
SEEN_S = 1.5
"""By when the proxy asks a replica again that is back."""
X = np.array([[1, 2, 3, 4]], dtype=np.float32)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def configuration(ports: dict[int, int]) -> str:
    """The page's own, on other ports."""
    found = re.search(r"^```haproxy\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return re.sub(r"127\.0\.0\.1:(\d+)", lambda place: f"127.0.0.1:{ports[int(place[1])]}", found[1])


class Replicas:
    """Two servers of the same models, and haproxy in front of them. What was started ends with `ending`."""

    def __init__(self, home: Path, haproxy: str, folder: Path, ending: contextlib.ExitStack) -> None:
        self.port, *self._ports = free_ports(3)
        self._home, self._ending = home, ending
        self.servers = [self._serve(at) for at in range(2)]
        path = folder / "haproxy.cfg"
        path.write_text(configuration(dict(zip((8080, 8081, 8082), (self.port, *self._ports), strict=True))))
        proxy = ending.enter_context(subprocess.Popen([haproxy, "-db", "-q", "-f", str(path)]))
        ending.callback(proxy.terminate)
        until(self._answers)

    def _serve(self, at: int) -> Served:
        server = Served(self._home, "linear", "dear", "--drain-delay-s", str(DRAIN_DELAY_S), port=self._ports[at])
        self._ending.callback(server.end, signal.SIGKILL)
        return server

    def start_again(self, at: int) -> None:
        self.servers[at] = self._serve(at)
        time.sleep(SEEN_S)

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)


class Asking:
    """Clients of aweigh's own that ask at a steady rate, whatever comes back, and keep what went wrong."""

    def __init__(self, url: str, *, retries: int = 2) -> None:
        self.answered = 0
        self.lost: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._client = aweigh.Client(url, timeout_s=20, retries=retries)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._due, self._count = time.monotonic(), 0
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._client.close()

    def _turn(self) -> tuple[float, str]:
        """When the next request is due, and which model it asks."""
        with self._lock:
            self._due += 1 / PER_S
            self._count += 1
            return self._due, "linear" if self._count % 4 else "dear"

    def _ask(self) -> None:
        while not self._stop.is_set():
            due, model = self._turn()
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            outcome = self._outcome(model)
            with self._lock:
                self.slowest_s = max(self.slowest_s, time.monotonic() - due)
                if outcome:
                    self.lost[outcome] += 1
                else:
                    self.answered += 1

    def _outcome(self, model: str) -> str:
        """Nothing where the answer is right."""
        try:
            answer = self._client.infer(model, {"X": X})
        except AweighError as error:
            return f"{type(error).__name__}: {error.message[:200]}"
        right = np.array_equal(answer["scores"], X @ WEIGHTS) if model == "linear" else np.allclose(answer["Y"], X)
        return "" if right else f"a wrong answer of {model}"


@pytest.fixture
def replicas(home: Path, tmp_path: Path, program: Callable[[str], str]) -> Iterator[Replicas]:
    haproxy = program("haproxy")
    with contextlib.ExitStack() as ending:
        yield Replicas(home, haproxy, tmp_path, ending)


@pytest.mark.slow
def test_no_request_is_lost_when_one_replica_is_killed_and_then_the_other_one_stopped(replicas: Replicas) -> None:
    address = f"127.0.0.1:{replicas.port}"
    with Asking(f"http://{address}") as rest, Asking(f"grpc://{address}") as grpc:
        both = (rest, grpc)
        time.sleep(1)
        kill(replicas.servers[0].process.pid)
        time.sleep(1)
        replicas.start_again(0)
        assert replicas.servers[1].end() == 0
        time.sleep(1)
    for asking in both:
        assert asking.lost == {}
        assert asking.answered > 4 * PER_S
        assert asking.slowest_s < 5

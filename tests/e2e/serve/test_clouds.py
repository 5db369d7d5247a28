"""`aweigh serve` as clouds start it: told by their environment where to listen and what to answer, told no model."""

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.serving.models import linear
from tests.serving.served import AWEIGH

import aweigh


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    return folder / "home"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextmanager
def started(home: Path, port: int, health: str, environment: dict[str, str]) -> Iterator[None]:
    """`aweigh serve` until it is healthy, as its cloud looks for it; ended with SIGTERM, to which it answers 0."""
    process = subprocess.Popen(
        [AWEIGH, "serve"], env={"AWEIGH_HOME": str(home), **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        for _ in range(200):
            try:
                if ask(port, "GET", health)[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield
        process.terminate()
        assert process.wait(20) == 0, process.stderr.read() if process.stderr else b""
    finally:
        process.kill()
        process.communicate()


def test_vertex_starts_it(home: Path) -> None:
    port = free_port()
    environment = {
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/v1/health",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/7:predict",
        "AIP_MODE": "PREDICTION",
    }
    with started(home, port, "/v1/health", environment):
        status, body = ask(port, "POST", "/v1/endpoints/7:predict", b'{"instances": [[1, 2, 3, 4]]}')
        assert (status, list(json.loads(body))) == (200, ["predictions"])


def test_sagemaker_starts_it(home: Path) -> None:
    port = free_port()
    with started(home, port, "/ping", {"SAGEMAKER_BIND_TO_PORT": str(port)}):
        status, body = ask(port, "POST", "/invocations", b"1,2,3,4\n5,6,7,8\n", content_type="text/csv", accept="text/csv")
        assert (status, body.count(b"\n")) == (200, 2)
        connection = socket.create_connection(("127.0.0.1", port), timeout=0.25)  # the contract's own limit
        connection.close()


def test_without_a_name_and_without_a_model_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run([AWEIGH, "serve"], env={"AWEIGH_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "no model was named, and the store is empty" in done.stderr

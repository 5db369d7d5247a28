"""A store with one small model, as every cloud gets it, and what it must answer."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.deploying.packages import WEIGHTS, pack_linear
from tests.images import iris_image, unpack
from tests.toolboxes import toolbox

from aweigh.app.deploy import Deployed, DeployOptions, deploy_package, undeploy_package
from aweigh.core.settings import Settings
from aweigh.deploy.commands import Commands

ROWS = [[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 0.0]]
Deploy = Callable[..., Deployed]
Undeploy = Callable[..., None]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clouds")
    pack_linear(folder)
    return folder


@pytest.fixture(scope="session")
def deploy(home: Path) -> Deploy:
    """As `aweigh deploy linear --to TARGET --out FOLDER` does it; `environment` is what vendors' clients are given."""

    def run(target: str, folder: Path, *options: str, environment: Mapping[str, str] | None = None, **said: Any) -> Deployed:
        asked = DeployOptions(target=target, out=str(folder), set=options, apply=environment is not None, **said)
        return deploy_package(Settings(home=str(home)), "linear", asked, commands=Commands(environment=environment))

    return run


@pytest.fixture(scope="session")
def undeploy(home: Path) -> Undeploy:
    """As `aweigh undeploy linear --to TARGET` does it."""

    def run(target: str, environment: Mapping[str, str]) -> None:
        undeploy_package(Settings(home=str(home)), "linear", target=target, commands=Commands(environment=environment))

    return run


def right(predictions: list[dict[str, Any]]) -> bool:
    """Whether these are the answers to ROWS."""
    wanted = np.asarray(ROWS, dtype=np.float32) @ WEIGHTS
    return np.allclose([row["y"] for row in predictions], wanted, atol=1e-5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: object = None, *, timeout_s: float = 30, **headers: str) -> tuple[int, Any]:
    """Status and JSON, or text, of an answer."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        connection.request(method, path, data, {"content-type": "application/json", **named})
        answer = connection.getresponse()
        text = answer.read().decode()
    with contextlib.suppress(ValueError):
        return answer.status, json.loads(text)
    return answer.status, text


@contextlib.contextmanager
def running(
    words: list[str | Path], port: int, *, environment: Mapping[str, str], folder: Path | None = None, within_s: float = 60
) -> Iterator[None]:
    """A program until something listens at the port; ended by its own process id."""
    with (folder / "program.log" if folder else Path(os.devnull)).open("w+b") as log:
        process = subprocess.Popen(words, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + within_s
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                log.flush()
                said = Path(log.name).read_text() if folder else ""
                assert process.poll() is None, f"{words[0]} ended with {process.returncode}\n{said}"
                assert time.monotonic() < deadline, f"{words[0]} did not listen within {within_s:g} s\n{said}"
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait(10)


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The server's image of `iris`, unpacked for runc."""
    return unpack(iris_image())


LACKING = """#!/bin/sh
# moto has no provisioned concurrency: the calls are written down, and what AWS says where there is none is said
case "$2" in
*-provisioned-concurrency-config)
    echo "$*" >> "$HOME/lacking.log"
    case "$2" in delete-*) echo "An error occurred (ResourceNotFoundException) when calling it" >&2; exit 254;; esac
    exit 0;;
esac
exec "{aws}" "$@"
"""


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[dict[str, str]]:
    """moto on loopback, and the environment that AWS's client finds it by."""
    port = free_port()
    words: list[str | Path] = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    client = tmp_path / "client/aws"
    client.parent.mkdir()
    client.write_text(LACKING.format(aws=toolbox("aws") / "aws"))
    client.chmod(0o755)
    with running(words, port, environment={"HOME": str(tmp_path), "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}):
        yield {
            "PATH": f"{client.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }


def aws(cloud: dict[str, str], *words: str) -> Any:
    """What AWS's client says of that moto."""
    command = [toolbox("aws") / "aws", "--output", "json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=cloud)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "{}")

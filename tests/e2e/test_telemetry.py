"""Nothing phones home: the runner and the server, watched by strace for a minute in a network of their own, open the sockets that they listen on and no other.

ONNX Runtime, asked the same way without being told, is watched beside them: it shows that what would be sent is seen.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploying.packages import pack_linear
from tests.runner.kit import PYTHON, lay_out

from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.runner_library import this_machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WATCHED_S = 60.0
AWEIGH = Path(sys.executable).parent / "aweigh"
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
    fcntl.ioctl(anything, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
os.execvp(sys.argv[1], sys.argv[1:])
"""
UNTOLD = """
import sys, time, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
time.sleep(3600)
"""


@pytest.fixture
def alone(program: Callable[[str], str]) -> list[str]:
    """What a command is put behind: strace, in a network without anything but loopback."""
    strace, words = program("strace"), ["unshare", "--net", sys.executable, "-c", LOOPBACK]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs leave to make a namespace without a network")
    return [*words, strace, "-f", "-qq", "-e", "trace=network,openat", "-o"]


@contextlib.contextmanager
def watched(before: list[str], log: Path, command: list[str], environment: dict[str, str]) -> Iterator[None]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(log.parent), **environment}
    process = subprocess.Popen(
        [*before, str(log), *command], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
        assert process.poll() is None, f"{command}: ended with {process.returncode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def asked(place: Path) -> bytes:
    """A prediction, through the socket in the file system: loopback is another one there."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(place))
        stream.sendall(b"POST /predict/linear HTTP/1.0\r\ncontent-length: 11\r\n\r\n[[1,2,3,4]]")
        return b"".join(iter(lambda: stream.recv(4096), b""))


def ready(place: Path) -> bool:
    """Whether it listens: it is bound before its model is loaded."""
    try:
        return b"200 OK" in asked(place)
    except OSError:
        return False


def calls(log: Path) -> tuple[list[str], list[str]]:
    """Sockets of the internet that were made, and everything that was sent by one, connected, looked up or written down."""
    lines = log.read_text(errors="replace").splitlines()
    made = [line for line in lines if re.search(r"\bsocket\(AF_INET", line)]
    sent = [line for line in lines if re.search(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*AF_INET", line)]
    return made, [*sent, *(line for line in lines if "resolv.conf" in line or ".cache/Microsoft" in line)]


def test_no_socket_is_opened_in_a_minute_but_those_that_are_listened_on(alone: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    package: Any = pack_linear(home)
    variant = package.manifest.variants[0]
    run = str(lay_out(runner_bundle(package, variant, this_machine(), cache=tmp_path), tmp_path / "bundle") / "run.py")
    logs = {name: tmp_path / f"{name}.log" for name in ("port", "file", "server", "untold")}
    place = tmp_path / "s"
    began = time.monotonic()
    with (
        watched(alone, logs["port"], [PYTHON, "-IS", run, "--port", "8080"], {}),
        watched(alone, logs["file"], [PYTHON, "-IS", run, "--host", f"unix:{place}"], {}),
        watched(alone, logs["server"], [str(AWEIGH), "--home", str(home), "serve", "linear", "--port", "8080"], {}),
        watched(alone, logs["untold"], [sys.executable, "-c", UNTOLD, str(package.path(variant.files[0]))], {}),
    ):
        while not ready(place) and time.monotonic() - began < 40:
            time.sleep(0.5)
        answers = []
        while time.monotonic() - began < WATCHED_S:
            answers.append(asked(place))
            time.sleep(2)
    assert all(b"200 OK" in answer for answer in answers)
    assert calls(logs["file"]) == ([], [])
    for name in ("port", "server"):
        made, sent = calls(logs[name])
        assert made, f"{name}: it never listened"
        assert sent == []
        assert len(made) == len(re.findall(r"\blisten\(", logs[name].read_text(errors="replace"))), made
    assert "numpy" not in logs["file"].read_text(errors="replace")
    assert any(calls(logs["untold"])), "ONNX Runtime sent nothing although nobody told it not to: this test shows nothing"

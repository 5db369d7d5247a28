"""A fetch by Git that is stopped, however that is: nothing of it runs on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aweigh.core.errors import DeadlineExceeded
from aweigh.sources import Terms
from aweigh.sources.git import fetch_git

FETCH = """
import sys
from pathlib import Path
from aweigh.sources import Terms
from aweigh.sources.git import fetch_git

fetch_git(sys.argv[1], Path(sys.argv[2]), Terms(max_bytes=10**6, timeout_s=60.0, private_hosts=("127.0.0.1",)))
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in held:
        each.close()


def transferring(port: int) -> list[int]:
    """The processes of Git that speak to the server."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes()
            if words.partition(b"\0")[0].rpartition(b"/")[2].startswith(b"git") and f"127.0.0.1:{port}/models.git".encode() in words:
                found.append(int(place.name))
    return found


def wait(port: int, *, some: bool, limit_s: float = 10.0) -> bool:
    """Whether some, or none, come to be in time."""
    until = time.monotonic() + limit_s
    while bool(transferring(port)) != some:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_nothing_runs_on_after_the_deadline(silent: int, tmp_path: Path) -> None:
    seen: list[bool] = []
    watcher = threading.Thread(target=lambda: seen.append(wait(silent, some=True)))
    watcher.start()
    terms = Terms(max_bytes=10**6, timeout_s=0.2, private_hosts=("127.0.0.1",))
    with pytest.raises(DeadlineExceeded):
        fetch_git(f"git+https://127.0.0.1:{silent}/models.git", tmp_path, terms)
    watcher.join()
    assert seen == [True]
    assert wait(silent, some=False, limit_s=3.0), transferring(silent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_whoever_asked(silent: int, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", FETCH, f"git+https://127.0.0.1:{silent}/models.git", str(tmp_path / "fetched")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait(silent, some=True, limit_s=20.0)
            process.send_signal(number)
            process.wait(10)
        finally:
            process.kill()
    assert wait(silent, some=False, limit_s=5.0), transferring(silent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_behind(silent: int, tmp_path: Path, number: signal.Signals) -> None:
    variables = {**os.environ, "AWEIGH_PRIVATE_HOSTS": "127.0.0.1", "AWEIGH_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "aweigh.cli.main", "pack", f"git+https://127.0.0.1:{silent}/models.git", "--name", "x"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert wait(silent, some=True, limit_s=20.0), process.communicate(timeout=5)[0]
            assert list((tmp_path / "tmp").iterdir())
            process.send_signal(number)
            assert process.wait(10) == 128 + number
        finally:
            process.kill()
    assert list((tmp_path / "tmp").iterdir()) == []

"""Budgets of starting and installing: import, --help, ready to serve, size on disk. Interleaved, medians; each run is a new process."""

import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.peers.aweigh import command as aweigh_command
from bench.processes import BenchError, Running, free_port, running
from bench.workload import Workload

ROOT: Final = Path(__file__).parent.parent
HELP_S: Final = 0.15
IMPORT_RATIO: Final = 1.5
READY_S: Final = 1.0
INSTALL_MB: Final = 200.0
_READY: Final = b"GET /v2/health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One figure and its limit (None: only for comparison)."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def met(self) -> bool:
        return self.limit is None or self.value <= self.limit


def commands(rounds: int) -> list[Budget]:
    """`import aweigh` against a bare interpreter, and `aweigh --help`."""
    lines = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import aweigh'": [sys.executable, "-c", "import aweigh"],
        "aweigh --help": [aweigh_command(), "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(rounds + 1):  # the first round warms the file cache and is dropped below
        for name, line in lines.items():
            times[name].append(_duration_s(line))
    bare, imported, shown = (statistics.median(values[1:]) for values in times.values())
    return [
        Budget(name="python -c pass", value=bare, unit="s"),
        Budget(name="import aweigh, times python -c pass", value=imported / bare, unit="x", limit=IMPORT_RATIO),
        Budget(name="aweigh --help", value=shown, unit="s", limit=HELP_S),
    ]


def _duration_s(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise BenchError(f"ended with status {done.returncode}: {' '.join(command)}\n{done.stderr.decode(errors='replace')[-500:]}")
    return took


def serving(workload: Workload, folder: Path, rounds: int) -> list[Budget]:
    """`aweigh serve` until /v2/health/ready says 200: of a package in the store, and of a file that is packed on the fly."""
    home = folder / "startup-home"
    environment = {"AWEIGH_HOME": str(home)}
    _run([aweigh_command(), "pack", str(workload.file), "--name", workload.model], environment)
    of_package = [_ready_s(["serve", workload.model], environment, folder) for _ in range(rounds)]
    of_file = [
        _ready_s(["serve", str(workload.file), "--name", workload.model], {"AWEIGH_HOME": str(folder / f"startup-{at}")}, folder)
        for at in range(rounds)
    ]
    return [
        Budget(name="aweigh serve NAME, ready (small model)", value=statistics.median(of_package), unit="s", limit=READY_S),
        Budget(name="aweigh serve FILE, ready (packs on the fly)", value=statistics.median(of_file), unit="s"),
    ]


def _ready_s(arguments: list[str], environment: dict[str, str], folder: Path) -> float:
    port = free_port()
    start = time.perf_counter()
    with running("aweigh", [aweigh_command(), *arguments, "--port", str(port)], folder, environment) as server:
        _until(lambda: _says_ready(port), server)
        return time.perf_counter() - start


def _until(ready: Callable[[], bool], server: Running) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        if server.ended or time.monotonic() > deadline:
            raise server.failure()
        time.sleep(0.002)


def _says_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(_READY)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _run(command: list[str], environment: dict[str, str], limit_s: float = 300) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise BenchError(f"ended with status {done.returncode}: {' '.join(command)}\n{done.stderr[-1000:]}")


def install() -> list[Budget]:
    """Install the base package into a new environment, as pip does it (with bytecode), and weigh what came. Needs the package index."""
    with tempfile.TemporaryDirectory(prefix="aweigh-install-") as folder:
        venv.create(folder, with_pip=True)
        before = _size_mb(Path(folder))
        _run([str(Path(folder) / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)], {})
        return [Budget(name="base install with bytecode", value=_size_mb(Path(folder)) - before, unit="MB", limit=INSTALL_MB)]


def _size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink()) / 1e6

"""A server under test: started as its own process, watched for CPU time, ended by its own pid. Must leave nothing running."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
STOP_S: Final = 15.0


class BenchError(Exception):
    """Why a measurement cannot be made; the text says what to do."""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


class Running:
    """One started server."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def cpu_s(self) -> float:
        """User and system time so far, of the process and its children, ended ones included."""
        return sum(_cpu_s(pid) for pid in tree(self.process.pid))

    def memory_mb(self) -> float:
        """Resident memory of the process and its children; shared pages count in each."""
        return sum(_memory_mb(pid) for pid in tree(self.process.pid))

    def failure(self) -> BenchError:
        said = self.log.read_text(errors="replace").strip().splitlines()[-12:]
        state = f"ended with status {self.process.returncode}" if self.ended else "does not answer"
        return BenchError("\n".join([f"{self.name} {state}: {' '.join(self.command)}", *(f"  {line}" for line in said)]))

    def stop(self) -> None:
        children = tree(self.process.pid)[1:] if not self.ended else []
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_S
        while any(map(_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.01)


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[Running]:
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    server = Running(name, command, log, environment)
    try:
        yield server
    finally:
        server.stop()


def stop_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that `running` ends its servers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def tree(pid: int) -> list[int]:
    """The process and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in children.read_text().split())
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def _memory_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

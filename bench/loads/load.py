"""What a load generator gives: one sample per run."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.peers.peer import Started
from bench.processes import BenchError
from bench.workload import Workload


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one generator against one server."""

    requests: int
    seconds: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_s: float = 0.0
    """Of the server, while the run lasted."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_ms_per_thousand(self) -> float:
        return 1e6 * self.cpu_s / self.requests


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A generator: `measure(server, workload, seconds, folder)`; `latency`, given the speed that was measured, where `measure` tells none."""

    title: Callable[[Workload], str]
    measure: Callable[[Started, Workload, int, Path], Sample]
    latency: Callable[[Started, Workload, float, Path], tuple[float, float]] | None = None


def tool(name: str, debian_package: str) -> str:
    """The tool's path. Raises BenchError naming the package."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is not installed: it is in the Debian package '{debian_package}'")
    return path


def output_of(command: list[str], limit_s: float) -> str:
    """Run a generator, bounded. Raises BenchError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"did not end within {limit_s:.0f} s: {' '.join(command)}") from error
    if done.returncode:
        raise BenchError(f"ended with status {done.returncode}: {' '.join(command)}\n{done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout

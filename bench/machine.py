"""Where and with what it was measured: a figure without that says nothing."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LIBRARIES: Final = ("aweigh", "numpy", "onnxruntime", "msgspec", "orjson", "uvloop", "httptools", "hpack", "protobuf", "grpcio")
BIAS: Final = (
    "closed loop: each generator waits for an answer before it asks again, so latencies leave out the queue of an open loop",
    "load generators share the cores with the servers; servers that use less CPU leave them more",
    "every ONNX Runtime session has one thread; one process per server unless its line says otherwise",
    "loopback only; medians of interleaved rounds; ratios are pairwise within a round: read ratios, not absolutes",
)


def describe(libraries: Sequence[str] = LIBRARIES) -> dict[str, object]:
    """The machine, the system, the versions and the load before the run."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": load(),
        "versions": {name: _version(name) for name in libraries},
        "tools": {"wrk": _said("wrk", "-v"), "h2load": _said("h2load", "--version")},
        "bias": list(BIAS),
    }


def load() -> list[float]:
    """Processes that wanted a core over the last 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not installed"
    said = (done.stdout or done.stderr).strip().splitlines()
    return said[0].partition(" Copyright")[0] if said else "unknown"

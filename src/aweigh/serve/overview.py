"""The state of a server as an operator sees it: its workers and its models. Made for `GET /status`, shown by `aweigh status`.

Forms alone: a supervisor and a command line read them without the engine, which would be memory for nothing.
"""

import os
from pathlib import Path

import msgspec

from aweigh.engine.processes import ProcessFacts


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded version: what runs, where, and why there. Milliseconds and microseconds as measured at loading."""

    name: str
    version: str
    digest: str
    variant: str
    runtime: str
    executor: str
    why: str
    weights: str
    """Where its weights lie: `private`, or `shared` by all workers; and what that costs."""
    load_ms: float
    replay_ms: float
    golden_cases: int
    call_us: float


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One process that serves. Sizes in bytes; `proportional_bytes` counts memory that several processes share by its share (PSS)."""

    pid: int
    state: str
    """starting, ready, draining, ending (killed a moment ago), waiting (died, and starts again after a pause) or unhealthy (dies again and again)."""
    uptime_s: float
    restarts: int
    resident_bytes: int
    proportional_bytes: int
    private_bytes: int
    requests: int
    connections: int
    last_end: str = ""
    """Why the one before it ended."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The server without its models. `supervisor_pid` is 0 where one process does everything."""

    supervisor_pid: int
    uptime_s: float
    workers: tuple[WorkerFacts, ...]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One served version, and what all workers together did with it."""

    facts: ModelFacts
    requests: int
    failed: int
    rows: int
    processes: tuple[ProcessFacts, ...] = ()
    """Of a model that runs in processes of its own: those of the worker that was asked, and how they fare. Else empty."""


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `GET /status`."""

    version: str
    ready: bool
    supervisor_pid: int
    uptime_s: float
    workers: tuple[WorkerFacts, ...]
    models: tuple[ModelStatus, ...]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a process: resident, its share of what is shared, and its own that no file stands behind."""

    resident: int = 0
    proportional: int = 0
    private: int = 0


def memory_of(pid: int) -> Memory:
    """From /proc; zeros where there is none, or the process is gone."""
    sizes = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]:
            name, _, size = line.partition(":")
            sizes[name] = int(size.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return Memory()
    return Memory(resident=sizes.get("Rss", 0), proportional=sizes.get("Pss", 0), private=sizes.get("Anonymous", 0))


def private_bytes_of(pid: int) -> int:
    """Resident memory that no file stands behind, without the cost of `memory_of`; 0 where it cannot be told."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text("ascii").split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0

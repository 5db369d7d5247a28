"""The state of a server as an operator sees it: its workers and its models. Made for `GET /status`, shown by `aweigh status`.

Forms alone: a supervisor and a command line read them without the engine, which would be memory for nothing.
"""

import os
from pathlib import Path

import msgspec

from aweigh.core.rollout import Report
from aweigh.engine.memory_budget import Room
from aweigh.engine.processes import ProcessFacts
from aweigh.serve.pipelines import StepFacts


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded version: what runs, where, and why there. Milliseconds and microseconds as measured at loading."""

    name: str
    version: str
    digest: str
    variant: str
    variant_why: str
    """Why this one of the package's variants."""
    runtime: str
    executor: str
    why: str
    weights: str
    """Where its weights lie: `private`, or `shared` by all workers; and what that costs."""
    load_ms: float
    replay_ms: float
    golden_cases: int
    call_us: float
    memory_bytes: int = 0
    """What loading it added to the memory of the process that was asked, at least the size of its files."""


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
    steps: tuple[StepFacts, ...] = ()
    """Of a pipeline."""
    answers: tuple[str, ...] = ()
    """Of a pipeline: `OUTPUT = SOURCE` for each of its outputs."""


class AsleepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is served and not loaded, in the process that was asked: it is loaded when it is asked for."""

    name: str
    version: str
    why: str


class FallbackFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A name with a model to fall back on. The circuit is that of the process that was asked; `taken` counts the requests of all."""

    name: str
    other: str
    circuit: str
    """closed: the first choice is asked; open: it is not; half-open: one request tries it."""
    taken: int


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `GET /status`."""

    version: str
    ready: bool
    supervisor_pid: int
    uptime_s: float
    workers: tuple[WorkerFacts, ...]
    models: tuple[ModelStatus, ...]
    asleep: tuple[AsleepFacts, ...] = ()
    room: Room | None = None
    """Memory for models in the process that was asked."""
    rollouts: tuple[Report, ...] = ()
    """Those under way."""
    fallbacks: tuple[FallbackFacts, ...] = ()


def private_bytes_of(pid: int) -> int:
    """Resident memory that no file stands behind, without the cost of `memory_of`; 0 where it cannot be told."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text("ascii").split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0

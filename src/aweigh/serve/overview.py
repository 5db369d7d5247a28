"""The state of a server as an operator sees it: its workers and its models. Made for `GET /status`, shown by `aweigh status`."""

import os
import time
from pathlib import Path

import msgspec

from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.processes import ProcessFacts
from aweigh.engine.statistics import ModelStatistics


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


def facts_of(model: LoadedModel) -> ModelFacts:
    """What is worth telling of a loaded model."""
    report = model.report
    return ModelFacts(
        name=model.name,
        version=model.version,
        digest=model.digest,
        variant=model.variant.name,
        runtime=model.variant.runtime,
        executor=report.executor,
        why=report.why,
        weights=report.weights,
        load_ms=round(report.load_ms, 1),
        replay_ms=round(report.replay_ms, 1),
        golden_cases=report.golden_cases,
        call_us=round(report.call_us, 1),
    )


def status_of(model: LoadedModel, done: ModelStatistics) -> ModelStatus:
    """A model with its counts."""
    processes = model.processes
    return ModelStatus(
        facts=facts_of(model),
        requests=done.succeeded,
        failed=sum(done.failed.values()),
        rows=done.rows,
        processes=(processes,) if processes is not None else (),
    )


def overview_of_one(dataplane: DataPlane, began: float) -> Overview:
    """The overview of a server that is this process alone; `began` by `time.monotonic`."""
    memory, uptime_s = memory_of(os.getpid()), round(time.monotonic() - began, 1)
    worker = WorkerFacts(
        pid=os.getpid(),
        state="ready" if dataplane.ready else "draining" if dataplane.draining else "starting",
        uptime_s=uptime_s,
        restarts=0,
        resident_bytes=memory.resident,
        proportional_bytes=memory.proportional,
        private_bytes=memory.private,
        requests=sum(model.statistics.succeeded for model in dataplane.models()),
        connections=dataplane.wire.connections().open if dataplane.wire is not None else 0,
    )
    return Overview(supervisor_pid=0, uptime_s=uptime_s, workers=(worker,))


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

"""Fills the forms of `overview` from what this process has loaded and counted."""

import os
import time

from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.statistics import ModelStatistics
from aweigh.serve.overview import ModelFacts, ModelStatus, Overview, WorkerFacts, memory_of


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

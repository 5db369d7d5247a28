"""Fills the forms of `overview` from what this process has loaded and counted."""

import os
import time

from aweigh.core.process_memory import memory_of
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.statistics import ModelStatistics
from aweigh.serve.overview import FallbackFacts, ModelFacts, ModelStatus, Overview, WorkerFacts
from aweigh.serve.pipelines import step_facts


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
        variant_why=report.variant_why,
        why=report.why,
        weights=report.weights,
        load_ms=round(report.load_ms, 1),
        replay_ms=round(report.replay_ms, 1),
        golden_cases=report.golden_cases,
        call_us=round(report.call_us, 1),
        memory_bytes=report.memory_bytes,
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
        steps=tuple(step_facts(model)),
        answers=tuple(f"{name} = {source}" for name, source in model.answers),
    )


def fallbacks_told(dataplane: DataPlane) -> tuple[FallbackFacts, ...]:
    """The names that have a model to fall back on, and how that goes."""
    return tuple(
        FallbackFacts(name=name, other=each.other, circuit=each.circuit.state.value, taken=each.statistics.total().succeeded)
        for name, each in sorted(dataplane.routing.fallbacks().items())
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

"""What a served pipeline does, step by step: the document of `GET /pipelines/NAME`, and entries of Triton's statistics.

Forms alone at the top: a command line reads them. What fills them is `step_facts`, from statistics of all workers.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from aweigh.core.pipeline import takes

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel


class StepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One step. Times in microseconds; counts are those of all workers. A request to a step is one call of it that the pipeline asked for:
    the requests of one turn that ran together are one."""

    name: str
    runs: str
    """What it is: `fraud:3`, `function features.py:clean`, or a combination such as `mean`."""
    takes: tuple[str, ...]
    """Sources: `request.NAME` or `STEP.OUTPUT`, what decides on a branch's rows among them."""
    rows: str = ""
    """Which rows come to it; empty for all."""
    executor: str = ""
    requests: int = 0
    failed: int = 0
    answered_rows: int = 0
    executions: int = 0
    call_us: float = 0.0
    """Of one call, whatever its rows, on average."""
    latency_us: float = 0.0
    """From what it is given to what it gives, waiting included, on average."""
    waiting_us: float = 0.0
    in_flight: int = 0


class PipelineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `GET /pipelines/NAME`."""

    name: str
    version: str
    digest: str
    executor: str
    why: str
    requests: int
    failed: int
    latency_us: float
    outputs: dict[str, str]
    """What is answered, and from where."""
    steps: tuple[StepFacts, ...]


def pipeline_facts(model: "LoadedModel") -> PipelineFacts:
    """Of a loaded pipeline."""
    done = model.statistics.total()
    return PipelineFacts(
        name=model.name,
        version=model.version,
        digest=model.digest,
        executor=model.report.executor,
        why=model.report.why,
        requests=done.succeeded,
        failed=sum(done.failed.values()),
        latency_us=_mean_us(done.duration.sum_s, done.succeeded),
        outputs=dict(model.answers),
        steps=tuple(step_facts(model)),
    )


def step_facts(model: "LoadedModel") -> Iterator[StepFacts]:
    """The steps of a pipeline, in order; none for any other model."""
    steps = {node.name: node.step for node in model.steps}
    for node in model.steps:
        done = node.statistics.total()
        queued_s = done.queued.sum_s
        yield StepFacts(
            name=node.name,
            runs=node.step.runs,
            takes=takes(node.step, steps),
            rows=node.step.rows,
            executor=node.model.report.executor if node.model is not None else "inline",
            requests=done.succeeded,
            failed=sum(done.failed.values()),
            answered_rows=done.rows,
            executions=done.executions,
            call_us=_mean_us(sum(seconds for _, seconds, _ in done.batches.values()), done.executions),
            latency_us=_mean_us(done.duration.sum_s, done.succeeded),
            waiting_us=_mean_us(queued_s, done.succeeded),
            in_flight=done.in_flight,
        )


def _mean_us(seconds: float, count: int) -> float:
    return round(seconds / count * 1e6, 1) if count else 0.0

"""Prometheus' lines about the steps of pipelines."""

from collections.abc import Callable, Iterator, Sequence

from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.plan import Node
from aweigh.engine.statistics import ModelStatistics
from aweigh.serve.prometheus import family, histogram_lines


def step_lines(models: Sequence[LoadedModel]) -> Iterator[str]:
    """The families of Prometheus about steps, each with the labels pipeline, version, step and model. Nothing without pipelines."""
    found = [(_labels(model, node), node.statistics.total()) for model in models for node in model.steps]
    if not found:
        return
    yield family("aweigh_step_requests_total", "counter", "Calls that pipelines asked of a step, by outcome")
    for labels, done in found:
        yield f'aweigh_step_requests_total{{{labels},outcome="ok"}} {done.succeeded}\n'
        for kind, count in sorted(done.failed.items()):
            yield f'aweigh_step_requests_total{{{labels},outcome="{kind.value.lower()}"}} {count}\n'
    counts: tuple[tuple[str, str, str, Callable[[ModelStatistics], int]], ...] = (
        ("aweigh_step_rows_total", "counter", "Rows that a step answered", lambda done: done.rows),
        (
            "aweigh_step_executions_total",
            "counter",
            "Calls of a step's model; fewer than requests where these ran together",
            lambda done: done.executions,
        ),
        ("aweigh_step_in_flight", "gauge", "Calls handed to a step and not yet answered", lambda done: done.in_flight),
    )
    for name, kind_of, text, read in counts:
        yield family(name, kind_of, text)
        yield from (f"{name}{{{labels}}} {read(done)}\n" for labels, done in found)
    yield family("aweigh_step_duration_seconds", "histogram", "Time from what a step is given to what it gives")
    for labels, done in found:
        yield from histogram_lines("aweigh_step_duration_seconds", labels, done.duration)
    yield family("aweigh_step_queue_duration_seconds", "histogram", "Time that calls of a step wait")
    for labels, done in found:
        yield from histogram_lines("aweigh_step_queue_duration_seconds", labels, done.queued)


def _labels(model: LoadedModel, node: Node) -> str:
    return f'pipeline="{model.name}",version="{model.version}",step="{node.name}",model="{node.step.runs}"'

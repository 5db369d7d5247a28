"""What an operator asks of a server: /live, /ready, /metrics (Prometheus text), /status (workers and models), and the landing page at /."""

from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any, Final

import msgspec
import orjson

import aweigh
from aweigh.core.errors import AweighError
from aweigh.engine.batching.facts import batch_facts
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.statistics import BOUNDS_S, Histogram, ModelStatistics
from aweigh.serve.message import TEXT, AnyResponse, Request, Response
from aweigh.serve.outcome import failure_of
from aweigh.serve.overview import Overview, ServerStatus
from aweigh.serve.router import Permission, Route
from aweigh.serve.status import json_error
from aweigh.serve.told import overview_of_one, status_of

_BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PROMETHEUS: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Operations:
    """The dialect."""

    name = "operations"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._began = monotonic()

    def routes(self) -> list[Route]:
        def route(template: str, handler: object, permission: Permission) -> Route:
            return Route(method="GET", template=template, permission=permission, handler=handler, failure=self.failure)  # type: ignore[arg-type]  # methods below

        return [
            route("/live", self._live, Permission.PUBLIC),
            route("/ready", self._ready, Permission.PUBLIC),
            route("/metrics", self._metrics, Permission.OPERATE),
            route("/status", self._status, Permission.OPERATE),
            route("/", self._index, Permission.PUBLIC),
        ]

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return json_error(error)

    def _live(self, request: Request) -> Response:
        return Response(200, b"live\n", TEXT)

    def _ready(self, request: Request) -> Response:
        if self._dataplane.ready:
            return Response(200, b"ready\n", TEXT)
        return Response(503, b"draining\n" if self._dataplane.draining else b"starting\n", TEXT)

    def _index(self, request: Request) -> Response:
        paths = ["/predict/{name}", "/v2", "/live", "/ready", "/metrics", "/status"]
        return Response(200, orjson.dumps({"name": "aweigh", "version": aweigh.__version__, "paths": paths}))

    def _status(self, request: Request) -> Response | None:
        if self._dataplane.workers is None:
            return self._status_of(overview_of_one(self._dataplane, self._began))
        self._dataplane.workers(partial(self._answer_status, request))
        return None

    def _answer_status(self, request: Request, overview: Any, error: AweighError | None) -> None:
        request.reply(request, failure_of(error, request) if error is not None else self._status_of(overview))

    def _status_of(self, overview: Overview) -> Response:
        models = tuple(status_of(model, model.statistics.total()) for model in self._dataplane.models())
        status = ServerStatus(
            version=aweigh.__version__,
            ready=self._dataplane.ready,
            supervisor_pid=overview.supervisor_pid,
            uptime_s=overview.uptime_s,
            workers=overview.workers,
            models=models,
        )
        return Response(200, msgspec.json.encode(status))

    def _metrics(self, request: Request) -> Response:
        return Response(200, "".join(self._lines()).encode(), _PROMETHEUS)

    def _lines(self) -> Iterator[str]:
        models = [(model, model.statistics.total()) for model in self._dataplane.models()]
        yield _family("aweigh_ready", "gauge", "Whether this process takes requests")
        yield f"aweigh_ready {int(self._dataplane.ready)}\n"
        yield from _counters(models)
        yield _family("aweigh_request_duration_seconds", "histogram", "Time from decoded request to outputs")
        for model, done in models:
            yield from _histogram("aweigh_request_duration_seconds", _labels(model), done.duration)
        yield _family("aweigh_queue_duration_seconds", "histogram", "Time spent waiting for a thread")
        for model, done in models:
            yield from _histogram("aweigh_queue_duration_seconds", _labels(model), done.queued)
        if (wire := self._dataplane.wire) is not None:
            yield _family("aweigh_connections", "gauge", "Open connections")
            connections = wire.connections()
            yield f"aweigh_connections {connections.open}\n"
            yield _family("aweigh_connections_total", "counter", "Connections accepted")
            yield f"aweigh_connections_total {connections.accepted}\n"
            yield _family("aweigh_malformed_total", "counter", "Requests refused by the wire as malformed")
            yield f"aweigh_malformed_total {connections.refused}\n"


def _counters(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    yield _family("aweigh_requests_total", "counter", "Requests that reached a model, by outcome")
    for model, done in models:
        yield f'aweigh_requests_total{{{_labels(model)},outcome="ok"}} {done.succeeded}\n'
        for kind, count in sorted(done.failed.items()):
            yield f'aweigh_requests_total{{{_labels(model)},outcome="{kind.value.lower()}"}} {count}\n'
    yield _family("aweigh_rows_total", "counter", "Rows that the model answered; none for what the response cache answered")
    for model, done in models:
        yield f"aweigh_rows_total{{{_labels(model)}}} {done.rows}\n"
    yield from _batches(models)
    yield from _cache(models)
    yield _family("aweigh_requests_in_flight", "gauge", "Requests handed to a thread and not yet answered")
    for model, done in models:
        yield f"aweigh_requests_in_flight{{{_labels(model)}}} {done.in_flight}\n"
    apart = [(model, facts) for model, _ in models if (facts := model.processes) is not None]
    if apart:
        yield _family("aweigh_process_restarts_total", "counter", "Processes of a model that ended and were replaced")
        for model, facts in apart:
            yield f"aweigh_process_restarts_total{{{_labels(model)}}} {facts.restarts}\n"
        yield _family("aweigh_model_processes", "gauge", "Processes of a model that live")
        for model, facts in apart:
            yield f"aweigh_model_processes{{{_labels(model)}}} {len(facts.pids)}\n"
    yield _family("aweigh_model_info", "gauge", "What serves: variant, runtime, executor and package digest")
    for model, _ in models:
        told = (
            f'variant="{model.variant.name}",runtime="{model.variant.runtime}",executor="{model.report.executor}",digest="{model.digest}"'
        )
        yield f"aweigh_model_info{{{_labels(model)},{told}}} 1\n"


def _batches(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    yield _family("aweigh_executions_total", "counter", "Calls of the model that answered; fewer than requests where these ran together")
    for model, done in models:
        yield f"aweigh_executions_total{{{_labels(model)}}} {done.executions}\n"
    yield _family("aweigh_batch_rows", "histogram", "Rows of a call of the model")
    for model, done in models:
        yield from _sizes(_labels(model), done)
    facts = [(_labels(model), batch_facts(model, done)) for model, done in models]
    yield _family("aweigh_batch_limit_rows", "gauge", "Most rows of several requests that run together now, as chosen by this process")
    yield from (f"aweigh_batch_limit_rows{{{labels}}} {batch.chosen_rows}\n" for labels, batch in facts)
    yield _family("aweigh_requests_waiting", "gauge", "Requests that wait in this process to be put together")
    yield from (f"aweigh_requests_waiting{{{labels}}} {batch.waiting}\n" for labels, batch in facts)


def _cache(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    """Of the models whose answers are kept for equal requests."""
    kept = [(_labels(model), done) for model, done in models if model.responses is not None]
    if kept:
        yield _family("aweigh_cache_hits_total", "counter", "Requests that the response cache answered")
        yield from (f"aweigh_cache_hits_total{{{labels}}} {done.cache_hits}\n" for labels, done in kept)
        yield _family("aweigh_cache_misses_total", "counter", "Requests that the response cache was asked for in vain")
        yield from (f"aweigh_cache_misses_total{{{labels}}} {done.cache_misses}\n" for labels, done in kept)
        yield _family("aweigh_cache_bytes", "gauge", "Memory that the answers in the response cache take")
        yield from (f"aweigh_cache_bytes{{{labels}}} {done.cache_bytes}\n" for labels, done in kept)


def _sizes(labels: str, done: ModelStatistics) -> Iterator[str]:
    """Sizes that were not told apart count as the largest."""
    for bound in _BATCH_BOUNDS:
        yield f'aweigh_batch_rows_bucket{{{labels},le="{bound}"}} {sum(int(each[0]) for rows, each in done.batches.items() if rows <= bound)}\n'
    yield f'aweigh_batch_rows_bucket{{{labels},le="+Inf"}} {done.executions}\n'
    yield f"aweigh_batch_rows_sum{{{labels}}} {done.rows}\naweigh_batch_rows_count{{{labels}}} {done.executions}\n"


def _family(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _labels(model: LoadedModel) -> str:
    return f'model="{model.name}",version="{model.version}"'


def _histogram(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {total}\n'
    yield f"{name}_sum{{{labels}}} {histogram.sum_s:.6f}\n{name}_count{{{labels}}} {total}\n"

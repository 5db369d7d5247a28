"""What an operator asks of a server: /live, /ready, /metrics (Prometheus text), /status (workers and models), /pipelines, and the landing page at /."""

from collections.abc import Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

import msgspec
import orjson

import aweigh
from aweigh.core.errors import AweighError, NotFound
from aweigh.core.rollout import Report
from aweigh.engine.batching.facts import batch_facts
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.slab import ENDED, LATE, LINES_DROPPED, LOADS_FAILED
from aweigh.engine.statistics import ModelStatistics
from aweigh.serve.message import TEXT, AnyResponse, Request, Response
from aweigh.serve.outcome import failure_of
from aweigh.serve.overview import AsleepFacts, Overview, ServerStatus
from aweigh.serve.pipelines import pipeline_facts
from aweigh.serve.prometheus import family, histogram_lines
from aweigh.serve.rollout_facts import fallback_lines, rollout_lines, with_reports
from aweigh.serve.router import Permission, Route
from aweigh.serve.status import json_error
from aweigh.serve.step_lines import step_lines
from aweigh.serve.told import fallbacks_told, overview_of_one, status_of

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
            route("/pipelines", self._pipelines, Permission.PREDICT),
            route("/pipelines/{name}", self._pipeline, Permission.PREDICT),
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
        paths = ["/predict/{name}", "/v2", "/live", "/ready", "/metrics", "/status", "/pipelines"]
        return Response(200, orjson.dumps({"name": "aweigh", "version": aweigh.__version__, "paths": paths}))

    def _status(self, request: Request) -> Response | None:
        if self._dataplane.workers is not None:
            self._dataplane.workers(partial(self._answer_status, request))
            return None
        overview = overview_of_one(self._dataplane, self._began)
        return with_reports(self._dataplane, request, partial(self._status_of, overview))

    def _answer_status(self, request: Request, overview: Any, error: AweighError | None) -> None:
        answer = (
            failure_of(error, request) if error is not None else with_reports(self._dataplane, request, partial(self._status_of, overview))
        )
        if answer is not None:
            request.reply(request, answer)

    def _status_of(self, overview: Overview, reports: Sequence[Report]) -> Response:
        models = tuple(status_of(model, model.statistics.total()) for model in self._dataplane.models())
        status = ServerStatus(
            version=aweigh.__version__,
            ready=self._dataplane.ready,
            supervisor_pid=overview.supervisor_pid,
            uptime_s=overview.uptime_s,
            workers=overview.workers,
            models=models,
            asleep=tuple(AsleepFacts(name=name, version=version, why=why) for name, version, why in self._dataplane.asleep),
            room=self._dataplane.room() if self._dataplane.room is not None else None,
            rollouts=tuple(report for report in reports if report.open),
            fallbacks=fallbacks_told(self._dataplane),
        )
        return Response(200, msgspec.json.encode(status))

    def _pipelines(self, request: Request) -> Response:
        found = [pipeline_facts(model) for model in self._dataplane.models() if model.steps]
        return Response(200, msgspec.json.encode({"pipelines": found}))

    def _pipeline(self, request: Request) -> Response:
        model = self._dataplane.find(request.head.params["name"])
        if not model.steps:
            raise NotFound(f"model '{model.name}' is no pipeline", hint=f"GET /v2/models/{model.name}/stats tells what it does")
        return Response(200, msgspec.json.encode(pipeline_facts(model)))

    def _metrics(self, request: Request) -> Response | None:
        return with_reports(self._dataplane, request, self._text)

    def _text(self, reports: Sequence[Report]) -> Response:
        return Response(
            200, "".join((*self._lines(), *fallback_lines(fallbacks_told(self._dataplane)), *rollout_lines(reports))).encode(), _PROMETHEUS
        )

    def _lines(self) -> Iterator[str]:
        models = [(model, model.statistics.total()) for model in self._dataplane.models()]
        yield family("aweigh_ready", "gauge", "Whether this process takes requests")
        yield f"aweigh_ready {int(self._dataplane.ready)}\n"
        yield from _counters(models)
        yield family("aweigh_request_duration_seconds", "histogram", "Time from decoded request to outputs")
        for model, done in models:
            yield from histogram_lines("aweigh_request_duration_seconds", _labels(model), done.duration)
        yield family("aweigh_queue_duration_seconds", "histogram", "Time spent waiting for a thread")
        for model, done in models:
            yield from histogram_lines("aweigh_queue_duration_seconds", _labels(model), done.queued)
        yield from step_lines([model for model, _ in models])
        yield from _memory(self._dataplane)
        if (wire := self._dataplane.wire) is not None:
            yield family("aweigh_connections", "gauge", "Open connections")
            connections = wire.connections()
            yield f"aweigh_connections {connections.open}\n"
            yield family("aweigh_connections_total", "counter", "Connections accepted")
            yield f"aweigh_connections_total {connections.accepted}\n"
            yield family("aweigh_malformed_total", "counter", "Requests refused by the wire as malformed")
            yield f"aweigh_malformed_total {connections.refused}\n"
            yield family(
                "aweigh_late_total", "counter", "Requests refused undecoded because the event loop was too far behind for their deadline"
            )
            yield f"aweigh_late_total {wire.total(LATE)}\n"
            yield family("aweigh_model_load_failures_total", "counter", "Loads that failed while serving, in each worker that tried")
            yield f"aweigh_model_load_failures_total {wire.total(LOADS_FAILED)}\n"
            yield family("aweigh_log_lines_dropped_total", "counter", "Log lines that could not be written, or not soon enough")
            yield f"aweigh_log_lines_dropped_total {wire.total(LINES_DROPPED)}\n"
            yield family("aweigh_worker_deaths_total", "counter", "Workers that died, or were killed because they hung or grew")
            yield f"aweigh_worker_deaths_total {wire.total(ENDED)}\n"


def _counters(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    yield family("aweigh_requests_total", "counter", "Requests that reached a model, by outcome")
    for model, done in models:
        yield f'aweigh_requests_total{{{_labels(model)},outcome="ok"}} {done.succeeded}\n'
        for kind, count in sorted(done.failed.items()):
            yield f'aweigh_requests_total{{{_labels(model)},outcome="{kind.value.lower()}"}} {count}\n'
    yield family("aweigh_rows_total", "counter", "Rows that the model answered; none for what the response cache answered")
    for model, done in models:
        yield f"aweigh_rows_total{{{_labels(model)}}} {done.rows}\n"
    yield from _batches(models)
    yield from _cache(models)
    yield family("aweigh_requests_in_flight", "gauge", "Requests handed to a thread and not yet answered")
    for model, done in models:
        yield f"aweigh_requests_in_flight{{{_labels(model)}}} {done.in_flight}\n"
    apart = [(model, facts) for model, _ in models if (facts := model.processes) is not None]
    if apart:
        yield family("aweigh_process_restarts_total", "counter", "Processes of a model that ended and were replaced")
        for model, facts in apart:
            yield f"aweigh_process_restarts_total{{{_labels(model)}}} {facts.restarts}\n"
        yield family("aweigh_model_processes", "gauge", "Processes of a model that live")
        for model, facts in apart:
            yield f"aweigh_model_processes{{{_labels(model)}}} {len(facts.pids)}\n"
    yield family("aweigh_model_info", "gauge", "What serves: variant, runtime, executor and package digest")
    for model, _ in models:
        told = (
            f'variant="{model.variant.name}",runtime="{model.variant.runtime}",executor="{model.report.executor}",digest="{model.digest}"'
        )
        yield f"aweigh_model_info{{{_labels(model)},{told}}} 1\n"


def _batches(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    yield family("aweigh_executions_total", "counter", "Calls of the model that answered; fewer than requests where these ran together")
    for model, done in models:
        yield f"aweigh_executions_total{{{_labels(model)}}} {done.executions}\n"
    yield family("aweigh_batch_rows", "histogram", "Rows of a call of the model")
    for model, done in models:
        yield from _sizes(_labels(model), done)
    facts = [(_labels(model), batch_facts(model, done)) for model, done in models]
    yield family("aweigh_batch_limit_rows", "gauge", "Most rows of several requests that run together now, as chosen by this process")
    yield from (f"aweigh_batch_limit_rows{{{labels}}} {batch.chosen_rows}\n" for labels, batch in facts)
    yield family("aweigh_requests_waiting", "gauge", "Requests that wait in this process to be put together")
    yield from (f"aweigh_requests_waiting{{{labels}}} {batch.waiting}\n" for labels, batch in facts)


def _cache(models: list[tuple[LoadedModel, ModelStatistics]]) -> Iterator[str]:
    """Of the models whose answers are kept for equal requests."""
    kept = [(_labels(model), done) for model, done in models if model.responses is not None]
    if kept:
        yield family("aweigh_cache_hits_total", "counter", "Requests that the response cache answered")
        yield from (f"aweigh_cache_hits_total{{{labels}}} {done.cache_hits}\n" for labels, done in kept)
        yield family("aweigh_cache_misses_total", "counter", "Requests that the response cache was asked for in vain")
        yield from (f"aweigh_cache_misses_total{{{labels}}} {done.cache_misses}\n" for labels, done in kept)
        yield family("aweigh_cache_bytes", "gauge", "Memory that the answers in the response cache take")
        yield from (f"aweigh_cache_bytes{{{labels}}} {done.cache_bytes}\n" for labels, done in kept)


def _memory(dataplane: DataPlane) -> Iterator[str]:
    """Of this process: what its models take, and what it did to have room."""
    yield family("aweigh_model_memory_bytes", "gauge", "What loading a model added to the memory of this process, and of those that run it")
    yield from (f"aweigh_model_memory_bytes{{{_labels(model)}}} {model.report.memory_bytes}\n" for model in dataplane.models())
    if dataplane.room is None:
        return
    room = dataplane.room()
    yield family("aweigh_models_memory_bytes", "gauge", "What the models of this process take, by what their loads measured")
    yield f"aweigh_models_memory_bytes {room.used_bytes}\n"
    yield family("aweigh_memory_budget_bytes", "gauge", "Memory that the models of this process may take; 0 is no limit")
    yield f"aweigh_memory_budget_bytes {room.budget_bytes}\n"
    yield family("aweigh_models_asleep", "gauge", "Versions that are served and not loaded in this process")
    yield f"aweigh_models_asleep {sum(1 for _ in dataplane.asleep)}\n"
    yield family("aweigh_model_evictions_total", "counter", "Models that made room for others in this process")
    yield f"aweigh_model_evictions_total {room.evicted}\n"
    yield family("aweigh_model_wakes_total", "counter", "Loads that requests have caused in this process")
    yield f"aweigh_model_wakes_total {room.woken}\n"
    yield family("aweigh_requests_waiting_for_load", "gauge", "Requests that wait for their model to be loaded in this process")
    yield f"aweigh_requests_waiting_for_load {room.waiting}\n"


def _sizes(labels: str, done: ModelStatistics) -> Iterator[str]:
    """Sizes that were not told apart count as the largest."""
    for bound in _BATCH_BOUNDS:
        yield f'aweigh_batch_rows_bucket{{{labels},le="{bound}"}} {sum(int(each[0]) for rows, each in done.batches.items() if rows <= bound)}\n'
    yield f'aweigh_batch_rows_bucket{{{labels},le="+Inf"}} {done.executions}\n'
    yield f"aweigh_batch_rows_sum{{{labels}}} {done.rows}\naweigh_batch_rows_count{{{labels}}} {done.executions}\n"


def _labels(model: LoadedModel) -> str:
    return f'model="{model.name}",version="{model.version}"'

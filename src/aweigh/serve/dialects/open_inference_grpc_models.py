"""Open Inference V2 over gRPC, Triton's methods about models: statistics, configuration, and the repository's index, load and unload."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aweigh.core.errors import AweighError, Unsupported
from aweigh.engine.dataplane import DataPlane
from aweigh.protos import message
from aweigh.serve import repository
from aweigh.serve.asked import parameters_of
from aweigh.serve.message import GrpcResponse, Request
from aweigh.serve.model_facts import config_of, statistics_with_steps
from aweigh.serve.outcome import failure_of
from aweigh.serve.router import Permission, Route

_SERVICE: Final = "/inference.GRPCInferenceService/"
Parse = Callable[[str, Request], Any]
"""Reads the one message of a request, by the full name of its type."""


class ModelMethods:
    """Part of the dialect `open-inference-grpc`."""

    def __init__(self, dataplane: DataPlane, parse: Parse) -> None:
        self._dataplane = dataplane
        self._parse = parse

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        operate = Permission.OPERATE
        return [
            route(_SERVICE, "ModelStatistics", self._statistics),
            route(_SERVICE, "ModelConfig", self._config),
            route(_SERVICE, "RepositoryIndex", self._index, operate),
            route(_SERVICE, "RepositoryModelLoad", self._load, operate),
            route(_SERVICE, "RepositoryModelUnload", self._unload, operate),
        ]

    def _statistics(self, request: Request) -> GrpcResponse:
        asked = self._parse("inference.ModelStatisticsRequest", request)
        found = self._dataplane.named(asked.name, asked.version) if asked.name else self._dataplane.models()
        answer = message("inference.ModelStatisticsResponse")(
            model_stats=[each for model in found for each in statistics_with_steps(model)]
        )
        return GrpcResponse(answer.SerializeToString())

    def _config(self, request: Request) -> GrpcResponse:
        asked = self._parse("inference.ModelConfigRequest", request)
        model = self._dataplane.find(asked.name, asked.version)
        answer = message("inference.ModelConfigResponse")(config=config_of(model, self._dataplane.max_rows))
        return GrpcResponse(answer.SerializeToString())

    def _index(self, request: Request) -> None:
        asked = self._parse("inference.RepositoryIndexRequest", request)
        repository.control_of(self._dataplane).index(partial(_answer, request, _index_answer), ready_only=asked.ready)

    def _load(self, request: Request) -> None:
        asked = self._parse("inference.RepositoryModelLoadRequest", request)
        _check_repository(asked)
        made = message("inference.RepositoryModelLoadResponse")
        done = partial(_answer, request, lambda _: made())
        repository.load(self._dataplane, asked.model_name, parameters_of(asked.parameters) or {}, done)

    def _unload(self, request: Request) -> None:
        asked = self._parse("inference.RepositoryModelUnloadRequest", request)
        _check_repository(asked)
        made = message("inference.RepositoryModelUnloadResponse")
        done = partial(_answer, request, lambda _: made())
        repository.unload(self._dataplane, asked.model_name, parameters_of(asked.parameters) or {}, done)


def _check_repository(asked: Any) -> None:
    if asked.repository_name:
        raise Unsupported("'repository_name' specification is not supported", hint="leave it out: there is one repository, the store")


def _index_answer(lines: Any) -> Any:
    answer = message("inference.RepositoryIndexResponse")()
    for line in lines:
        answer.models.add(name=line.name, version=line.version, state=line.state, reason=line.reason)
    return answer


def _answer(request: Request, encode: Callable[[Any], Any], outcome: Any, error: AweighError | None) -> None:
    request.reply(request, failure_of(error, request) if error is not None else GrpcResponse(encode(outcome).SerializeToString()))

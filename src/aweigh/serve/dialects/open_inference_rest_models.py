"""Open Inference V2 over REST, Triton's extensions about models: statistics, configuration, and the repository's index, load and unload."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.engine.dataplane import DataPlane
from aweigh.serve import repository
from aweigh.serve.large_requests import check_small
from aweigh.serve.message import Request, Response
from aweigh.serve.model_facts import config_of, statistics_with_steps
from aweigh.serve.outcome import failure_of
from aweigh.serve.router import Permission, Route

_MODEL: Final = "/v2/models/{name}"
_REPOSITORY: Final = "/v2/repository"
_NAMED_REPOSITORY: Final = "/v2/repository/{repository}"


class _Asked(msgspec.Struct):
    parameters: dict[str, Any] = {}
    ready: bool = False


class ModelRoutes:
    """Part of the dialect `open-inference-rest`."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        operate = Permission.OPERATE
        paths = (_MODEL, _MODEL + "/versions/{version}")
        return [
            route("GET", "/v2/models/stats", self._all_statistics),
            *(route("GET", f"{path}/stats", self._statistics) for path in paths),
            *(route("GET", f"{path}/config", self._config) for path in paths),
            route("GET", "/v2/models", self._list),
            *(route("POST", f"{base}/index", self._index, operate) for base in (_REPOSITORY, _NAMED_REPOSITORY)),
            *(route("POST", f"{base}/models/{{name}}/load", self._load, operate) for base in (_REPOSITORY, _NAMED_REPOSITORY)),
            *(route("POST", f"{base}/models/{{name}}/unload", self._unload, operate) for base in (_REPOSITORY, _NAMED_REPOSITORY)),
        ]

    def _list(self, request: Request) -> Response:
        return Response(200, orjson.dumps({"models": self._dataplane.names()}))

    def _all_statistics(self, request: Request) -> Response:
        return Response(
            200, orjson.dumps({"model_stats": [each for model in self._dataplane.models() for each in statistics_with_steps(model)]})
        )

    def _statistics(self, request: Request) -> Response:
        found = self._dataplane.named(request.head.params["name"], request.head.params.get("version", ""))
        return Response(200, orjson.dumps({"model_stats": [each for model in found for each in statistics_with_steps(model)]}))

    def _config(self, request: Request) -> Response:
        model = self._dataplane.find(request.head.params["name"], request.head.params.get("version", ""))
        return Response(200, orjson.dumps(config_of(model, self._dataplane.max_rows)))

    def _index(self, request: Request) -> None:
        asked = _decoded(request.body)
        repository.control_of(self._dataplane).index(partial(_answer, request, _index_body), ready_only=asked.ready)

    def _load(self, request: Request) -> None:
        _check_repository(request)
        parameters = _decoded(request.body).parameters
        repository.load(self._dataplane, request.head.params["name"], parameters, partial(_answer, request, _nothing))

    def _unload(self, request: Request) -> None:
        _check_repository(request)
        parameters = _decoded(request.body).parameters
        repository.unload(self._dataplane, request.head.params["name"], parameters, partial(_answer, request, _nothing))


def _check_repository(request: Request) -> None:
    if "repository" in request.head.params:
        raise Unsupported("'repository_name' specification is not supported", hint="leave it out: there is one repository, the store")


def _decoded(body: bytes) -> _Asked:
    check_small(body)
    try:
        return msgspec.json.decode(body or b"{}", type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a repository request: {error}", hint='send {} or {"parameters": {…}}') from None


def _index_body(lines: Any) -> bytes:
    return orjson.dumps([{"name": line.name, "version": line.version, "state": line.state, "reason": line.reason} for line in lines])


def _nothing(_: Any) -> bytes:
    return b""


def _answer(request: Request, encode: Callable[[Any], bytes], outcome: Any, error: AweighError | None) -> None:
    request.reply(request, failure_of(error, request) if error is not None else Response(200, encode(outcome)))

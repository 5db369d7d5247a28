"""Open Inference V2 over REST, Triton's extensions about models: statistics, configuration, and the repository's index, load and unload."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.engine.dataplane import Control, DataPlane
from aweigh.serve.message import Request, Response
from aweigh.serve.model_facts import config_of, requested_version, statistics_of
from aweigh.serve.outcome import failure_of
from aweigh.serve.router import Permission, Route

_MODEL: Final = "/v2/models/{name}"


class _Asked(msgspec.Struct):
    parameters: dict[str, Any] = {}
    ready: bool = False


class ModelRoutes:
    """Part of the dialect `open-inference-rest`."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        operate, at = Permission.OPERATE, "/v2/repository/models/{name}"
        paths = (_MODEL, _MODEL + "/versions/{version}")
        return [
            route("GET", "/v2/models/stats", self._all_statistics),
            *(route("GET", f"{path}/stats", self._statistics) for path in paths),
            *(route("GET", f"{path}/config", self._config) for path in paths),
            route("POST", "/v2/repository/index", self._index, operate),
            route("POST", f"{at}/load", self._load, operate),
            route("POST", f"{at}/unload", self._unload, operate),
        ]

    def _all_statistics(self, request: Request) -> Response:
        return Response(200, orjson.dumps({"model_stats": [_with_json_fields(model) for model in self._dataplane.models()]}))

    def _statistics(self, request: Request) -> Response:
        name, version = request.head.params["name"], request.head.params.get("version", "")
        self._dataplane.find(name, version)
        found = [model for model in self._dataplane.models() if model.name == name and version in ("", model.version)]
        return Response(200, orjson.dumps({"model_stats": [_with_json_fields(model) for model in found]}))

    def _config(self, request: Request) -> Response:
        model = self._dataplane.find(request.head.params["name"], request.head.params.get("version", ""))
        return Response(200, orjson.dumps(config_of(model, self._dataplane.max_rows)))

    def _index(self, request: Request) -> None:
        asked = _decoded(request.body)
        self._control().index(partial(_answer, request, _index_body), ready_only=asked.ready)

    def _load(self, request: Request) -> None:
        version = requested_version(_decoded(request.body).parameters)
        self._control().load(request.head.params["name"], version, partial(_answer, request, _nothing))

    def _unload(self, request: Request) -> None:
        _decoded(request.body)
        self._control().unload(request.head.params["name"], partial(_answer, request, _nothing))

    def _control(self) -> Control:
        if self._dataplane.control is None:
            raise Unsupported("this server has no repository to load models from", hint="'aweigh serve' has: it serves from the store")
        return self._dataplane.control


def _decoded(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body or b"{}", type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a repository request: {error}", hint='send {} or {"parameters": {…}}') from None


def _with_json_fields(model: Any) -> dict[str, Any]:
    return statistics_of(model) | {"response_stats": {}, "memory_usage": []}


def _index_body(lines: Any) -> bytes:
    return orjson.dumps([{"name": line.name, "version": line.version, "state": line.state, "reason": line.reason} for line in lines])


def _nothing(_: Any) -> bytes:
    return b""


def _answer(request: Request, encode: Callable[[Any], bytes], outcome: Any, error: AweighError | None) -> None:
    request.reply(request, failure_of(error, request) if error is not None else Response(200, encode(outcome)))

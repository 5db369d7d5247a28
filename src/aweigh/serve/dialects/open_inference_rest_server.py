"""Open Inference V2 over REST, Triton's extensions about the server: shared memory, log settings, trace settings."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from aweigh.core.errors import Conflict, InvalidInput
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.asked import no_dynamic_logging, no_tracing
from aweigh.serve.message import Request, Response
from aweigh.serve.router import Permission, Route
from aweigh.serve.shared_memory import check_cuda, register_cuda, unsigned


class ServerRoutes:
    """Part of the dialect `open-inference-rest`. All of it is for those who may operate the server."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._regions = dataplane.regions

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        operate = Permission.OPERATE
        handlers: list[tuple[str, str, Any]] = [
            ("system", "status", self._status),
            ("system", "register", self._register),
            ("system", "unregister", self._unregister),
            ("cuda", "status", self._cuda_status),
            ("cuda", "register", self._cuda_register),
            ("cuda", "unregister", self._cuda_unregister),
        ]
        return [
            *(
                route("GET" if action == "status" else "POST", f"/v2/{kind}sharedmemory{region}/{action}", handler, operate)
                for kind, action, handler in handlers
                for region in ("", "/region/{region}")
            ),
            route("GET", "/v2/logging", self._logging, operate),
            route("POST", "/v2/logging", self._change_logging, operate),
            *(
                route(method, f"/v2{model}/trace/setting", self._trace, operate)
                for method in ("GET", "POST")
                for model in ("", "/models/{name}")
            ),
        ]

    def _status(self, request: Request) -> Response:
        found = self._regions.status(_region(request))
        lines = [{"name": each.name, "key": each.key, "offset": each.offset, "byte_size": each.byte_size} for each in found]
        return Response(200, orjson.dumps(lines))

    def _register(self, request: Request) -> Response:
        self._regions.check_allowed()
        asked = _object(request.body)
        for field in ("key", "byte_size"):
            if field not in asked:
                raise InvalidInput(f"Shared memory register request has no '{field}' field")
        key = asked["key"]
        if not isinstance(key, str):
            raise InvalidInput("Unable to parse 'key': attempt to access JSON non-string as string")
        try:
            self._regions.register(_region(request), key, unsigned(asked, "offset"), unsigned(asked, "byte_size"))
        except Conflict as error:
            raise InvalidInput(error.message, hint=error.hint) from error  # over HTTP Triton has 400 for it
        return Response(200)

    def _unregister(self, request: Request) -> Response:
        self._regions.unregister(_region(request))
        return Response(200)

    def _cuda_status(self, request: Request) -> Response:
        check_cuda(self._regions, _region(request))
        return Response(200, b"[]")

    def _cuda_register(self, request: Request) -> Response:
        register_cuda(self._regions, _region(request))

    def _cuda_unregister(self, request: Request) -> Response:
        self._regions.check_allowed()
        return Response(200)

    def _logging(self, request: Request) -> Response:
        if self._dataplane.logs is None:
            raise no_dynamic_logging()
        return Response(200, orjson.dumps(self._dataplane.logs.read()))

    def _change_logging(self, request: Request) -> Response:
        if self._dataplane.logs is None:
            raise no_dynamic_logging()
        asked = _object(request.body)
        self._dataplane.logs.change({name: value for name, value in asked.items() if value is not None})
        return self._logging(request)

    def _trace(self, request: Request) -> Response:
        if "name" in request.head.params:
            self._dataplane.find(request.head.params["name"])
        raise no_tracing()


def _region(request: Request) -> str:
    return request.head.params.get("region", "")


def _object(body: bytes) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a JSON object: {error}", hint="send an object of names and values") from None

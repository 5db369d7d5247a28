"""The dispatcher: from a parsed head to a route, through the authoriser, to the dialect's handler; errors back in the dialect's form.

The one place where an unexpected exception of a request is caught. Serves HTTP/1.1, HTTP/2 and ASGI alike.
"""

import dataclasses
import itertools
import logging
import os
import time
from collections.abc import Mapping
from functools import partial

from aweigh.core.errors import AweighError, InvalidInput, NotFound, Unsupported
from aweigh.serve.admission import Admission
from aweigh.serve.codings import coded_route
from aweigh.serve.guard import Authoriser
from aweigh.serve.message import AnyResponse, GrpcResponse, Head, Reply, Request, Response
from aweigh.serve.outcome import answer_of, failure_of, unexpected
from aweigh.serve.router import Permission, Route, RouteNotFound, Router
from aweigh.serve.status import GRPC_UNIMPLEMENTED, json_error

_LOG = logging.getLogger("aweigh.request")
_REQUEST_ID = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+=")
_MAX_REQUEST_ID = 128


class Dispatcher:
    """Joins router, authoriser and dialects. `resolve` runs once per distinct head, `dispatch` once per request."""

    def __init__(
        self, router: Router, authoriser: Authoriser, admission: Admission, *, max_body_bytes: int, access_log: bool = False
    ) -> None:
        self._router = router
        self._admission = admission
        self._max_body_bytes = max_body_bytes
        self._authoriser = authoriser
        self._promises = admission.limit_s > 0
        self._access_log = access_log
        self._prefix = os.urandom(5).hex().encode()
        self._count = itertools.count(1)

    def resolve(self, method: str, target: str, headers: Mapping[bytes, bytes]) -> Head:
        """Decide what can be decided from the head: route, permission, request id, timeout. Never raises: a refusal is the head's `fault`."""
        path, _, query = target.partition("?")
        fault: AweighError | None = None
        stranger: AweighError | None = None
        params: Mapping[str, str] = {}
        route = _refused()
        try:
            route, params = self._router.resolve(method, path)
            self._authoriser.check(route.permission, headers)
            stranger = self._authoriser.stranger(headers) if route.permission is Permission.PUBLIC else None
            if route.bodies is not None and (other := route.bodies(headers)) is not None:
                route = dataclasses.replace(route, handler=other)
            route = coded_route(route, headers, self._max_body_bytes)
        except RouteNotFound as missing:
            route = _no_route(method, path, missing.allowed, headers)
        except AweighError as error:
            fault = error
        head = Head(method=method, path=path, query=query, headers=headers, route=route, params=params)
        head.fault, head.stranger = fault or _door_fault(route, headers), stranger
        head.request_id, head.timeout_s = _request_id(headers), _timeout_s(headers)
        head.views = route.views is not None and route.views(headers)
        return head

    def request_id(self) -> bytes:
        """A fresh id, unique to this process."""
        return b"%b-%x" % (self._prefix, next(self._count))

    def dispatch(self, request: Request) -> AnyResponse | None:
        """Answer a request; None when the answer comes later through `request.reply`."""
        head = request.head
        try:
            if head.fault is not None:
                raise head.fault
            if head.timeout_s is not None or self._promises:
                self._admit(request, head)
            response = head.route.handler(request)
        except AweighError as error:
            response = answer_of(error, request)
        except RecursionError:
            response = failure_of(InvalidInput("the request is nested too deeply", hint="flatten it"), request)
        except Exception:  # noqa: BLE001  # the request boundary
            response = answer_of(unexpected(request), request)
        if self._access_log:
            if response is None:
                request.reply = partial(self._log_reply, request.reply)
            else:
                self._log(request, response)
        return response

    def _admit(self, request: Request, head: Head) -> None:
        """Set the deadline. Raises Overloaded for an inference that cannot be answered by then: health is asked for to learn of just that."""
        if head.route.permission is Permission.PREDICT:
            request.deadline = self._admission.deadline(head.timeout_s)
        elif head.timeout_s is not None:
            request.deadline = time.monotonic() + head.timeout_s

    def failed(self, error: AweighError, request: Request) -> AnyResponse:
        """The answer to a request that the wire gives up: what arrived too slowly, took too long or was too large."""
        response = failure_of(error, request)
        if self._access_log:
            self._log(request, response)
        return response

    def _log_reply(self, reply: Reply, request: Request, response: AnyResponse) -> None:
        self._log(request, response)
        reply(request, response)

    def _log(self, request: Request, response: AnyResponse) -> None:
        status = response.status if isinstance(response, Response) else response.code
        head = request.head
        _LOG.info("request", extra={"request_id": request.id.decode(), "method": head.method, "path": head.path, "status": status})


def _no_route(method: str, path: str, allowed: tuple[str, ...], headers: Mapping[bytes, bytes]) -> Route:
    """A route that answers what is nobody's: 404, 405, or gRPC's UNIMPLEMENTED."""
    grpc = headers.get(b"content-type", b"").startswith(b"application/grpc")

    def answer(_: Request) -> AnyResponse:
        if grpc:
            return GrpcResponse(b"", GRPC_UNIMPLEMENTED, f"unknown method {path[:200]}")
        if allowed:
            allow = ", ".join(allowed).encode()
            return Response(405, b'{"error":"Method Not Allowed"}', headers=((b"allow", allow),))
        return Response(404, b'{"error":"Not Found"}')

    return Route(method=method, template=path, permission=Permission.PUBLIC, handler=answer, failure=_plain_failure, grpc=grpc)


def _refused() -> Route:
    """What stands for a route until there is one: a path that cannot be anybody's."""

    def answer(request: Request) -> AnyResponse:
        return _plain_failure(NotFound("not found"), request)

    return Route(method="", template="", permission=Permission.PUBLIC, handler=answer, failure=_plain_failure)


def _plain_failure(error: AweighError, _: Request) -> AnyResponse:
    return json_error(error)


def _door_fault(route: Route, headers: Mapping[bytes, bytes]) -> AweighError | None:
    if not route.grpc:
        return None
    content_type = headers.get(b"content-type", b"")
    if not content_type.startswith(b"application/grpc") or content_type[16:17] not in (b"", b"+", b";"):
        return Unsupported(
            f"content-type {content_type.decode('latin-1')[:80]!r} on a gRPC method", hint="send application/grpc over HTTP/2"
        )
    return None


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id", b"")
    return given if given and len(given) <= _MAX_REQUEST_ID and _REQUEST_ID.issuperset(given) else b""


_GRPC_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def _timeout_s(headers: Mapping[bytes, bytes]) -> float | None:
    """The caller's deadline: `grpc-timeout` (gRPC over HTTP/2 spec) or `x-request-timeout-ms`; what cannot be read is ignored."""
    grpc = headers.get(b"grpc-timeout")
    if grpc and grpc[:-1].isdigit() and len(grpc) <= 9 and grpc[-1:] in _GRPC_UNITS:
        return int(grpc[:-1]) * _GRPC_UNITS[grpc[-1:]]
    given = headers.get(b"x-request-timeout-ms", b"")
    return int(given) / 1000 if given.isdigit() and len(given) <= 9 else None

"""The same dialects as an ASGI application (https://asgi.readthedocs.io), to mount inside another web framework. HTTP only: no gRPC.

Paths are taken relative to the mount point. Must not be slower than it need be, but is not the fast road: that is aweigh's own wire.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from aweigh.core.errors import AweighError, DeadlineExceeded, TooLarge, Unsupported
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.message import AnyResponse, Head, Request, Response
from aweigh.serve.status import json_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DISCONNECT: Final = "http.disconnect"


class AsgiApplication:
    """Callable as ASGI wants it. `close()` releases the models; the lifespan protocol's shutdown does so too."""

    def __init__(self, dispatcher: Dispatcher, dataplane: DataPlane) -> None:
        self._dispatcher = dispatcher
        self._dataplane = dataplane
        self._max_body = dataplane.settings.max_body_bytes
        self._timeout_s = dataplane.settings.request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    def close(self) -> None:
        """Release every model."""
        self._dataplane.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        path = quote(scope["path"].removeprefix(scope.get("root_path", "")) or "/", errors="surrogateescape")  # ASGI has it decoded
        query = scope.get("query_string", b"").decode("latin-1")
        head = self._dispatcher.resolve(scope["method"], f"{path}?{query}" if query else path, headers)
        request_id = head.request_id or self._dispatcher.request_id()
        try:
            body = await self._body(receive)
        except AweighError as error:
            await _send(send, json_error(error), request_id, head)
            return
        if body is None:
            return
        await _send(send, await self._answer(Request(head, body, lambda: request_id, _later)), request_id, head)

    async def _body(self, receive: Receive) -> bytes | None:
        parts, size = [], 0
        while True:
            event = await receive()
            if event["type"] == _DISCONNECT:
                return None
            part = event.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._max_body:
                raise TooLarge(f"a request of more than {self._max_body} bytes", hint="max_body_bytes sets the limit")
            if not event.get("more_body"):
                return b"".join(parts)

    async def _answer(self, request: Request) -> Response:
        answered: asyncio.Future[AnyResponse] = asyncio.get_running_loop().create_future()
        request.reply = lambda _, response: None if answered.done() else answered.set_result(response)
        response = self._dispatcher.dispatch(request)
        if response is None:
            try:
                response = await asyncio.wait_for(answered, self._timeout_s)
            except asyncio.CancelledError:
                request.cancelled = True
                raise
            except TimeoutError:
                request.cancelled = True
                error = DeadlineExceeded(f"no answer within {self._timeout_s:g} s", hint="request_timeout_s sets the limit")
                response = self._dispatcher.failed(error, request)
        if isinstance(response, Response):
            return response
        return json_error(Unsupported("gRPC is not served through ASGI", hint="use aweigh's own server"))


def _later(request: Request, response: AnyResponse) -> None:
    """Replaced before the request is dispatched."""


async def _send(send: Send, response: Response, request_id: bytes, head: Head) -> None:
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-request-id", request_id),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": [*headers, *response.headers]})
    await send({"type": "http.response.body", "body": b"" if head.method == "HEAD" else response.body})

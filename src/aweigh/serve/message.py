"""What passes between wire, dispatcher and dialects: a head (decided once, shared by equal requests), a request, a reply.

What is made for every request is a `msgspec.Struct`: it is made in half the time of a class with slots.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from aweigh.core.errors import AweighError, Unauthenticated

if TYPE_CHECKING:
    from aweigh.engine.choice import Choice
    from aweigh.serve.router import Route

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Head:
    """What was decided about a request from its head alone. Never changed after it was made: equal heads share one.

    `fault` is set when the head was already refused (unknown route, no key); the dispatcher answers with it.
    """

    __slots__ = (
        "chunked", "content_length", "expects_continue", "fault", "headers", "interim", "keep_alive", "method", "params", "path", "plain", "query", "request_id", "route",
        "stranger", "timeout_s", "views",
    )  # fmt: skip

    def __init__(
        self, *, method: str, path: str, query: str, headers: Mapping[bytes, bytes], route: "Route", params: Mapping[str, str]
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.route = route
        self.params = params
        self.fault: AweighError | None = None
        self.content_length = 0
        self.chunked = False
        self.expects_continue = False
        self.interim = False
        """Whether the client must take interim answers (1xx): HTTP/1.1."""
        self.keep_alive = True
        self.plain = True
        """Whether nothing but route and length was decided: only such heads are kept in the head cache."""
        self.stranger: AweighError | None = None
        """Of a public route: why the caller would be refused on any other. None for callers who are known."""
        self.request_id = b""
        self.timeout_s: float | None = None
        self.views = False
        """Whether the handler takes a large body as a view."""

    def check_known(self) -> None:
        """Raise Unauthenticated where only callers who are known may be answered, such as whether there is a model."""
        if self.stranger is not None:
            raise Unauthenticated(self.stranger.message, hint=self.stranger.hint)  # a new one: heads are shared, and tracebacks grow


class Response(msgspec.Struct, eq=False):
    """An HTTP answer."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class GrpcResponse(msgspec.Struct, eq=False):
    """A gRPC answer: a message (status 0), or a status code with its text, further trailers, and no message. `coding` is the message's, if any."""

    message: bytes
    code: int = 0
    text: str = ""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    coding: bytes = b""


AnyResponse = Response | GrpcResponse


class Request(msgspec.Struct, eq=False):
    """One request on its way. `deadline` is in seconds of `time.monotonic`; `cancelled` is set when the client has left."""

    head: Head
    body: bytes
    identify: Callable[[], bytes]
    """Gives a fresh id, if one is asked for."""
    reply: Callable[["Request", AnyResponse], None]
    stream: int = 0
    """The HTTP/2 stream it came on."""
    deadline: float | None = None
    cancelled: bool = False
    priority: int = 0
    view: memoryview | None = None
    """The body, in place of `body`, where it is large and `head.views`. Read-only."""
    chosen: "Choice | None" = None
    """Who may answer it, where several could."""
    named: bytes = b""
    """The id, once it was asked for."""

    @property
    def id(self) -> bytes:
        """The client's own id of it, or one that is unique to this process."""
        if not self.named:
            self.named = self.head.request_id or self.identify()
        return self.named

    def header(self, name: bytes) -> bytes | None:
        """The value of a header or metadata entry, by its name in lower case."""
        return self.head.headers.get(name)


Reply = Callable[[Request, AnyResponse], None]
Handler = Callable[[Request], AnyResponse | None]
"""Answers a request: at once, or with None and `request.reply(request, response)` later on the event loop."""


class Conversation(Protocol):
    """A dialect's side of a streaming gRPC call. Everything is called on the event loop."""

    def receive(self, message: bytes) -> None:
        """One message; the next one comes after `Talk.next`. Raises AweighError to end the call with it."""
        ...

    def cancel(self) -> None:
        """The call has ended, whoever ended it."""
        ...


class Talk(Protocol):
    """The wire's side of a streaming gRPC call."""

    head: Head
    id: bytes

    def answer(self, message: bytes) -> None:
        """Send one message."""
        ...

    def next(self) -> None:
        """The message that was received is answered."""
        ...

    def finish(self, status: GrpcResponse) -> None:
        """End the call."""
        ...

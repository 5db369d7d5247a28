"""What passes between wire, dispatcher and dialects: a head (decided once, shared by equal requests), a request, a reply."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from aweigh.core.errors import AweighError, Unauthenticated

if TYPE_CHECKING:
    from aweigh.serve.router import Route

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Head:
    """What was decided about a request from its head alone. Never changed after it was made: equal heads share one.

    `fault` is set when the head was already refused (unknown route, no key); the dispatcher answers with it.
    """

    __slots__ = (
        "chunked", "content_length", "expects_continue", "fault", "headers", "keep_alive", "method", "params", "path", "plain", "query", "request_id", "route",
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


class Response:
    """An HTTP answer."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers


class GrpcResponse:
    """A gRPC answer: a message (status 0), or a status code with its text, further trailers, and no message. `coding` is the message's, if any."""

    __slots__ = ("code", "coding", "message", "text", "trailers")

    def __init__(self, message: bytes, code: int = 0, text: str = "", trailers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.message = message
        self.code = code
        self.text = text
        self.trailers = trailers
        self.coding = b""


AnyResponse = Response | GrpcResponse


class Request:
    """One request on its way. `deadline` is in seconds of `time.monotonic`; `cancelled` is set when the client has left."""

    __slots__ = ("body", "cancelled", "deadline", "head", "id", "priority", "reply", "stream", "view")

    def __init__(self, head: Head, body: bytes, request_id: bytes, reply: Callable[["Request", AnyResponse], None]) -> None:
        self.head = head
        self.body = body
        self.id = request_id
        self.reply = reply
        self.deadline: float | None = None
        self.cancelled = False
        self.priority = 0
        self.stream = 0
        """The HTTP/2 stream it came on."""
        self.view: memoryview | None = None
        """The body, in place of `body`, where it is large and `head.views`. Read-only."""


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

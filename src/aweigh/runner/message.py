"""What passes between a carrier (HTTP, Lambda) and the forms: a request, a response."""

from __future__ import annotations

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large",
    415: "Unsupported Media Type", 417: "Expectation Failed", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip


class Request:
    """One request, whole. Names of headers are in lower case."""

    __slots__ = ("body", "headers", "id", "keep_alive", "method", "path")

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes = b"", *, keep_alive: bool = False) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.id = ""


class Response:
    """One answer."""

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(self, status: int, body: bytes = b"", kind: str = JSON, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.status = status
        self.body = body
        self.kind = kind
        self.headers = headers

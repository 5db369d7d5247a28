"""Request heads of HTTP/1.1: a strict parse (RFC 9112), and the head cache that spares equal heads a second one.

Between two requests of one client the head rarely changes, so what was decided is kept under its exact bytes. Only plain heads enter: a
head with transfer coding, upgrade, expectation, close, its own request id, or a refusal is decided anew each time, so no request is ever
judged by another's head. The cache is two generations of a bounded dict (least recently used in halves).
"""

import re
from typing import Final

import httptools

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.message import Head
from aweigh.serve.wire.limits import Limits

_CACHED_HEADS: Final = 1024
_MAX_CACHED_BYTES: Final = 4096
_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_REQUEST_LINE: Final = re.compile(rb"(?:\r\n)?[A-Z]+ [!-~]+ HTTP/[0-9]\.[0-9]\r\n")
"""RFC 9112 section 3, single spaces alone; one empty line before it is forgiven (section 2.2)."""
_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"content-encoding"})
_UNCACHED: Final = frozenset({
    b"transfer-encoding", b"content-encoding", b"upgrade", b"expect", b"x-request-id", b"traceparent", b"te", b"trailer",
})  # fmt: skip


class HeadCache:
    """Heads by their exact bytes. `clear` forgets every decision: called whenever routes, keys or limits change."""

    __slots__ = ("_old", "young")

    def __init__(self) -> None:
        self.young: dict[bytes, Head] = {}
        """Looked up first, and directly, by the connection."""
        self._old: dict[bytes, Head] = {}

    def find_old(self, raw: bytes) -> Head | None:
        """A head of the older generation, made young again."""
        head = self._old.pop(raw, None)
        if head is not None:
            self.young[raw] = head
        return head

    def keep(self, raw: bytes, head: Head) -> None:
        """Remember a plain head."""
        if not head.plain or len(raw) > _MAX_CACHED_BYTES:
            return
        if len(self.young) >= _CACHED_HEADS // 2:
            self._old = self.young.copy()
            self.young.clear()
        self.young[raw] = head

    def clear(self) -> None:
        self.young.clear()
        self._old = {}


class _Collector:
    """What httptools reports of one head."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def parse_head(raw: bytes, dispatcher: Dispatcher, limits: Limits) -> Head:
    """Parse one head, blank line included, and resolve it. Raises InvalidInput or TooLarge for what must close the connection."""
    if raw.count(b"\n") != raw.count(b"\r\n") or raw.count(b"\r") != raw.count(b"\r\n") or b"\0" in raw:
        raise InvalidInput("the request head holds a bare CR, LF or NUL", hint="end header lines with CR LF")
    if _REQUEST_LINE.match(raw) is None:
        raise InvalidInput("the first line is not METHOD TARGET HTTP/1.1")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise InvalidInput("the request head holds a folded header line", hint="write each header on one line")
    seen = _Collector()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an Upgrade header is ignored, as RFC 9110 section 7.8 allows: the request is answered over HTTP/1.1
    except httptools.HttpParserError as error:
        raise InvalidInput(f"not an HTTP/1.1 request: {error}") from None
    return _decide(parser, seen, dispatcher, limits)


def _decide(parser: httptools.HttpRequestParser, seen: _Collector, dispatcher: Dispatcher, limits: Limits) -> Head:
    method, version = parser.get_method().decode("latin-1"), parser.get_http_version()
    if method not in _KNOWN_METHODS or version not in {"1.1", "1.0"}:
        raise InvalidInput(f"{method} HTTP/{version} is not served here")
    if len(seen.headers) > limits.max_headers:
        raise TooLarge(f"{len(seen.headers)} headers; this server takes {limits.max_headers}")
    headers = _collect(seen.headers)
    if version == "1.1" and b"host" not in headers:
        raise InvalidInput("the Host header is missing")
    length, chunked = _framing(headers, version)
    if length > limits.max_body:
        raise limits.too_large()
    connection = headers.get(b"connection", b"").lower()
    head = dispatcher.resolve(method, _target(seen.target), headers)
    head.content_length, head.chunked = length, chunked
    head.keep_alive = b"keep-alive" in connection if version == "1.0" else b"close" not in connection
    head.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue" and version == "1.1"
    head.interim = version == "1.1"
    head.plain = head.keep_alive and version == "1.1" and method != "HEAD" and head.fault is None and _UNCACHED.isdisjoint(headers)
    return head


def _collect(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            raise InvalidInput(f"the header {name.decode('latin-1')} is given twice")
        else:
            headers[name] += b", " + value
    return headers


def _framing(headers: dict[bytes, bytes], version: str) -> tuple[int, bool]:
    """The body's length, or that it is chunked. RFC 9112 section 6: anything ambiguous is refused, for it is how requests are smuggled."""
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if length is not None or version != "1.1" or coding.lower() != b"chunked":
            raise InvalidInput(
                f"transfer-encoding {coding.decode('latin-1')[:40]!r} cannot be told from the body",
                hint="send 'chunked' alone, or a length",
            )
        return 0, True
    if length is None:
        return 0, False
    if not length.isdigit() or len(length) > 18 or not length.isascii():
        raise InvalidInput(f"content-length {length.decode('latin-1')[:40]!r} is not a number")
    return int(length), False


def _target(raw: bytes) -> str:
    """The request target in origin form; the absolute form (RFC 9112 section 3.2.2) is reduced to it."""
    target = raw.decode("ascii")
    if not target.startswith("/"):
        _, mark, rest = target.partition("://")
        if not mark:
            raise InvalidInput(f"request target {target[:80]!r} is no path")
        target = "/" + rest.partition("/")[2]
    return target.partition("#")[0]

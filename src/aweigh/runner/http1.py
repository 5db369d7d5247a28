"""HTTP/1.1 as bytes: requests out of what came in, answers into what goes out. Pure; `server` moves the bytes. RFC 9112.

What two readers could read differently (two lengths, a length beside chunks, bare line ends, spaces before a colon) is refused and ends the connection.
"""

from __future__ import annotations

from .errors import Refusal, too_large
from .message import REASONS, Request, Response

MAX_HEADERS = 100
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_MAX_SIZE_DIGITS = 15
_MAX_CHUNK_LINE = 256
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_CONTROLS = frozenset((*range(9), *range(10, 32), 127))


class Reader:
    """The requests of one connection."""

    def __init__(self, *, max_head: int, max_body: int) -> None:
        self.buffer = bytearray()
        self._max_head = max_head
        self._max_body = max_body
        self.head: Request | None = None
        """Of the request whose body has not come yet; or of the one that was refused."""
        self._length = 0
        self._chunks: _Chunks | None = None
        self._blank = False
        self.expects = False
        """Whether the peer waits for 100 Continue before it sends the body."""

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come yet."""
        return self.head is None and not self.buffer

    @property
    def held(self) -> int:
        """Bytes that have come and wait for more."""
        return len(self.buffer) + (self._chunks.held if self._chunks is not None else 0)

    def forget(self) -> None:
        """Keep nothing of what has come: the connection ends."""
        self.buffer.clear()
        self.head = self._chunks = None

    def take(self) -> Request | None:
        """The next request that is whole, or None. Raises Refusal, after which nothing of this connection can be read."""
        if self.head is None and not self._read_head():
            return None
        body = self._read_body()
        if body is None:
            return None
        request, self.head, self.expects, self._blank = self.head, None, False, False
        if request is not None:
            request.body = body
        return request

    def _read_head(self) -> bool:
        buffer = self.buffer
        while buffer[:2] == b"\r\n":  # RFC 9112, 2.2: an empty line before a request is passed over; more than one is no request
            if self._blank:
                raise Refusal("the request line is not METHOD TARGET VERSION")
            self._blank = True
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, self._max_head + 4)
        if end < 0:
            if len(buffer) > self._max_head:
                raise Refusal(f"the head of the request is larger than {self._max_head} bytes", status=431, code="too-large")
            return False
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self.head = request = parse_head(head)
        self._length, chunked = body_form(request)
        self._chunks = _Chunks(self._max_body) if chunked else None
        if self._length > self._max_body:
            raise too_large(f"a body of {self._length} bytes; this server takes {self._max_body}", hint="send less in one request")
        expected = request.headers.get("expect", "")
        if expected and expected.lower() != "100-continue":
            raise Refusal(f"expect: {expected[:40]!r} is not done here", status=417)
        self.expects = bool(expected) and (chunked or self._length > len(buffer))
        return True

    def _read_body(self) -> bytes | None:
        if self._chunks is not None:
            return self._chunks.take(self.buffer)
        if len(self.buffer) < self._length:
            return None
        body = bytes(self.buffer[: self._length])
        del self.buffer[: self._length]
        return body


def parse_head(head: bytes) -> Request:
    """Request line and headers, without the empty line. Raises Refusal."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[0] not in _METHODS:
        raise Refusal("the request line is not METHOD TARGET VERSION")
    method, target, version = parts
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise Refusal("only HTTP/1.1 is spoken here", status=505)
    if len(lines) - 1 > MAX_HEADERS:
        raise Refusal(f"more than {MAX_HEADERS} headers", status=431, code="too-large")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name) or not _CONTROLS.isdisjoint(value):
            raise Refusal("a header is malformed", hint="send NAME: VALUE, one a line")
        key, text = name.lower().decode("ascii"), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in {"content-length", "host", "transfer-encoding", "content-type"}:
                raise Refusal(f"the header {key} is sent twice")
            text = f"{headers[key]}, {text}"
        headers[key] = text
    if version == b"HTTP/1.0":
        if "transfer-encoding" in headers:  # RFC 9112, 6.1: its framing is faulty, for whatever stands between does not know it
            raise Refusal("a request of HTTP/1.0 does not come in chunks", hint="send a content-length")
        headers.pop("expect", None)  # RFC 9110, 10.1.1: it knows no interim answers
    elif "host" not in headers:
        raise Refusal("the header host is missing")
    return Request(method.decode("ascii"), _path(target), headers, keep_alive=_keeps(version, headers))


def _path(target: bytes) -> str:
    if not all(0x21 <= code <= 0x7E for code in target):
        raise Refusal("the target of the request holds bytes that no target holds")
    text = target.decode("ascii")
    if text[:1] != "/":
        scheme, mark, rest = text.partition("://")
        if not mark or scheme.lower() not in {"http", "https"}:
            raise Refusal("the target of the request is no path")
        text = "/" + rest.partition("/")[2]
    path = text.partition("?")[0]
    return _unquoted(path) if "%" in path else path


def _unquoted(path: str) -> str:
    pieces = path.split("%")
    raw = bytearray(pieces[0].encode())
    for piece in pieces[1:]:
        code = piece[:2].encode()
        if len(code) != 2 or not _HEX.issuperset(code):
            raise Refusal("the path holds a '%' without two hexadecimal digits")
        raw.append(int(code, 16))
        raw += piece[2:].encode()
    return raw.decode("utf-8", "replace")


def _keeps(version: bytes, headers: dict[str, str]) -> bool:
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return "close" not in words if version == b"HTTP/1.1" else "keep-alive" in words


def body_form(message: Request) -> tuple[int, bool]:
    """The body's length, and whether it comes in chunks. Raises Refusal for what says both, or neither clearly."""
    coding, length = message.headers.get("transfer-encoding"), message.headers.get("content-length")
    if message.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("bodies that are coded are not read here", hint="send it as it is, without content-encoding", status=415)
    if coding is not None:
        if coding.lower() != "chunked":
            raise Refusal(f"transfer-encoding {coding[:40]!r} is not read here", status=501, code="unsupported")
        if length is not None:
            raise Refusal("a request has a length or comes in chunks, not both")
        return 0, True
    if length is None:
        return 0, False
    if not length.isascii() or not length.isdigit() or len(length) > _MAX_SIZE_DIGITS:
        raise Refusal(f"content-length {length[:40]!r} is no length")
    return int(length), False


class _Chunks:
    """A body in chunks, as far as it has come."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._body = bytearray()
        self._left = -1
        """Bytes of the chunk that have not come, with the line end behind them; -1: its size comes first, -2: the end."""

    @property
    def held(self) -> int:
        """Bytes of the body that have come."""
        return len(self._body)

    def take(self, buffer: bytearray) -> bytes | None:
        """The whole body, once it is there. Raises Refusal."""
        while True:
            if self._left == -1 and not self._begin(buffer):
                return None
            if self._left == -2:
                return self._end(buffer)
            if len(buffer) < self._left:
                return None
            if bytes(buffer[self._left - 2 : self._left]) != b"\r\n":
                raise Refusal("a chunk is not as long as it says")
            self._body += buffer[: self._left - 2]
            del buffer[: self._left]
            self._left = -1

    def _begin(self, buffer: bytearray) -> bool:
        size = _line(buffer)
        if size is None:
            return False
        if not size or not _HEX.issuperset(size) or len(size) > _MAX_SIZE_DIGITS:
            raise Refusal("the size of a chunk is no hexadecimal number", hint="send chunks without extensions")
        count = int(size, 16)
        if len(self._body) + count > self._max_body:
            raise too_large(f"a body of more than {self._max_body} bytes", hint="send less in one request")
        self._left = count + 2 if count else -2
        return True

    def _end(self, buffer: bytearray) -> bytes | None:
        if not b"\r\n".startswith(bytes(buffer[:2])):
            raise Refusal("something follows the last chunk", hint="send chunks without trailers")
        if len(buffer) < 2:
            return None
        del buffer[:2]
        return bytes(self._body)


def _line(buffer: bytearray) -> bytes | None:
    end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
    if end < 0:
        if len(buffer) >= _MAX_CHUNK_LINE:
            raise Refusal("a line between chunks is too long")
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line


def render(response: Response, *, identity: str, keep_alive: bool, head_only: bool = False) -> bytes:
    """An answer's bytes."""
    more = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    rid = f"x-request-id: {identity}\r\n" if identity else ""
    head = (
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Error')}\r\ncontent-type: {response.kind}\r\n"
        f"content-length: {len(response.body)}\r\n{rid}connection: {'keep-alive' if keep_alive else 'close'}\r\n{more}\r\n"
    ).encode("latin-1", "replace")
    return head if head_only else head + response.body

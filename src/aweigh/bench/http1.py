"""One HTTP/1.1 connection of the load generator: prebuilt requests out, as little parsing of answers as counting them needs.

One request at a time, as most clients do. Reads status, length, chunks and `connection: close`; everything else passes unread.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from aweigh.bench.plan import Question, Target
from aweigh.core.errors import InvalidInput

_MAX_HEAD: Final = 256 * 1024
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Answer:
    """One answer, as far as it was read."""

    __slots__ = ("body", "head", "message", "status")

    def __init__(self, status: str, head: bytes, body: bytes, message: str = "") -> None:
        self.status = status
        self.head = head
        self.body = body
        self.message = message

    @property
    def ok(self) -> bool:
        """A status 2xx, or gRPC's OK."""
        return self.status == "OK" or self.status[0] == "2"


class Ticket:
    """One request under way."""

    __slots__ = ("due", "question", "sent")

    def __init__(self, due: float, sent: float, question: int) -> None:
        self.due = due
        self.sent = sent
        self.question = question


class Owner(Protocol):
    """Who a connection reports to."""

    def answered(self, connection: "Connection", ticket: Ticket, answer: Answer) -> None: ...

    def broken(self, connection: "Connection", ticket: Ticket, kind: str, detail: str) -> None: ...

    def lost(self, connection: "Connection") -> None:
        """The connection is gone, after `broken` for each request that was under way on it."""
        ...


class Connection(Protocol):
    """One connection, whatever the protocol; up to `slots` requests at a time."""

    slots: int

    def ask(self, ticket: Ticket) -> int:
        """Send a request; returns its bytes."""
        ...

    def expire(self, before: float) -> None:
        """Give up requests that were due before then."""
        ...

    def close(self) -> None: ...


def request_bytes(target: Target, question: Question, *, method: str = "POST") -> bytes:
    """A whole request. Raises InvalidInput for headers that cannot be sent."""
    headers = [("host", target.address), *target.headers, *question.headers]
    if method == "POST":
        headers.append(("content-length", str(len(question.body))))
    check_headers(headers)
    lines = [f"{method} {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + question.body


def check_headers(headers: Sequence[tuple[str, str]]) -> None:
    """Raises InvalidInput, naming the header: what is sent must be one request and no more."""
    for name, value in headers:
        if not name or not _TOKEN.issuperset(name) or any(ord(character) < 32 or ord(character) > 255 for character in value):
            raise InvalidInput(f"{name!r}: {value[:60]!r} is not a header", hint="write it as NAME:VALUE, without line breaks")


class HttpConnection(asyncio.Protocol):
    """See the module."""

    slots = 1

    def __init__(self, owner: Owner, requests: Sequence[bytes]) -> None:
        self._owner = owner
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._ticket: Ticket | None = None
        self._pending = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self._head = b""
        self._chunks: Chunks | None = None
        self._until_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio hands every stream protocol a Transport

    def ask(self, ticket: Ticket) -> int:
        request = self._requests[ticket.question]
        self._ticket = ticket
        if self._transport is not None:
            self._transport.write(request)
        return len(request)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._more(data)
        elif self._chunks is not None:
            self._chunked(data)
        elif self._until_close:
            self._parts.append(data)
        else:
            self._begin(self._pending + data if self._pending else data)

    def _begin(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._pending = data
            if len(data) > _MAX_HEAD:
                self._break("not HTTP", f"no end of the head within {_MAX_HEAD} bytes")
            return
        self._pending = b""
        head = data[: end + 2]
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            self._break("not HTTP", f"the answer begins with {head[:40]!r}")
        elif head[9:10] == b"1":  # an interim answer: the real one follows
            self._begin(data[end + 4 :]) if len(data) > end + 4 else None
        else:
            self._head = head
            self._body(head.lower(), data[end + 4 :])

    def _body(self, lowered: bytes, body: bytes) -> None:
        at = lowered.find(b"\r\ncontent-length:")
        if at >= 0:
            length = lowered[at + 17 : lowered.find(b"\r\n", at + 2)].strip()
            if not length.isdigit():
                self._break("not HTTP", f"content-length is {length[:40]!r}")
                return
            self._missing = int(length) - len(body)
            if self._missing > 0:
                self._parts.append(body)
            else:
                self._missing = 0
                self._finish(lowered, body)
        elif b"\r\ntransfer-encoding:" in lowered:
            self._chunks = Chunks()
            self._chunked(body)
        elif self._head[9:12] in {b"204", b"304"}:
            self._finish(lowered, b"")
        else:
            self._until_close = True
            self._parts.append(body)

    def _more(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = 0
            self._finish(self._head.lower(), b"".join(self._parts))

    def _chunked(self, data: bytes) -> None:
        chunks = self._chunks
        if chunks is not None and chunks.feed(data):
            self._chunks = None
            if chunks.broken:
                self._break("not HTTP", "a chunk has no length")
            else:
                self._finish(self._head.lower(), b"".join(chunks.parts))

    def _finish(self, lowered: bytes, body: bytes) -> None:
        ticket, self._ticket = self._ticket, None
        head, self._head = self._head, b""
        self._parts.clear()
        closing = b"\r\nconnection: close" in lowered or self._until_close or lowered.startswith(b"http/1.0")
        if ticket is None:
            self._break("not HTTP", "an answer to no request")
            return
        status = head[9:12].decode()
        if closing:  # first, so that nothing is sent on it any more
            self.slots = 0
            self._abort()
        self._owner.answered(self, ticket, Answer(status, head, body))

    def expire(self, before: float) -> None:
        if self._ticket is not None and self._ticket.due <= before:
            self._break("timeout", "no whole answer in time")

    def _break(self, kind: str, detail: str) -> None:
        ticket, self._ticket = self._ticket, None
        self.slots = 0
        self._abort()
        if ticket is not None:
            self._owner.broken(self, ticket, kind, detail)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._until_close and exc is None and self._ticket is not None:
            self._finish(self._head.lower(), b"".join(self._parts))
        elif self._ticket is not None:
            self._break("connection lost", str(exc) if exc else "closed by the server before the answer was complete")
        self.slots = 0
        self._owner.lost(self)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._ticket = None
        self._abort()


class Chunks:
    """The chunked coding (RFC 9112 7.1), as it arrives. Trailers are skipped."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.broken = False
        self._buffer = b""
        self._ending = False

    def feed(self, data: bytes) -> bool:
        """Whether the body is complete (or `broken`)."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return False
            line = self._buffer[:end]
            if self._ending:
                self._buffer = self._buffer[end + 2 :]
                if not line:
                    return True
                continue
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                self.broken = True
                return True
            if size == 0:
                self._ending = True
                self._buffer = self._buffer[end + 2 :]
                continue
            if len(self._buffer) < end + 4 + size:
                return False
            self.parts.append(self._buffer[end + 2 : end + 2 + size])
            self._buffer = self._buffer[end + 4 + size :]

"""One HTTP/1.1 connection: heads from the cache, bodies by length or chunks, answers in order. Requests on it are answered one at a time.

Called by the event loop. Must never block, and never trusts a length beyond the limits.
"""

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aweigh.core.errors import AweighError, DeadlineExceeded, TooLarge, Unsupported
from aweigh.engine.slab import SENT, UNKNOWN
from aweigh.serve.message import JSON, AnyResponse, GrpcResponse, Head, Request, Response
from aweigh.serve.patience import expect
from aweigh.serve.status import json_error
from aweigh.serve.wire.bodies import Body
from aweigh.serve.wire.chunks import ChunkedBody
from aweigh.serve.wire.heads import parse_head
from aweigh.serve.wire.readers import BodyReader

if TYPE_CHECKING:
    from aweigh.serve.wire.listener import Listener

_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus} | {499: b"Client Closed Request"}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_GONE_AFTER_S: Final = 0.03
"""By when a client that has left says so, if it is near; others are asked again each second."""
_LINGER_BYTES: Final = 1024 * 1024
"""How much of a refused body is read and dropped, so that the client gets to see the refusal before the reset."""
_LARGE: Final = 64 * 1024
DRAIN_GRACE_S: Final = 0.5
"""How long a connection that was just used may still send a request while the server stops."""


class Http1Connection(asyncio.Protocol):
    """States: waiting for a head; collecting a body (`_head` set); answering (`_busy` set); refusing (`_linger` counts what is dropped)."""

    def __init__(self, listener: "Listener", slot: int = 0, sent: int = SENT) -> None:
        self._listener = listener
        self._slots = listener.slots
        self._slot = slot
        self._sent = sent
        """What `_slots` is told when a request is read: SENT, and the bytes of all answers before it."""
        self._heads = listener.heads
        self._young = listener.heads.young
        self._dispatch = listener.dispatcher.dispatch
        self._new_id = listener.dispatcher.request_id
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any data arrives
        self._tail = b""
        self._head: Head | None = None
        self._body: Body | None = None
        self._missing = 0
        self._reader: BodyReader | None = None
        """What stands for this connection, where its bodies are large."""
        self._chunks: ChunkedBody | None = None
        self._busy: Request | None = None
        self._linger = -1
        self._paused = False
        self._deaf = False
        self._ended = False
        """Whether the client has closed its half."""
        self._answered = 0
        self._seen_answered = -1
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # the loop gives stream protocols a Transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy is not None:
            self._busy.cancelled = True
            self._busy = None
        self._reader = None
        self._listener.forget(self)
        self._listener.leave(self._slot)

    def data_received(self, data: bytes) -> None:
        if self._head is not None and self._linger < 0 and self._busy is None:
            data = self._collect(data)
        elif self._busy is not None or self._paused:
            self._hold(data)
            return
        elif self._linger >= 0:
            self._drop(data)
            return
        elif self._tail:
            partial, self._tail = self._tail, b""
            data = partial + data
            if data.find(b"\r\n\r\n", max(0, len(partial) - 3)) < 0:
                self._hold_partial_head(data)
                return
        if data:
            self._take_requests(data)

    def _take_requests(self, data: bytes) -> None:
        at, size, young = 0, len(data), self._young
        self._slots[self._slot] = self._sent
        while at < size:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                self._mark()
                self._hold_partial_head(data[at:])
                return
            end += 4
            raw = data[at:end]
            head = young.get(raw)
            if head is None:
                head = self._heads.find_old(raw) or self._parse(raw)
                if head is None:
                    return
            at = end + head.content_length
            if at == size and not head.chunked and not head.expects_continue:
                self._answer(head, data[end:])
                return
            if at < size and not head.chunked and not head.expects_continue:
                self._slots[self._slot] = UNKNOWN  # several requests were read at once
                if not self._answer(head, data[end:at]):
                    self._tail = data[at:]
                    return
                continue
            rest = self._start_body(head, memoryview(data)[end:])
            if not rest:
                return
            self._slots[self._slot] = UNKNOWN
            data, at, size = rest, 0, len(rest)

    def _parse(self, raw: bytes) -> Head | None:
        if len(raw) > self._listener.limits.max_head:
            self._refuse(TooLarge(f"a request head of {len(raw)} bytes; this server takes {self._listener.limits.max_head}"), status=431)
            return None
        if (lines := raw.count(b"\n") - 2) > self._listener.limits.max_headers:
            self._refuse(TooLarge(f"{lines} headers; this server takes {self._listener.limits.max_headers}"), status=431)
            return None
        try:
            head = parse_head(raw, self._listener.dispatcher, self._listener.limits)
        except AweighError as error:
            self._refuse(error)
            return None
        self._heads.keep(raw, head)
        return head

    def _hold_partial_head(self, data: bytes) -> None:
        """The clock of its arrival runs from its first byte."""
        if len(data) > self._listener.limits.max_head:
            self._refuse(TooLarge(f"a request head of more than {self._listener.limits.max_head} bytes"), status=431)
            return
        self._tail = data

    def _start_body(self, head: Head, data: memoryview) -> bytes:
        """Begin a body that needs more than one look; returns what follows it if it is whole already."""
        self._mark()
        if head.fault is not None and (head.chunked or len(data) < head.content_length):
            request = Request(head, b"", self._new_id, self._reply)
            self._turn_away(_as_http(self._listener.dispatcher.failed(head.fault, request)), request.id)
            return b""
        if head.expects_continue and not data:
            self._write_continue()
        self._head = head
        self._missing = head.content_length
        if head.chunked:
            self._chunks = ChunkedBody(self._listener.limits)
        else:
            self._body = Body(head.content_length if head.views else 0)
        return self._collect(data)

    def _write_continue(self) -> None:
        self._transport.write(_CONTINUE)
        self._sent += len(_CONTINUE)
        self._slots[self._slot] = self._sent

    def _collect(self, data: bytes | memoryview) -> bytes:
        """Add to the body; when it is whole, answer and return what follows it."""
        head = self._head
        view = None
        if head is None:
            return bytes(data)
        if self._chunks is not None:
            try:
                self._chunks.feed(bytes(data))
            except AweighError as error:
                self._refuse(error)
                return b""
            if not self._chunks.done:
                return b""
            body, rest = self._chunks.body(), self._chunks.rest
            expect(len(body))
        elif self._body is not None:
            self._body.add(data[: self._missing])
            if len(data) < self._missing:
                self._missing -= len(data)
                if self._body.placed:
                    self._read_to_place(self._body)
                return b""
            view, rest = self._body.view, bytes(data[self._missing :])
            body = b"" if view is not None else self._body.joined()
            expect(self._body.received)
        self._head, self._body, self._chunks, self._missing = None, None, None, 0
        if self._answer(head, body, view):
            return rest
        self._tail = rest
        return b""

    def _read_to_place(self, body: Body) -> None:
        if self._reader is None:
            self._reader = BodyReader(self)
            self._transport.set_protocol(self._reader)
        self._reader.body = body

    def grew(self, size: int) -> None:
        """More of the body was read to its place."""
        self._missing -= size
        if not self._missing and self._reader is not None:
            self._reader.body = None
            self._collect(b"")

    def read_plainly(self) -> None:
        """Again as much at a time as there is, unless something large is under way: large bodies seldom come alone."""
        if self._head is None and self._busy is None and not self._tail:
            self._reader = None
            self._transport.set_protocol(self)

    def _answer(self, head: Head, body: bytes, view: memoryview | None = None) -> bool:
        """Dispatch one request; False when the connection cannot take the next one yet (or ever)."""
        request = Request(head, body, self._new_id, self._reply)
        if view is not None:
            request.view = view
        response = self._dispatch(request)
        if response is None:
            self._busy = request
            self._mark()
            return False
        self._send(request, response)
        return head.keep_alive and not self._listener.draining and not self._paused

    def _reply(self, request: Request, response: AnyResponse) -> None:
        if self._busy is not request:
            return
        self._busy = None
        self._send(request, response)
        if request.head.keep_alive and not self._listener.draining:
            self._resume()
        self._close_if_done()

    def _close_if_done(self) -> None:
        """The client has closed its half and has every answer."""
        if self._ended and self._busy is None and not self._paused:
            self._transport.close()

    def _resume(self) -> None:
        if self._paused or self._busy is not None or self._transport.is_closing():
            return
        self._listen()
        tail, self._tail = self._tail, b""
        if tail:
            self._take_requests(tail)

    def _send(self, request: Request, response: AnyResponse) -> None:
        head, listener = request.head, self._listener
        self._answered += 1
        if isinstance(response, GrpcResponse):
            response = _as_http(response)
        body = response.body
        if len(body) > _LARGE and head.method != "HEAD":
            self._send_large(request, response)
            return
        if head.plain and response.status == 200 and response.content_type is JSON and not response.headers and not listener.draining:
            data = b"%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (listener.ok_json, len(body), request.id, body)
            self._sent += len(data)
            self._transport.write(data)
            return
        last = not head.keep_alive or listener.draining
        start = _start(response, request.id, listener.date, b"close" if last else b"keep-alive")
        data = start if head.method == "HEAD" else start + body
        self._sent += len(data)
        self._transport.write(data)
        if last:
            self._close()

    def _send_large(self, request: Request, response: Response) -> None:
        """Head and body apart: joining them would copy the body."""
        last = not request.head.keep_alive or self._listener.draining
        start = _start(response, request.id, self._listener.date, b"close" if last else b"keep-alive")
        self._sent += len(start) + len(response.body)
        self._transport.write(start)
        self._transport.write(response.body)
        if last:
            self._close()

    def _close(self) -> None:
        """End the connection once everything is sent."""
        self._slots[self._slot] = UNKNOWN
        self._transport.close()

    def _refuse(self, error: AweighError, *, status: int = 0) -> None:
        """Answer what cannot be understood, drop what still comes, and close."""
        response = json_error(error)
        response.status = status or response.status
        self._listener.misunderstood()
        self._turn_away(response, self._new_id())

    def _turn_away(self, response: Response, request_id: bytes) -> None:
        """Answer without having read the whole request; drop what still comes of it."""
        self._transport.write(_start(response, request_id, self._listener.date, b"close") + response.body)
        if self._reader is not None:
            self._reader.body = None
        self._head, self._body, self._chunks, self._tail = None, None, None, b""
        self._linger = 0
        self._slots[self._slot] = UNKNOWN
        self._mark()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _drop(self, data: bytes) -> None:
        self._linger += len(data)
        if self._linger > _LINGER_BYTES:
            self._transport.abort()

    def _hold(self, data: bytes) -> None:
        """Keep pipelined bytes while a request is being answered; stop reading when they grow."""
        self._tail += data
        self._slots[self._slot] = UNKNOWN
        if len(self._tail) > self._listener.limits.max_head:
            self._stop_listening()

    def _stop_listening(self) -> None:
        if not self._deaf and not self._transport.is_closing():
            self._deaf = True
            self._transport.pause_reading()

    def _listen(self) -> None:
        if self._deaf:
            self._deaf = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read: take no more from it until it does."""
        self._paused = True
        self._mark()
        self._stop_listening()

    def resume_writing(self) -> None:
        self._paused = False
        self._resume()
        self._close_if_done()

    def eof_received(self) -> bool:
        """A client that closes its half may still wait for answers: the connection ends with the last of them."""
        self._ended = True
        if self._busy is not None:
            self._ask_if_there()
            with contextlib.suppress(RuntimeError):  # nothing turns: whoever drives the connection has nobody to ask
                asyncio.get_running_loop().call_later(_GONE_AFTER_S, self._ask_if_there)
        return self._busy is not None or (self._paused and bool(self._tail))

    def _ask_if_there(self) -> None:
        """Write an interim answer to a client that has closed its half, which every client of HTTP/1.1 skips (RFC 9110 section 15.2). From one that has
        left altogether it brings a reset, which the next write finds: then nobody waits for the answer, and its place in the queue is free."""
        if self._ended and self._busy is not None and self._busy.head.interim and not self._transport.is_closing():
            self._write_continue()

    def drain(self) -> None:
        """Close if idle; otherwise the answer in progress says so. Where one was just given, the next request may be on its way: wait a moment."""
        if self._busy is None and self._head is None and not self._tail:
            if self._answered == self._seen_answered and self._listener.now() - self._since > DRAIN_GRACE_S:
                self._transport.close()
            elif self._answered != self._seen_answered:
                self._mark()

    def abort(self) -> None:
        """Drop the connection; a request in progress is answered 503 first, for which the transport is given until the loop ends."""
        if self._busy is None:
            self._transport.abort()
            return
        self._listener.give_up(self._busy)
        self._transport.close()

    def tick(self, now: float) -> None:
        """Called about once a second: enforce the idle and request timeouts."""
        if self._answered != self._seen_answered:
            self._seen_answered, self._since = self._answered, now
            return
        elapsed, limits = now - self._since, self._listener.limits
        if self._busy is not None:
            if elapsed > limits.request_timeout_s:
                request, error = (
                    self._busy,
                    DeadlineExceeded(f"no answer within {limits.request_timeout_s:g} s", hint="request_timeout_s sets the limit"),
                )
                request.cancelled = True
                self._reply(request, self._listener.dispatcher.failed(error, request))
            else:
                self._ask_if_there()
        elif self._linger >= 0 or self._paused:
            if elapsed > min(limits.request_timeout_s, 5.0 if self._linger >= 0 else limits.request_timeout_s):
                self._transport.abort()
        elif self._head is not None or self._tail:
            if elapsed > limits.request_timeout_s:
                error = DeadlineExceeded(f"the request did not arrive whole within {limits.request_timeout_s:g} s")
                self._refuse(error, status=408)
        elif elapsed > (DRAIN_GRACE_S if self._listener.closing else limits.idle_timeout_s):
            self._transport.close()

    def _mark(self) -> None:
        """Note when a state that may not last began."""
        self._since = self._listener.now()
        self._seen_answered = self._answered


def _as_http(response: AnyResponse) -> Response:
    """What a client is told that calls a gRPC method in HTTP/1.1."""
    if isinstance(response, Response):
        return response
    return json_error(Unsupported("a gRPC method was called over HTTP/1.1", hint="use HTTP/2"))


def _start(response: Response, request_id: bytes, date: bytes, connection: bytes) -> bytes:
    """Status line and headers, blank line included."""
    extra = b"".join(name + b": " + value + b"\r\n" for name, value in response.headers)
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\ndate: %b\r\nconnection: %b\r\n%b\r\n" % (
        response.status,
        _REASONS.get(response.status, b"Unknown"),
        response.content_type,
        len(response.body),
        request_id,
        date,
        connection,
        extra,
    )

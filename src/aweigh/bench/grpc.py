"""One gRPC connection of the load generator: HTTP/2 frames made and read by hand, many unary calls at a time.

The server is told that there is no dynamic header table, so a header block means the same whenever it comes and is decoded once.
Both sides' flow control is honoured for what is sent; for what is received the windows are opened wide.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from hpack import Decoder, HPACKError

from aweigh.bench.http1 import Answer, Owner, Ticket, check_headers
from aweigh.bench.plan import Question, Target
from aweigh.core import http2 as h

SLOTS: Final = 64
"""Calls at a time on one connection, unless the server allows fewer."""
_REFILL: Final = 2**29
_KNOWN_BLOCKS: Final = 256
_LAST_STREAM: Final = 2**31 - 1001
STATUS_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_OPENING: Final = (
    h.PREFACE
    + h.settings_frame({h.HEADER_TABLE_SIZE: 0, h.ENABLE_PUSH: 0, h.INITIAL_WINDOW_SIZE: h.MAX_WINDOW})
    + h.window_frame(0, h.MAX_WINDOW - h.DEFAULT_WINDOW)
)
Fields = dict[str, str]


def call_block(target: Target) -> bytes:
    """The header block of every call. Raises InvalidInput for headers that cannot be sent."""
    check_headers(target.headers)
    fields = [
        (":method", "POST"),
        (":scheme", "https" if target.tls else "http"),
        (":path", target.path),
        (":authority", target.address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "aweigh-bench"),
        *((name.lower(), value) for name, value in target.headers),
    ]
    return b"".join(h.literal(name.encode("ascii"), value.encode("latin-1")) for name, value in fields)


def call_body(question: Question) -> bytes:
    """The message with gRPC's prefix: not compressed, and its length."""
    return b"\0" + len(question.body).to_bytes(4, "big") + question.body


class _Call:
    """One call under way."""

    __slots__ = ("data", "fields", "ticket", "unsent", "window")

    def __init__(self, ticket: Ticket, window: int) -> None:
        self.ticket = ticket
        self.window = window
        self.unsent = b""
        self.data: list[bytes] = []
        self.fields: Fields = {}


class GrpcConnection(asyncio.Protocol):
    """See the module."""

    def __init__(self, owner: Owner, block: bytes, bodies: Sequence[bytes], slots: int = SLOTS) -> None:
        self.slots = slots
        self.opened = asyncio.get_running_loop().create_future()
        """Done once the server's SETTINGS are known."""
        self._owner = owner
        self._head = len(block).to_bytes(3, "big") + bytes((h.HEADERS, h.END_HEADERS))
        self._block = block
        self._bodies = bodies
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder()
        self._known: dict[bytes, Fields] = {}
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._buffer = b""
        self._joined: tuple[int, int, bytes] | None = None
        self._window = h.DEFAULT_WINDOW
        self._stream_window = h.DEFAULT_WINDOW
        self._max_frame = h.DEFAULT_FRAME
        self._waiting: deque[int] = deque()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio hands every stream protocol a Transport
        self._write(_OPENING)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def ask(self, ticket: Ticket) -> int:
        stream = self._next
        self._next += 2
        if stream >= _LAST_STREAM:
            self.slots = 0  # this connection has no numbers left: it ends when its calls have
        call = self._calls[stream] = _Call(ticket, self._stream_window)
        body = self._bodies[ticket.question]
        size, tag = len(body), stream.to_bytes(4, "big")
        if size <= self._max_frame and size <= self._window and size <= call.window:
            self._window -= size
            self._write(self._head + tag + self._block + size.to_bytes(3, "big") + b"\x00\x01" + tag + body)
        else:
            self._write(self._head + tag + self._block)
            call.unsent = body
            self._waiting.append(stream)
            self._send_waiting()
        return size + len(self._block) + 18

    def _send_waiting(self) -> None:
        """Send what the windows allow, in turn."""
        for _ in range(len(self._waiting)):
            stream = self._waiting.popleft()
            call = self._calls.get(stream)
            if call is None:
                continue
            while call.unsent and (size := min(self._max_frame, self._window, call.window, len(call.unsent))) > 0:
                part, call.unsent = call.unsent[:size], call.unsent[size:]
                self._window -= size
                call.window -= size
                self._write(h.frame(h.DATA, 0 if call.unsent else h.END_STREAM, stream, part))
            if call.unsent:
                self._waiting.append(stream)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        try:
            while end - at >= 9:
                after = at + 9 + int.from_bytes(buffer[at : at + 3], "big")
                if after > end:
                    break
                self._frame(
                    buffer[at + 3], buffer[at + 4], int.from_bytes(buffer[at + 5 : at + 9], "big") & h.MAX_WINDOW, buffer[at + 9 : after]
                )
                at = after
            self._buffer = buffer[at:]
        except (ValueError, IndexError, HPACKError) as error:
            self._end("not gRPC", f"the server's frames cannot be read: {error}")

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == h.DATA:
            self._data(flags, stream, payload)
        elif kind == h.HEADERS:
            self._headers(flags, stream, _plain_block(flags, payload))
        elif kind == h.CONTINUATION and self._joined is not None:
            joined_flags, joined_stream, block = self._joined
            self._headers(joined_flags | flags & h.END_HEADERS, joined_stream, block + payload)
        elif kind == h.WINDOW_UPDATE:
            self._more_window(stream, int.from_bytes(payload[:4], "big") & h.MAX_WINDOW)
        elif kind == h.SETTINGS and not flags & h.ACK:
            self._settings(payload)
        elif kind == h.PING and not flags & h.ACK:
            self._write(h.frame(h.PING, h.ACK, 0, payload))
        elif kind == h.RST_STREAM:
            call = self._calls.pop(stream, None)
            if call is not None:
                self._owner.broken(self, call.ticket, "reset", f"the server reset the stream: code {int.from_bytes(payload, 'big')}")
        elif kind == h.GOAWAY:
            self._goaway(int.from_bytes(payload[:4], "big"), payload[8:].decode("latin-1"))

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= _REFILL:
            self._write(h.window_frame(0, self._received))
            self._received = 0
        call = self._calls.get(stream)
        if call is None:
            return
        call.data.append(_unpadded(flags, payload))
        if flags & h.END_STREAM:
            self._finish(stream, call)

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        if not flags & h.END_HEADERS:
            self._joined = (flags, stream, block)
            return
        self._joined = None
        fields = self._known.get(block) or self._decode(block)
        call = self._calls.get(stream)
        if call is None:
            return
        call.fields = {**call.fields, **fields} if call.fields else fields
        if flags & h.END_STREAM:
            self._finish(stream, call)

    def _decode(self, block: bytes) -> Fields:
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._decoder.decode(block, raw=True)}
        if self._decoder.header_table.dynamic_entries:  # a server that will not do without: then a block may mean something else next time
            self._known.clear()
        elif len(self._known) < _KNOWN_BLOCKS:
            self._known[block] = fields
        return fields

    def _finish(self, stream: int, call: _Call) -> None:
        del self._calls[stream]
        fields = call.fields
        code = fields.get("grpc-status", "")
        data = call.data[0] if len(call.data) == 1 else b"".join(call.data)
        if code == "0":
            answer = Answer("OK", b"", data[5:])
        elif code.isdigit():
            name = STATUS_NAMES[int(code)] if int(code) < len(STATUS_NAMES) else code
            answer = Answer(name, b"", b"", unquote(fields.get("grpc-message", "")))
        else:
            answer = Answer(f"HTTP {fields.get(':status', 'none')}", b"", data, "an answer without grpc-status")
        if fields.get("x-request-id"):
            answer.head = b"\r\nx-request-id: " + fields["x-request-id"].encode("latin-1") + b"\r\n"
        self._owner.answered(self, call.ticket, answer)
        if not self.slots and not self._calls:
            self._abort()

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == h.INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.window += value - self._stream_window
                self._stream_window = value
            elif key == h.MAX_FRAME_SIZE:
                self._max_frame = value
            elif key == h.MAX_CONCURRENT_STREAMS and not self.opened.done():
                self.slots = min(self.slots, value)
        self._write(h.frame(h.SETTINGS, h.ACK, 0))
        if not self.opened.done():
            self.opened.set_result(None)
        self._send_waiting()

    def _more_window(self, stream: int, increment: int) -> None:
        if stream == 0:
            self._window += increment
        elif stream in self._calls:
            self._calls[stream].window += increment
        if self._waiting:
            self._send_waiting()

    def _goaway(self, last: int, reason: str) -> None:
        """The server ends this connection: calls it will not answer have failed, the others are waited for."""
        self.slots = 0
        for stream in [number for number in self._calls if number > last]:
            call = self._calls.pop(stream)
            self._owner.broken(self, call.ticket, "connection lost", f"the server went away {reason}".strip())
        if not self._calls:
            self._abort()

    def expire(self, before: float) -> None:
        for stream in [number for number, call in self._calls.items() if call.ticket.due <= before]:
            call = self._calls.pop(stream)
            self._write(h.reset_frame(stream, h.CANCEL))
            self._owner.broken(self, call.ticket, "timeout", "no whole answer in time")

    def _end(self, kind: str, detail: str) -> None:
        self.slots = 0
        calls, self._calls = list(self._calls.values()), {}
        if not self.opened.done():
            self.opened.set_result(None)
        for call in calls:
            self._owner.broken(self, call.ticket, kind, detail)
        self._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("connection lost", str(exc) if exc else "closed by the server before the answer was complete")
        self._owner.lost(self)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._calls.clear()
        self._abort()


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & h.PADDED else payload


def _plain_block(flags: int, payload: bytes) -> bytes:
    block = _unpadded(flags, payload)
    return block[5:] if flags & h.HAS_PRIORITY else block

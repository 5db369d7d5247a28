"""One HTTP/2 connection (RFC 9113): frames to requests; `replies` sends what is answered. Carries gRPC, and REST for clients that speak HTTP/2 from the start.

Called by the event loop. Everything a peer can make grow is bounded: streams, header bytes, body bytes, control frames, resets, waiting answers.
"""

import asyncio
import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from aweigh.core import http2 as f
from aweigh.core.errors import DeadlineExceeded
from aweigh.core.http2 import ProtocolFault, StreamFault, frame
from aweigh.serve.message import GrpcResponse, Request
from aweigh.serve.wire.bodies import GRPC_PREFIX_BYTES, Body, expected_size
from aweigh.serve.wire.calls import Call, Wire
from aweigh.serve.wire.header_blocks import HeaderBlocks
from aweigh.serve.wire.readers import FrameReader
from aweigh.serve.wire.replies import CONNECTION_WINDOW, STREAM_WINDOW, Replies, Stream
from aweigh.serve.wire.uploads import SMALL_DATA, Uploads

if TYPE_CHECKING:
    from aweigh.serve.wire.listener import Listener

_UNAVAILABLE: Final = 14
_PREFACE_BYTES: Final = 24
_MAX_CONTINUATIONS: Final = 64
_FREE_CONTROL_FRAMES: Final = 1000
_CONTROL_FRAMES_PER_REQUEST: Final = 16
_FREE_RESETS: Final = 200
_USEFUL_INCREMENT: Final = (1024).to_bytes(4, "big")
"""A window that grows by at least this, while an answer waits for it, is no flood."""
_USELESS_UPDATES: Final = 8
"""Window updates that may let nothing out, for each that does."""
_frame_header: Final = struct.Struct(">HBBBL").unpack_from
"""Length in three bytes, kind, flags, stream (RFC 9113 section 4.1)."""
_GOODBYE: Final = b"goodbye!"
_GOODBYE_WAIT_S: Final = 0.5


class Http2Connection(asyncio.Protocol):
    """Answers of one read are written together."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._limits = listener.limits
        self._dispatch = listener.dispatcher.dispatch
        self._new_id = listener.dispatcher.request_id
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any data arrives
        self._blocks = HeaderBlocks(listener.dispatcher, listener.limits)
        self._layouts = listener.layouts
        self._replies = Replies(listener)
        self._uploads = Uploads(self._replies)
        self._write = self._replies.write
        self._answer = self._replies.answer
        self._reply = self._replies.reply
        self._streams = self._replies.streams
        self._tail = b""
        self._reader: FrameReader | None = None
        """What stands for this connection while large bodies come in."""
        self._small = min(f.DEFAULT_FRAME, self._limits.max_body)
        self._started = False
        self._last_stream = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and fragments of a header block that continues."""
        self._requests = 0
        self._control = 0
        self._useless_updates = 0
        self._resets = 0
        self._draining_since = 0.0
        self._since = listener.now()
        self._deadline = 0.0
        """Of the requests that are whole with what is being read."""
        self._seen_requests = 0
        self._paused_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._replies.transport = transport  # type: ignore[assignment]  # the loop gives stream protocols a Transport
        ours = {
            f.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            f.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            f.MAX_HEADER_LIST_SIZE: self._limits.max_head,
        }
        self._transport.write(f.settings_frame(ours) + f.window_frame(0, CONNECTION_WINDOW - f.DEFAULT_WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams.values():
            if stream.request is not None:
                stream.request.cancelled = True
            elif stream.call is not None:
                stream.call.cancel()
        self._streams.clear()
        self._reader = None
        self._listener.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._replies.closing and not self._streams:
            return
        at = 0
        if self._tail:
            data = self._tail + data
            self._tail = b""
        size = len(data)
        if not self._started:
            if size < _PREFACE_BYTES:
                self._tail = data
                return
            at, self._started = _PREFACE_BYTES, True
        self._begin_read()
        try:
            if self._uploads.part[2]:
                at = self._go_on(data)
            at = self._read(data, at) if at or not self._read_alike(data) else size
        except ProtocolFault as fault:
            self._fail(fault)
            at = size
        self._tail = data[at:] if at < size else b""
        self._replies.flush()

    def frames_received(self, data: memoryview) -> None:
        """What was read while large bodies come in: their DATA goes to its place from here, everything else takes the usual way."""
        at = 0
        if not self._tail and self._block is None and self._streams:
            self._begin_read()
            try:
                at = self._uploads.pour(data, self._go_on(data) if self._uploads.part[2] else 0)
            except ProtocolFault as fault:
                self._fail(fault)
                at = len(data)
            self._replies.flush()
        if at < len(data):
            self.data_received(bytes(data[at:]))
        if not at and not any(found.body is not None for found in self._streams.values()):
            self._reader = None
            self._transport.set_protocol(self)

    def _begin_read(self) -> None:
        self._deadline = self._listener.now() + self._limits.request_timeout_s
        self._replies.collect()

    def _read(self, data: bytes, at: int) -> int:
        """Take every frame that is whole, and large DATA as it comes; where what is left begins."""
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, stream = _frame_header(data, at)
            length = high << 8 | low
            if length > f.DEFAULT_FRAME:
                raise ProtocolFault(f.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + 9 + length
            stream &= f.MAX_WINDOW
            if kind == f.DATA and length > SMALL_DATA and self._is_taken(stream, flags):
                poured = self._uploads.pour(data, at)
                at = poured if poured > at else self._begin_data(stream, flags, data, at)
                continue
            if end > size:
                break
            payload = data[at + 9 : end]
            at = end
            try:
                if kind == f.HEADERS and flags == f.END_HEADERS:
                    if self._open_usual(stream, payload):
                        continue
                elif kind == f.DATA and flags == f.END_STREAM and self._end_usual(stream, payload):
                    continue
                self._frame(kind, flags, stream, payload)
            except StreamFault as fault:
                self._on_fault(fault)
        return at

    def _read_alike(self, data: bytes) -> bool:
        """Take a read of a layout that is known, all of it; False for any other."""
        frames = self._layouts.cut(data)
        if frames is None:
            return False
        for opening, stream, payload in zip(*frames, strict=True):
            try:
                if opening:
                    if not self._open_usual(stream, payload):
                        self._frame(f.HEADERS, f.END_HEADERS, stream, payload)
                elif not self._end_usual(stream, payload):
                    self._frame(f.DATA, f.END_STREAM, stream, payload)
            except StreamFault as fault:
                self._on_fault(fault)
        return True

    def _open_usual(self, stream: int, block: bytes) -> bool:
        """Open a stream whose header block is known, if nothing else is to be looked at: what `_on_headers` does for it."""
        head = self._blocks.known.get(block)
        if head is None or self._block is not None or head.route.converse is not None:
            return False
        if stream <= self._last_stream or stream % 2 == 0 or len(self._streams) >= self._limits.max_streams or self._replies.closing:
            return False
        self._last_stream = stream
        self._streams[stream] = Stream(head)
        return True

    def _end_usual(self, stream: int, payload: bytes) -> bool:
        """Answer a stream whose whole body is one small frame: what `_on_data` does for it."""
        found = self._streams.get(stream)
        if found is None or found.body is not None or found.call is not None or found.ended or self._block is not None:
            return False
        size = len(payload)
        if size > self._small:
            return False
        self._replies.unacknowledged += size
        self._complete(stream, found, payload)
        if self._replies.unacknowledged > CONNECTION_WINDOW // 2:
            self._replies.acknowledge(0)
        return True

    def _is_taken(self, stream: int, flags: int) -> bool:
        """Whether DATA on a stream is taken as it comes: where it goes to a body that is not whole with it."""
        found = self._streams.get(stream)
        if found is None or found.ended or found.call is not None or self._block is not None:
            return False
        return not flags & f.PADDED and (found.body is not None or not flags & f.END_STREAM)

    def _begin_data(self, stream: int, flags: int, data: bytes, at: int) -> int:
        """A DATA frame, of which a part may be missing; where what follows begins."""
        length = int.from_bytes(data[at : at + 3], "big")
        piece = memoryview(data)[at + 9 : at + 9 + length]
        missing = length - len(piece)
        if missing:
            self._uploads.part = stream, flags, missing
        self._take(stream, flags & ~f.END_STREAM if missing else flags, piece)
        return at + 9 + len(piece)

    def _go_on(self, data: bytes | memoryview) -> int:
        """More of a DATA frame; where what follows begins."""
        stream, flags, missing = self._uploads.part
        piece = memoryview(data)[:missing]
        missing -= len(piece)
        self._uploads.part = stream, flags, missing
        found = self._streams.get(stream)
        if not flags and found is not None and self._uploads.pour_part(found, piece):
            return len(piece)
        self._take(stream, flags & ~f.END_STREAM if missing else flags, piece)
        return len(piece)

    def _take(self, stream: int, flags: int, piece: memoryview) -> None:
        try:
            found = self._streams.get(stream)
            if found is None or found.ended:
                self._on_data(flags, stream, bytes(piece))
            else:
                self._more_data(flags, stream, found, piece, len(piece))
        except StreamFault as fault:
            self._on_fault(fault)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != f.CONTINUATION:
            raise ProtocolFault(f.PROTOCOL_ERROR, "a header block was interrupted")
        if kind == f.DATA:
            self._on_data(flags, stream, payload)
        elif kind == f.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind == f.CONTINUATION:
            self._on_continuation(flags, stream, payload)
        else:
            if kind != f.WINDOW_UPDATE or not self._replies.window.waiting or payload < _USEFUL_INCREMENT:
                self._count_control()
            self._control_frame(kind, flags, stream, payload)

    def _count_control(self) -> None:
        self._control += 1
        if self._control > _FREE_CONTROL_FRAMES + _CONTROL_FRAMES_PER_REQUEST * self._requests:
            raise ProtocolFault(f.ENHANCE_YOUR_CALM, "too many control frames")

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream % 2 == 0:
            raise ProtocolFault(f.PROTOCOL_ERROR, "HEADERS on a stream that a client cannot open")
        block = payload
        if flags & (f.PADDED | f.HAS_PRIORITY):
            block = f.unpadded(flags, payload)
            if flags & f.HAS_PRIORITY:
                if len(block) < 5:
                    raise ProtocolFault(f.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                block = block[5:]  # deprecated (RFC 9113 section 5.3.2), so what it says does not matter
        if flags & f.END_HEADERS:
            self._header_block(stream, flags, block)
        else:
            self._block = (stream, flags, [block])

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ProtocolFault(f.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        _, first_flags, fragments = self._block
        fragments.append(payload)
        if len(fragments) > _MAX_CONTINUATIONS or sum(map(len, fragments)) > self._limits.max_head:
            raise ProtocolFault(f.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & f.END_HEADERS:
            self._block = None
            self._header_block(stream, first_flags, b"".join(fragments))

    def _header_block(self, stream: int, flags: int, block: bytes) -> None:
        if stream <= self._last_stream:
            self._trailers(stream, flags, block)
            return
        self._last_stream = stream
        head = self._blocks.known.get(block)
        if head is None:
            head = self._blocks.request(block, stream)
        if len(self._streams) >= self._limits.max_streams:
            raise StreamFault(stream, f.REFUSED_STREAM, "too many streams")
        if self._replies.closing:
            raise StreamFault(stream, f.REFUSED_STREAM, "shutting down")
        self._streams[stream] = found = Stream(head)
        if head.route.converse is not None and head.fault is None:
            self._open_call(stream, found)
            if flags & f.END_STREAM:
                self._end_call(found)
            return
        if flags & f.END_STREAM:
            self._complete(stream, found, b"")

    def _trailers(self, stream: int, flags: int, block: bytes) -> None:
        self._blocks.trailers(block)
        found = self._streams.get(stream)
        if found is None:  # the stream was answered or reset while these were on their way
            self._count_control()
            return
        if found.ended:
            raise StreamFault(stream, f.STREAM_CLOSED, "HEADERS on a stream that has ended")
        if not flags & f.END_STREAM:
            raise StreamFault(stream, f.PROTOCOL_ERROR, "trailers that do not end the stream")
        if found.call is not None:
            self._end_call(found)
            return
        self._complete_body(stream, found)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        found = self._streams.get(stream)
        size = len(payload)
        if flags & f.PADDED:
            payload = f.unpadded(flags, payload)
        if found is None or found.ended:
            if stream == 0 or stream > self._last_stream:
                raise ProtocolFault(f.PROTOCOL_ERROR, "DATA on an idle stream")
            self._replies.acknowledge(size)  # the stream was reset or refused: its bytes count against the connection's window all the same
            self._count_control()
            return
        if found.call is not None:
            self._call_data(flags, stream, found, payload, size)
            return
        if flags & f.END_STREAM and found.body is None and size <= self._small:
            self._replies.unacknowledged += size
            self._complete(stream, found, payload)
            if self._replies.unacknowledged > CONNECTION_WINDOW // 2:
                self._replies.acknowledge(0)
            return
        if not payload and not flags & f.END_STREAM:
            self._count_control()
        self._more_data(flags, stream, found, payload, size)

    def _more_data(self, flags: int, stream: int, found: Stream, payload: bytes | memoryview, size: int) -> None:
        """`size` is what the payload and its padding take of the windows."""
        body = found.body
        if body is None:
            body = found.body = Body(expected_size(found.head, payload, self._limits.max_body))
        body.add(payload)
        if body.placed and self._reader is None:
            self._reader = FrameReader(self)
            self._transport.set_protocol(self._reader)
        self._replies.buffered += len(payload)
        if body.received > self._limits.max_body + (GRPC_PREFIX_BYTES if found.head.route.grpc else 0):
            self._too_large(stream, found)
            self._replies.acknowledge(size)
            return
        if flags & f.END_STREAM:
            self._replies.unacknowledged += size  # also where the body is refused
            self._complete_body(stream, found)
            self._replies.acknowledge(0)
            return
        found.deadline = found.deadline or self._listener.now() + self._limits.request_timeout_s
        found.unacknowledged += size
        if found.unacknowledged > STREAM_WINDOW // 2:
            self._write(f.window_frame(stream, found.unacknowledged))
            found.unacknowledged = 0
        self._replies.acknowledge(size)

    def _open_call(self, stream: int, found: Stream) -> None:
        self._requests += 1
        replies, head = self._replies, found.head
        wire = Wire(
            send=partial(self._call_message, stream, found),
            end=partial(replies.end_call, stream, found),
            hold=partial(replies.hold, stream, found),
        )
        found.call = Call(head, head.request_id or self._new_id(), self._limits, self._listener.now(), wire)
        found.deadline = found.call.deadline

    def _call_data(self, flags: int, stream: int, found: Stream, payload: bytes, size: int) -> None:
        if not payload and not flags & f.END_STREAM:
            self._count_control()
        found.unacknowledged += size
        if found.unacknowledged > STREAM_WINDOW:
            self._replies.acknowledge(size)
            raise StreamFault(stream, f.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        if found.call is not None:
            found.call.feed(payload)
        self._replies.acknowledge(size)
        if flags & f.END_STREAM:
            self._end_call(found)
        self._replies.relieve(stream, found)

    def _end_call(self, found: Stream) -> None:
        found.ended = True
        if found.call is not None:
            found.call.half_close()

    def _call_message(self, stream: int, found: Stream, payload: bytes) -> bool:
        self._requests += 1  # each message is one, by which control frames are judged
        return self._replies.stream_message(stream, found, payload)

    def _complete_body(self, stream: int, found: Stream) -> None:
        """A body of several pieces, or of none, is whole."""
        self._complete(stream, found, *self._replies.collected(found))

    def _complete(self, stream: int, found: Stream, body: bytes, view: memoryview | None = None) -> None:
        head = found.head
        found.ended = True
        if head.content_length >= 0 and head.content_length != len(body if view is None else view):
            raise StreamFault(stream, f.PROTOCOL_ERROR, "content-length differs from the body")
        self._requests += 1
        request = Request(head, body, self._new_id, self._reply, stream)
        if view is not None:
            request.view = view
        found.request = request
        response = self._dispatch(request)
        if response is not None:
            self._answer(stream, found, response)
        else:
            found.deadline = self._deadline

    def _too_large(self, stream: int, found: Stream) -> None:
        self._replies.release(found)
        found.ended = True
        request = Request(found.head, b"", self._new_id, self._reply)
        self._answer(stream, found, self._listener.dispatcher.failed(self._limits.too_large(), request))
        self._write(f.reset_frame(stream, f.NO_ERROR))

    def _control_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == f.WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        elif kind == f.PING:
            if stream or len(payload) != 8:
                raise ProtocolFault(f.PROTOCOL_ERROR if stream else f.FRAME_SIZE_ERROR, "PING is wrong")
            if not flags & f.ACK:
                self._write(frame(f.PING, f.ACK, 0, payload))
            elif payload == _GOODBYE and self._draining_since and not self._replies.closing:
                self._say_last_goodbye()
        elif kind == f.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == f.RST_STREAM:
            self._on_reset(stream, payload)
        elif kind == f.PUSH_PROMISE:
            raise ProtocolFault(f.PROTOCOL_ERROR, "a client cannot push")
        else:
            f.check_ignored(kind, stream, payload)

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolFault(f.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        increment = int.from_bytes(payload, "big") & f.MAX_WINDOW
        if stream == 0:
            if increment == 0:
                raise ProtocolFault(f.PROTOCOL_ERROR, "a window increment of 0")
            self._released(self._replies.window.grow_connection(increment))
        elif stream > self._last_stream:
            raise ProtocolFault(f.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        elif stream in self._streams:
            if increment == 0:
                raise StreamFault(stream, f.PROTOCOL_ERROR, "a window increment of 0")
            self._released(self._replies.window.grow_stream(stream, increment))

    def _released(self, data: bytes) -> None:
        """What a larger window lets out. A few that let nothing out come with each that does: the connection's, and those of other streams."""
        if data:
            self._useless_updates = 0
            self._write(data)
            self._replies.sweep()
        else:
            self._useless_updates += 1
            if self._useless_updates > _USELESS_UPDATES:
                self._count_control()

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ProtocolFault(f.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & f.ACK:
            if payload:
                raise ProtocolFault(f.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            return
        if len(payload) % 6:
            raise ProtocolFault(f.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6 bytes")
        released = b""
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == f.INITIAL_WINDOW_SIZE:
                released += self._replies.window.set_initial(value)
            elif key == f.MAX_FRAME_SIZE:
                if not f.DEFAULT_FRAME <= value < 2**24:
                    raise ProtocolFault(f.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
                self._replies.window.max_frame = min(value, 1 << 20)
            elif key == f.ENABLE_PUSH and value > 1:
                raise ProtocolFault(f.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is not 0 or 1")
        self._write(frame(f.SETTINGS, f.ACK, 0) + released)  # in this order: the peer's windows move when it reads the acknowledgement
        self._replies.sweep()

    def _on_reset(self, stream: int, payload: bytes) -> None:
        if stream == 0 or stream > self._last_stream:
            raise ProtocolFault(f.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if len(payload) != 4:
            raise ProtocolFault(f.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        self._count_reset()
        self._replies.drop(stream)

    def _on_fault(self, fault: StreamFault) -> None:
        if fault.code == f.REFUSED_STREAM:  # a client that has not seen our limit yet means no harm; one that goes on does
            self._count_control()
        else:
            self._count_reset()
        self._replies.reset(fault.stream, fault.code)

    def _count_reset(self) -> None:
        """Resets cost more than they carry, the client's own and those it provokes."""
        self._resets += 1
        if self._resets > _FREE_RESETS + self._requests // 2:
            raise ProtocolFault(f.ENHANCE_YOUR_CALM, "streams are reset faster than they are used")

    def _fail(self, fault: ProtocolFault) -> None:
        self._listener.misunderstood()
        self._write(f.goaway_frame(self._last_stream, fault.code, fault.reason))
        for stream in list(self._streams):
            self._replies.drop(stream)
        self._replies.closing = True

    def pause_writing(self) -> None:
        """The client does not read: take no more from it until it does."""
        self._paused_since = self._listener.now()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused_since = 0.0
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def drain(self) -> None:
        """Say goodbye (RFC 9113 section 6.8): GOAWAY without a last stream, and once the client has surely seen it, the final one."""
        if not self._draining_since:
            self._draining_since = self._listener.now()
            self._write(f.goaway_frame(f.MAX_WINDOW, f.NO_ERROR, "shutting down") + frame(f.PING, 0, 0, _GOODBYE))

    def _say_last_goodbye(self) -> None:
        """Take no new stream, answer those there are, then close."""
        self._write(f.goaway_frame(self._last_stream, f.NO_ERROR, "shutting down"))
        self._replies.closing = True
        for found in list(self._streams.values()):
            if found.call is not None and found.call.idle:
                found.call.finish(GrpcResponse(b"", _UNAVAILABLE, "the server is shutting down"))
        self._replies.close_if_done()

    def abort(self) -> None:
        """Answer what is in progress with an error and drop the connection."""
        for found in list(self._streams.values()):
            if found.request is not None and not found.answered:
                self._listener.give_up(found.request)
        self._replies.flush()
        self._transport.close()

    def tick(self, now: float) -> None:
        """Called about once a second: enforce the idle and request timeouts."""
        for stream, found in list(self._streams.items()):
            if not found.deadline:  # opened since the last round, and silent
                found.deadline = now + self._limits.request_timeout_s
            elif now > found.deadline:
                self._expire(stream, found)
            elif found.call is not None:
                found.call.look(now)
        if self._draining_since and not self._replies.closing and now - self._draining_since > _GOODBYE_WAIT_S:
            self._say_last_goodbye()
        if self._paused_since and now - self._paused_since > self._limits.request_timeout_s:
            self._transport.abort()
        if self._requests != self._seen_requests or self._streams:
            self._seen_requests, self._since = self._requests, now
        elif now - self._since > self._limits.idle_timeout_s:
            self.drain()

    def _expire(self, stream: int, found: Stream) -> None:
        if found.request is None or found.answered:
            self._replies.reset(stream, f.CANCEL)
            return
        found.request.cancelled = True
        error = DeadlineExceeded(f"no answer within {self._limits.request_timeout_s:g} s", hint="request_timeout_s sets the limit")
        self._replies.answer_later(stream, found, self._listener.dispatcher.failed(error, found.request))

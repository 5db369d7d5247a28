"""What one HTTP/2 connection sends: answers and streamed messages as frames, window updates, resets; and the streams that wait for them.

Called by the connection, which reads the frames that come in. Everything that is sent goes through `write`, and nothing here reads from the peer.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from aweigh.core import http2 as f
from aweigh.core.errors import Overloaded
from aweigh.core.http2 import ProtocolFault, StreamFault, frame
from aweigh.serve.message import AnyResponse, GrpcResponse, Head, Request, Response
from aweigh.serve.patience import expect
from aweigh.serve.status import grpc_error
from aweigh.serve.wire.bodies import Body
from aweigh.serve.wire.calls import Call
from aweigh.serve.wire.flow import MAX_WAITING_BYTES, SendWindow

if TYPE_CHECKING:
    from aweigh.serve.wire.listener import Listener

STREAM_WINDOW: Final = 1024 * 1024
CONNECTION_WINDOW: Final = 16 * 1024 * 1024
_OK_TRAILERS: Final = len(f.GRPC_OK).to_bytes(3, "big") + bytes((f.HEADERS, f.END_HEADERS | f.END_STREAM))
_OK_HEADERS: Final = len(f.GRPC_HEADERS).to_bytes(3, "big") + bytes((f.HEADERS, f.END_HEADERS))


class Stream(msgspec.Struct, eq=False):
    """A request that is still arriving or being answered."""

    head: Head
    deadline: float = 0.0
    """When it is given up; 0: the next round sets it."""
    request: Request | None = None
    body: Body | None = None
    """What has come of a body that is not whole yet."""
    unacknowledged: int = 0
    """Bytes taken from the peer that the stream's window does not know of yet."""
    ended: bool = False
    answered: bool = False
    headed: bool = False
    """Whether a streaming call was sent its headers."""
    call: Call | None = None


class Replies:
    """Between `collect` and `flush`, writes are joined; outside of them each goes out at once, but for usual answers, which are joined by turns."""

    def __init__(self, listener: "Listener") -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any data arrives
        self.window = SendWindow()
        self.streams: dict[int, Stream] = {}
        self.closing = False
        """Whether the connection ends with the last of its streams."""
        self.unacknowledged = 0
        """Bytes taken from the peer that its window does not know of yet."""
        self.buffered = 0
        """Bytes of bodies that are not whole yet, and of messages of streaming calls that are not whole or wait for their turn."""
        self._listener = listener
        self._limits = listener.limits
        self._new_id = listener.dispatcher.request_id
        self._out: list[bytes] | None = None
        self._size = 0
        """Of the last message, with its prefix: what stands around it is kept for the next of that size."""
        self._before = self._prefix = b""

    def collect(self) -> None:
        """Hold back what is written until `flush`."""
        if self._out is None:
            self._out = []

    def flush(self) -> None:
        """Send what was held back, and close if that was the last."""
        out, self._out = self._out, None
        if out:
            self.transport.write(b"".join(out))
        self.close_if_done()

    def close_if_done(self) -> None:
        """Close a connection that takes no new streams and has answered all others."""
        if self.closing and not self.streams and self._out is None:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """Send frames, or hold them back."""
        if self._out is not None:
            self._out.append(data)
        elif data:
            self.transport.write(data)

    def acknowledge(self, size: int) -> None:
        """Open the connection's window again, unless enough is buffered. Raises ProtocolFault where the peer sent more than it may."""
        self.unacknowledged += size
        self._reopen()
        if self.unacknowledged > CONNECTION_WINDOW:
            raise ProtocolFault(f.FLOW_CONTROL_ERROR, "more DATA than the connection's window")

    def _reopen(self) -> None:
        """Let the peer send more, unless more is buffered than two of the largest bodies."""
        if self.unacknowledged > CONNECTION_WINDOW // 2 and self.buffered <= 2 * self._limits.max_body:
            self.write(f.window_frame(0, self.unacknowledged))
            self.unacknowledged = 0

    def hold(self, stream: int, found: Stream, change: int) -> None:
        """A streaming call holds so many bytes more, or fewer: then its client may go on."""
        self.buffered += change
        if change < 0 and not self.transport.is_closing():
            self.relieve(stream, found)
            self._reopen()

    def collected(self, found: Stream) -> tuple[bytes, memoryview | None]:
        """The body of a request that is whole, or a view of it; it no longer counts."""
        if found.body is None:
            return b"", None
        view = found.body.view
        body = b"" if view is not None else found.body.joined()
        expect(found.body.received)
        self.release(found)
        return body, view

    def release(self, found: Stream) -> None:
        """What was collected of a body no longer counts."""
        if found.body is not None:
            self.buffered -= found.body.received
            found.body = None

    def answer(self, stream: int, found: Stream, response: AnyResponse, *, refused: bool = False) -> None:
        """Answer a request; the stream is done unless the answer waits for the peer's window. Raises StreamFault when too much waits to refuse it."""
        window = self.window
        found.answered = True
        try:
            if isinstance(response, GrpcResponse):
                if response.coding:
                    self._coded(stream, response)
                elif response.code == 0:
                    self._message(stream, response.message)
                else:
                    self._failure(stream, found, response)
            else:
                self._http(stream, found, response)
        except StreamFault:  # of what is larger than the window; nothing was sent
            if refused or found.request is None:
                raise
            self.answer(stream, found, self._listener.dispatcher.failed(_unread(), found.request), refused=True)
            return
        if not window.is_waiting(stream):
            self.close_stream(stream)
        else:
            found.deadline = self._listener.now() + self._limits.request_timeout_s

    def _failure(self, stream: int, found: Stream, response: GrpcResponse) -> None:
        extra = b"".join(f.literal(name, value) for name, value in response.trailers)
        if found.request is not None:
            extra += f.literal(b"x-request-id", found.request.id)
        block = f.grpc_failure(response.code, response.text, extra)
        self.write(frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, block))

    def reply(self, request: Request, response: AnyResponse) -> None:
        """Answer a request outside of its read, unless it was answered before: mostly a small gRPC message for which there is room."""
        stream, window = request.stream, self.window
        found = self.streams.get(stream)
        if found is None or found.request is not request or found.answered:
            return
        if isinstance(response, GrpcResponse) and not response.code and not response.coding:
            size = len(response.message) + 5
            if size <= f.DEFAULT_FRAME and size <= window.connection and size <= window.initial and not window.waiting:
                window.connection -= size
                self._write_message(stream, response.message, size)
                del self.streams[stream]
                if window.adjusted:
                    window.forget(stream)
                if self.closing:
                    self.close_if_done()
                return
        self.answer_later(stream, found, response)

    def _write_message(self, stream: int, message: bytes, size: int) -> None:
        """Headers, a message of `size` bytes with its prefix, and trailers, as one write."""
        if size != self._size:
            self._size = size
            self._before = f.GRPC_HEADERS + size.to_bytes(3, "big") + b"\0\0"
            self._prefix = (size - 5).to_bytes(5, "big")
        tag = stream.to_bytes(4, "big")
        parts = (_OK_HEADERS, tag, self._before, tag, self._prefix, message, _OK_TRAILERS, tag, f.GRPC_OK)
        if self._out is not None:
            self._out += parts
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)  # more answers to this connection are likely in this turn
        except RuntimeError:  # nothing turns: whoever drives the connection wants it now
            self.transport.write(b"".join(parts))
        else:
            self._out = [*parts]

    def answer_later(self, stream: int, found: Stream, response: AnyResponse) -> None:
        """Answer outside of a read."""
        try:
            self.answer(stream, found, response)
        except StreamFault as fault:
            self.reset(stream, fault.code)

    def _message(self, stream: int, message: bytes) -> None:
        window, size = self.window, len(message) + 5
        if size <= f.DEFAULT_FRAME and size <= window.connection and size <= window.initial:
            window.connection -= size
            self._write_message(stream, message, size)
            return
        payload = (size - 5).to_bytes(5, "big") + message
        self.write(_OK_HEADERS + stream.to_bytes(4, "big") + f.GRPC_HEADERS + window.send(stream, payload, f.GRPC_OK))

    def _coded(self, stream: int, response: GrpcResponse) -> None:
        message = response.message
        block = f.GRPC_HEADERS + f.literal(b"grpc-encoding", response.coding)
        payload = b"\1" + len(message).to_bytes(4, "big") + message
        self.write(frame(f.HEADERS, f.END_HEADERS, stream, block) + self.window.send(stream, payload, f.GRPC_OK))

    def _http(self, stream: int, found: Stream, response: Response) -> None:
        request_id = found.request.id if found.request is not None else self._new_id()
        fields = [f.status_field(response.status), f.literal(b"content-type", response.content_type)]
        fields += [f.literal(b"content-length", str(len(response.body)).encode()), f.literal(b"x-request-id", request_id)]
        fields += [f.literal(name, value) for name, value in response.headers]
        bare = not response.body or found.head.method == "HEAD"
        data = b"" if bare else self.window.send(stream, response.body, b"")
        self.write(frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if bare else 0), stream, b"".join(fields)))
        self.write(data)

    def stream_message(self, stream: int, found: Stream, payload: bytes) -> bool:
        """Send one message of a streaming call; True when it waits for the client's window, or was refused."""
        start = b"" if found.headed else frame(f.HEADERS, f.END_HEADERS, stream, f.GRPC_HEADERS)
        try:
            data = self.window.push(stream, payload)
        except StreamFault:
            if found.call is not None:
                found.call.finish(grpc_error(_unread()))
            return True
        found.headed = True
        self.write(start + data)
        if waits := self.window.is_waiting(stream):
            found.deadline = self._listener.now() + self._limits.request_timeout_s
        self.relieve(stream, found)
        return waits

    def end_call(self, stream: int, found: Stream, status: GrpcResponse) -> None:
        """Send the trailers of a streaming call, behind what still waits."""
        found.answered = True
        extra = b"".join(f.literal(name, value) for name, value in status.trailers)
        block = f.grpc_end(status.code, status.text, extra)
        self.write(self.window.finish(stream, block if found.headed else f.GRPC_HEADERS + block))
        if self.window.is_waiting(stream):
            found.deadline = self._listener.now() + self._limits.request_timeout_s
            return
        if not found.ended:
            self.write(f.reset_frame(stream, f.NO_ERROR))
        self.close_stream(stream)

    def relieve(self, stream: int, found: Stream) -> None:
        """Let the client send more on a stream, unless enough of its messages wait."""
        call = found.call
        if found.unacknowledged > STREAM_WINDOW // 2 and not found.ended and call is not None and not call.ended and not call.congested:
            self.write(f.window_frame(stream, found.unacknowledged))
            found.unacknowledged = 0

    def sweep(self) -> None:
        """Forget streams whose waiting answer has now been sent."""
        for stream in [stream for stream, found in self.streams.items() if found.answered and not self.window.is_waiting(stream)]:
            self.close_stream(stream)
        for stream, found in list(self.streams.items()):
            if found.call is not None and not self.window.is_waiting(stream):
                found.deadline = found.call.deadline
                found.call.unblock()

    def close_stream(self, stream: int) -> None:
        """The stream is answered."""
        self.window.forget(stream)
        self.streams.pop(stream, None)
        self.close_if_done()

    def drop(self, stream: int) -> None:
        """The stream ends without an answer, or without the rest of it."""
        found = self.streams.pop(stream, None)
        if found is None:
            return
        if found.request is not None:
            found.request.cancelled = True
        elif found.call is not None:
            found.call.cancel()
        self.window.forget(stream)
        if found.body is not None:
            self.release(found)
            self._reopen()

    def reset(self, stream: int, code: int) -> None:
        """End a stream by RST_STREAM."""
        self.drop(stream)
        self._listener.misunderstood()
        self.write(f.reset_frame(stream, code))
        self.close_if_done()


def _unread() -> Overloaded:
    return Overloaded(
        f"answers of more than {MAX_WAITING_BYTES} bytes wait for the client to read them",
        hint="read answers as they come, or ask for fewer at once",
    )

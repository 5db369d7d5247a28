"""Sending under HTTP/2 flow control (RFC 9113 section 5.2): answers that fit go out at once, the rest waits for the peer's window."""

import dataclasses
from collections import OrderedDict
from typing import Final

from aweigh.core.http2 import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    MAX_WINDOW,
    ProtocolFault,
    StreamFault,
    frame,
)

MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
"""Of answers that wait beside the oldest, which may be of any size: it is whole in memory before it is known how the client reads."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    payload: memoryview
    trailers: bytes
    """A header block, or nothing: then the last DATA frame ends the stream."""
    open: bool = False
    """Whether more may follow: then nothing ends the stream yet."""


class SendWindow:
    """The peer's windows for one connection. Everything returns the bytes to write now."""

    def __init__(self) -> None:
        self.connection = DEFAULT_WINDOW
        self.initial = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.waiting_bytes = 0
        self.adjusted: dict[int, int] = {}
        """Difference of a stream's window from `initial`, where there is one. Written here alone."""
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        """Answers that wait for a window, by stream. Written here alone."""

    def _check_room(self, stream: int, size: int) -> None:
        """Raise StreamFault where too much waits for so many bytes more to wait."""
        if self.waiting:
            oldest = next(iter(self.waiting))
            apart = 0 if oldest == stream else len(self.waiting[oldest].payload)
            if self.waiting_bytes - apart + size > MAX_WAITING_BYTES:
                raise StreamFault(stream, FLOW_CONTROL_ERROR, "the client does not read its answers")

    def send(self, stream: int, payload: bytes, trailers: bytes) -> bytes:
        """DATA frames for `payload`, then the trailers (or END_STREAM on the last DATA frame). Raises StreamFault when too much waits."""
        size = len(payload)
        if size <= self.max_frame and size <= self.connection and size <= self.initial + self.adjusted.get(stream, 0):
            self.connection -= size
            self.adjusted.pop(stream, None)
            if trailers:
                return frame(DATA, 0, stream, payload) + frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
            return frame(DATA, END_STREAM, stream, payload)
        self._check_room(stream, size)
        self.waiting[stream] = _Waiting(memoryview(payload), trailers)
        self.waiting_bytes += size
        return self.flush()

    def push(self, stream: int, payload: bytes) -> bytes:
        """DATA frames for a part of an answer; the stream goes on. Raises StreamFault when too much waits."""
        self._check_room(stream, len(payload))
        waiting = self.waiting.get(stream)
        if waiting is not None:
            waiting.payload = memoryview(bytes(waiting.payload) + payload)
            self.waiting_bytes += len(payload)
            return b""
        self.waiting[stream] = _Waiting(memoryview(payload), b"", open=True)
        self.waiting_bytes += len(payload)
        return self.flush()

    def finish(self, stream: int, trailers: bytes) -> bytes:
        """The trailers of a stream that was pushed to, now or behind what waits."""
        waiting = self.waiting.get(stream)
        if waiting is None:
            self.forget(stream)
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
        waiting.trailers, waiting.open = trailers, False
        return self.flush()

    def flush(self) -> bytes:
        """What the windows allow of the waiting answers, oldest first."""
        out: list[bytes] = []
        for stream in list(self.waiting):
            self._flush_stream(stream, out)
            if self.connection <= 0:
                break
        return b"".join(out)

    def _flush_stream(self, stream: int, out: list[bytes]) -> None:
        waiting = self.waiting[stream]
        while True:
            left = len(waiting.payload)
            window = min(self.connection, self.initial + self.adjusted.get(stream, 0), self.max_frame)
            if left and window <= 0:
                return
            piece = waiting.payload[: min(left, max(window, 0))]
            last = len(piece) == left
            out.append(frame(DATA, END_STREAM if last and not waiting.trailers and not waiting.open else 0, stream, bytes(piece)))
            self.connection -= len(piece)
            self.adjusted[stream] = self.adjusted.get(stream, 0) - len(piece)
            self.waiting_bytes -= len(piece)
            waiting.payload = waiting.payload[len(piece) :]
            if last:
                if waiting.open:
                    del self.waiting[stream]  # its window is kept: more may follow
                    return
                if waiting.trailers:
                    out.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, waiting.trailers))
                self.forget(stream)
                return

    def forget(self, stream: int) -> None:
        """The stream is done or was reset."""
        waiting = self.waiting.pop(stream, None)
        if waiting is not None:
            self.waiting_bytes -= len(waiting.payload)
        self.adjusted.pop(stream, None)

    def is_waiting(self, stream: int) -> bool:
        """Whether an answer of that stream waits for the window."""
        return stream in self.waiting

    def grow_connection(self, increment: int) -> bytes:
        """WINDOW_UPDATE on the connection."""
        self.connection += increment
        if self.connection > MAX_WINDOW:
            raise ProtocolFault(FLOW_CONTROL_ERROR, "the connection's window grew past 2^31-1")
        return self.flush() if self.waiting else b""

    def grow_stream(self, stream: int, increment: int) -> bytes:
        """WINDOW_UPDATE on a stream that is open."""
        delta = self.adjusted.get(stream, 0) + increment
        if self.initial + delta > MAX_WINDOW:
            raise StreamFault(stream, FLOW_CONTROL_ERROR, "the stream's window grew past 2^31-1")
        self.adjusted[stream] = delta
        return self.flush() if stream in self.waiting else b""

    def set_initial(self, size: int) -> bytes:
        """SETTINGS_INITIAL_WINDOW_SIZE, which also moves every open stream's window."""
        if size > MAX_WINDOW:
            raise ProtocolFault(FLOW_CONTROL_ERROR, "the initial window is larger than 2^31-1")
        self.initial = size
        return self.flush() if self.waiting else b""

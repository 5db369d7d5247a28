"""One streaming gRPC call: messages out of bytes as they arrive, one at a time to the dialect, answers back in order.

Used by the HTTP/2 connection, which owns frames and windows. Holds no more than one message that is being answered and those that wait, which
it tells by `congested`: the connection then lets the peer send no more on this stream. Every byte that is held is counted by `Wire.hold`.
"""

import asyncio
import dataclasses
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from aweigh.core.errors import AweighError, DeadlineExceeded, InternalError, InvalidInput, TooLarge
from aweigh.engine.executors import failed_unexpectedly
from aweigh.serve.codings import HERE, inflate
from aweigh.serve.message import Conversation, GrpcResponse, Head, Talk
from aweigh.serve.status import grpc_error
from aweigh.serve.wire.limits import Limits

_LOG = logging.getLogger("aweigh.request")
_PREFIX: Final = 5
_WAITING: Final = 16
"""Messages that may wait before the peer is asked to pause."""
_WAITING_BYTES: Final = 1024 * 1024
"""What they may be together: of larger messages one waits."""
_OK: Final = GrpcResponse(b"")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What the connection does for a call; all of it is called on the event loop."""

    send: Callable[[bytes], bool]
    """Sends a part of the answer; True when it waits for the peer's window."""
    end: Callable[[GrpcResponse], None]
    hold: Callable[[int], None]
    """So many bytes of the request are held more, or fewer."""


class Call(Talk):
    """The connection feeds it, and is told of answers, of the end and of what is held."""

    def __init__(self, head: Head, identity: bytes, limits: Limits, now: float, wire: Wire) -> None:
        self.head = head
        self.id = identity
        self.ended = False
        self.deadline = math.inf if head.timeout_s is None else now + head.timeout_s
        """Where its client sets none, a call lives as long as the client wants it to."""
        self._max_message = limits.max_body
        self._time_s = limits.request_timeout_s
        self._wire = wire
        self._coding = head.headers.get(b"grpc-encoding", b"identity").strip().lower()
        self._buffer = bytearray()
        self._waiting: deque[tuple[int, bytes]] = deque()
        """Messages as they came, with their flags: what is compressed stays so until it is its turn."""
        self._waiting_bytes = 0
        self._whole_by = 0.0
        """When a message that has begun must have come whole; 0: the next round sets it."""
        self._busy = False
        self._blocked = False
        """Whether an answer waits for the peer's window: the next message waits with it."""
        self._half_closed = False
        self._pumping = False
        self._conversation: Conversation | None = None

    @property
    def congested(self) -> bool:
        """Whether enough messages wait."""
        return len(self._waiting) >= _WAITING or self._waiting_bytes >= _WAITING_BYTES

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._busy and not self._waiting

    def feed(self, data: bytes) -> None:
        """More bytes of the request."""
        if self.ended:
            return
        self._buffer += data
        self._wire.hold(len(data))
        try:
            self._split()
        except AweighError as error:
            self.finish(grpc_error(error))
            return
        self.pump()

    def half_close(self) -> None:
        """The peer sends no more."""
        if self._buffer and not self.ended:
            self.finish(grpc_error(InvalidInput("the stream ends within a message", hint="send whole messages")))
            return
        self._half_closed = True
        self.pump()

    def cancel(self) -> None:
        """The peer has left."""
        self.ended = True
        held = len(self._buffer) + self._waiting_bytes
        self._waiting.clear()
        self._waiting_bytes = 0
        self._buffer = bytearray()
        self._wire.hold(-held)
        if self._conversation is not None:
            self._conversation.cancel()

    def look(self, now: float) -> None:
        """About once a second: a message that has begun must go on coming, from when nothing that came before it holds the peer back."""
        if not self._buffer or self._waiting or self.ended:
            self._whole_by = 0.0
        elif not self._whole_by:
            self._whole_by = now + self._time_s
        elif now > self._whole_by:
            error = DeadlineExceeded(f"a message did not come whole within {self._time_s:g} s", hint="request_timeout_s sets the limit")
            self.finish(grpc_error(error))

    def _split(self) -> None:
        at, buffer = 0, self._buffer
        while len(buffer) - at >= _PREFIX:
            size = int.from_bytes(buffer[at + 1 : at + _PREFIX], "big")
            if size > self._max_message:
                raise TooLarge(f"a request of more than {self._max_message} bytes", hint="max_body_bytes sets the limit")
            if len(buffer) - at < _PREFIX + size:
                break
            self._waiting.append((buffer[at], bytes(buffer[at + _PREFIX : at + _PREFIX + size])))
            self._waiting_bytes += _PREFIX + size
            at += _PREFIX + size
        if at:
            del buffer[:at]
            self._whole_by = 0.0

    def _receive(self, flag: int, data: bytes) -> None:
        """Give a message to the dialect: here and now, or once it is inflated on a thread."""
        if flag > 1:
            raise InvalidInput(f"a gRPC message flag of {flag}")
        if flag and self._coding not in (b"gzip", b"deflate"):
            raise InternalError("a compressed message without a grpc-encoding", hint="say how it is compressed")
        if flag:
            try:
                data = inflate(data, self._coding, min(HERE, self._max_message))
            except TooLarge:
                if self._max_message <= HERE:
                    raise
                inflated = asyncio.get_running_loop().run_in_executor(None, inflate, data, self._coding, self._max_message)
                inflated.add_done_callback(self._receive_inflated)
                return
        if self._conversation is None:
            self._conversation = self.head.route.converse(self)  # type: ignore[misc]  # the connection asked for a streaming route
        self._conversation.receive(data)

    def _receive_inflated(self, inflated: "asyncio.Future[bytes]") -> None:
        if not self.ended and not inflated.cancelled():
            self._guarded(lambda: self._receive(0, inflated.result()))
            self.pump()

    def pump(self) -> None:
        """Hand the next message to the dialect, if it is its turn. Not recursive: an answer given at once comes back here."""
        if self._pumping:
            return
        self._guarded(self._receive_waiting)
        if self._half_closed and self.idle and not self.ended:
            self.finish(_OK)

    def _receive_waiting(self) -> None:
        while self._waiting and not (self._busy or self._blocked or self.ended):
            self._busy = True
            flag, data = self._waiting.popleft()
            self._waiting_bytes -= _PREFIX + len(data)
            self._wire.hold(-_PREFIX - len(data))
            self._receive(flag, data)

    def _guarded(self, receive: Callable[[], None]) -> None:
        """Whatever a message raises ends the call with it."""
        self._pumping = True
        try:
            receive()
        except AweighError as error:
            self.finish(grpc_error(error))
        except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
            _LOG.exception("call failed", extra={"request_id": self.id.decode(), "path": self.head.path})
            self.finish(grpc_error(failed_unexpectedly(self.id)))
        finally:
            self._pumping = False

    def unblock(self) -> None:
        """The peer's window has room again."""
        if self._blocked:
            self._blocked = False
            self.pump()

    def answer(self, message: bytes) -> None:
        if not self.ended:
            self._blocked = self._wire.send(b"\0" + len(message).to_bytes(4, "big") + message)

    def next(self) -> None:
        self._busy = False
        self.pump()

    def finish(self, status: GrpcResponse) -> None:
        if not self.ended:
            self.cancel()
            self._wire.end(status)

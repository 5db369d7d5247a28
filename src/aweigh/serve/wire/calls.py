"""One streaming gRPC call: messages out of bytes as they arrive, one at a time to the dialect, answers back in order.

Used by the HTTP/2 connection, which owns frames and windows. Holds no more than one message that is being answered and those that wait, which
it tells by `congested`: the connection then lets the peer send no more on this stream.
"""

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from aweigh.core.errors import AweighError, InternalError, InvalidInput, TooLarge
from aweigh.engine.executors import failed_unexpectedly
from aweigh.serve.codings import inflate
from aweigh.serve.message import Conversation, GrpcResponse, Head, Talk
from aweigh.serve.status import grpc_error
from aweigh.serve.wire.limits import Limits

_LOG = logging.getLogger("aweigh.request")
_PREFIX: Final = 5
_WAITING: Final = 16
"""Messages that may wait before the peer is asked to pause."""
_OK: Final = GrpcResponse(b"")


class Call(Talk):
    """The connection feeds it and is told of answers by `send` and of the end by `end`; both are called on the event loop."""

    def __init__(
        self, head: Head, identity: bytes, limits: Limits, now: float, send: Callable[[bytes], bool], end: Callable[[GrpcResponse], None]
    ) -> None:
        self.head = head
        self.id = identity
        self.ended = False
        self.deadline = math.inf if head.timeout_s is None else now + head.timeout_s
        """Where its client sets none, a call lives as long as the client wants it to."""
        self._max_message = limits.max_body
        self._send = send
        self._end = end
        self._coding = head.headers.get(b"grpc-encoding", b"identity").strip().lower()
        self._buffer = bytearray()
        self._waiting: deque[bytes] = deque()
        self._busy = False
        self._blocked = False
        """Whether an answer waits for the peer's window: the next message waits with it."""
        self._half_closed = False
        self._pumping = False
        self._conversation: Conversation | None = None

    @property
    def congested(self) -> bool:
        """Whether enough messages wait."""
        return len(self._waiting) >= _WAITING

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._busy and not self._waiting

    def feed(self, data: bytes) -> None:
        """More bytes of the request."""
        if self.ended:
            return
        self._buffer += data
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
        self._waiting.clear()
        if self._conversation is not None:
            self._conversation.cancel()

    def _split(self) -> None:
        at, buffer = 0, self._buffer
        while len(buffer) - at >= _PREFIX:
            size = int.from_bytes(buffer[at + 1 : at + _PREFIX], "big")
            if size > self._max_message:
                raise TooLarge(f"a message of {size} bytes; this server takes {self._max_message}", hint="max_body_bytes sets the limit")
            if len(buffer) - at < _PREFIX + size:
                break
            self._waiting.append(self._message(buffer[at], bytes(buffer[at + _PREFIX : at + _PREFIX + size])))
            at += _PREFIX + size
        del buffer[:at]

    def _message(self, flag: int, data: bytes) -> bytes:
        if flag == 0:
            return data
        if flag != 1:
            raise InvalidInput(f"a gRPC message flag of {flag}")
        if self._coding not in (b"gzip", b"deflate"):
            raise InternalError("a compressed message without a grpc-encoding", hint="say how it is compressed")
        return inflate(data, self._coding, self._max_message)

    def pump(self) -> None:
        """Hand the next message to the dialect, if it is its turn. Not recursive: an answer given at once comes back here."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._waiting and not (self._busy or self._blocked or self.ended):
                self._busy = True
                if self._conversation is None:
                    self._conversation = self.head.route.converse(self)  # type: ignore[misc]  # the connection asked for a streaming route
                self._conversation.receive(self._waiting.popleft())
        except AweighError as error:
            self.finish(grpc_error(error))
        except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
            _LOG.exception("call failed", extra={"request_id": self.id.decode(), "path": self.head.path})
            self.finish(grpc_error(failed_unexpectedly(self.id)))
        finally:
            self._pumping = False
        if self._half_closed and self.idle and not self.ended:
            self.finish(_OK)

    def unblock(self) -> None:
        """The peer's window has room again."""
        if self._blocked:
            self._blocked = False
            self.pump()

    def answer(self, message: bytes) -> None:
        if not self.ended:
            self._blocked = self._send(b"\0" + len(message).to_bytes(4, "big") + message)

    def next(self) -> None:
        self._busy = False
        self.pump()

    def finish(self, status: GrpcResponse) -> None:
        if not self.ended:
            self.cancel()
            self._end(status)

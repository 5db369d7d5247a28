"""Answers for the server while none of its workers can: alive, not ready, come again. Run by the supervisor on the shared socket."""

import asyncio
import contextlib
import socket
from typing import Final

_LIVE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlive\n"
_BODY: Final = b'{"error":"no worker is ready: they are being started","code":"not-ready"}'
_WAIT: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%b"
    % (len(_BODY), _BODY)
)
_LIVE_PATHS: Final = (b"GET /live ", b"HEAD /live ", b"GET /v2/health/live ")
_PATIENCE_S: Final = 2.0
_ACCEPTED_A_TURN: Final = 64
_NO_FILES_S: Final = 0.2


class Lobby:
    """Takes connections between `open` and `close`. gRPC clients, which it cannot understand, see UNAVAILABLE."""

    def __init__(self, listening: socket.socket) -> None:
        listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        self._listening = listening
        self._open = False
        self._visits: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Begin, unless it has begun."""
        if not self._open:
            self._open = True
            self._watch()

    def close(self) -> None:
        """Leave the socket to the workers; who was accepted is answered."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._listening.fileno())

    def _watch(self) -> None:
        if self._open:
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        """Not asyncio's own server: whom that one accepts in the turn in which it is closed gets neither an answer nor an end."""
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_A_TURN):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionError):  # nobody waits any more
                return
            except OSError:  # no files for whoever does: not asked again at every turn
                loop.remove_reader(self._listening.fileno())
                loop.call_later(_NO_FILES_S, self._watch)
                return
            connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
            visit = loop.create_task(loop.connect_accepted_socket(_Visitor, connection))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)


class _Visitor(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # the loop gives stream protocols a Transport
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, transport.close)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_LIVE if data.startswith(_LIVE_PATHS) else _WAIT)
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        # what is still being sent is read and dropped until the timer: closing now would reset the connection and lose the answer
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(0.2, self._transport.close)
        self.data_received = self._drop  # type: ignore[method-assign]  # one answer a connection

    def _drop(self, data: bytes) -> None:
        """The rest of a request that was answered."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()

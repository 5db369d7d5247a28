"""What stands for a connection while large bodies come in: the loop reads into memory that is here, not into bytes that must be copied on.

Made by the connections of both protocols, which go back to plain reading when small requests come. Decides nothing: passes on what it is told.
"""

import asyncio
from typing import Final, Protocol

from aweigh.serve.wire.bodies import Body

_BEGINNING: Final = 16 * 1024
"""Read at most so much of a request whose body may be large: the rest of the body is then read to its place."""
_FRAMES: Final = 256 * 1024


class _Connection(Protocol):
    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class _BodyConnection(_Connection, Protocol):
    def grew(self, size: int) -> None: ...
    def read_plainly(self) -> None: ...


class _FrameConnection(_Connection, Protocol):
    def frames_received(self, data: memoryview) -> None: ...


class _Reader(asyncio.BufferedProtocol):
    def __init__(self, connection: _Connection) -> None:
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]  # the connection's own, without a call between
        self.eof_received = connection.eof_received  # type: ignore[method-assign]
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]


class BodyReader(_Reader):
    """For HTTP/1.1: a little at a time until there is a `body` with a place, then straight to that place."""

    def __init__(self, connection: _BodyConnection) -> None:
        super().__init__(connection)
        self.body: Body | None = None
        self._connection = connection
        self._beginning = memoryview(bytearray(_BEGINNING))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._beginning if self.body is None else self.body.room

    def buffer_updated(self, nbytes: int) -> None:
        if self.body is None:
            self._connection.data_received(bytes(self._beginning[:nbytes]))
            self._connection.read_plainly()
            return
        self.body.filled(nbytes)
        self._connection.grew(nbytes)


class FrameReader(_Reader):
    """For HTTP/2: frames as they come, to be copied to their places from here."""

    def __init__(self, connection: _FrameConnection) -> None:
        super().__init__(connection)
        self._connection = connection
        self._frames = memoryview(bytearray(_FRAMES))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._frames

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.frames_received(self._frames[:nbytes])

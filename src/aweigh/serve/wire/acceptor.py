"""Accepts connections, many in one turn of the loop; from a socket that several workers share, so that each gets its part. Used by the server.

All workers are woken by a new connection. One that has more of them open than another lets the others go first, for two milliseconds at most.
"""

import asyncio
import contextlib
import dataclasses
import socket
from functools import partial
from typing import Final

from aweigh.engine.slab import OPEN, SENT, SERVING, STATE, Board, Slab
from aweigh.serve.wire.custody import Custody
from aweigh.serve.wire.listener import Listener

_HEAD_START_S: Final = 0.002
_AT_ONCE: Final = 64
"""Connections that are taken in one turn of the loop: turns are long when much is asked, and who has just come must not wait for one after another."""
_PAUSE_S: Final = 1.0
"""After an accept that failed for want of descriptors or memory."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What a worker has in common with the others: the listening socket, and the board on which `slab` is its own.

    `keeper` leads to the supervisor's custody of its connections; None where there is none.
    """

    listening: socket.socket
    keeper: socket.socket | None
    board: Board
    slab: Slab


class Acceptor:
    """Takes connections from its making on until `close`. Needs a running loop."""

    def __init__(self, listener: Listener, listening: socket.socket, shared: Shared | None = None) -> None:
        self._listener = listener
        self._listening = listening
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._waited = False
        self._timer: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._custody = None if shared is None or shared.keeper is None else Custody(shared.keeper, shared.slab)
        if self._custody is not None:
            listener.entrust(self._custody)
            self._loop.add_reader(self._custody.fileno(), self._adopt)
        self._resume()

    def close(self) -> None:
        """Take no more. When the whole server ends, what waits to be accepted is taken first: nobody else will."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listening.fileno())
        if self._custody is not None:
            self._loop.remove_reader(self._custody.fileno())
        if not self._others():
            with contextlib.suppress(OSError):  # no descriptors left: what waits goes with the socket
                while self._accept():
                    pass
        self._listening.close()

    async def wait_closed(self) -> None:
        """As an asyncio server's: until every connection that was accepted has been opened."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listening.fileno(), self._on_connection)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._timer = self._loop.call_later(seconds, self._resume)

    def _on_connection(self) -> None:
        if not self._waited and self._ahead():
            self._waited = True
            self._pause(_HEAD_START_S)
            return
        self._waited = False
        try:
            for _ in range(_AT_ONCE):
                if not self._accept() or self._ahead():
                    return
        except OSError:
            self._pause(_PAUSE_S)

    def _accept(self) -> bool:
        """Take one connection; False when there is none."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin(connection)
        return True

    def _adopt(self) -> None:
        """Connections of a worker that died go on here."""
        if self._custody is None:
            return
        try:
            for connection, sent in self._custody.adopted():
                self._begin(connection, sent)
        except OSError:
            self._loop.remove_reader(self._custody.fileno())

    def _begin(self, connection: socket.socket, sent: int = SENT) -> None:
        connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        slot = 0 if self._custody is None else self._custody.take(connection)
        task = self._loop.create_task(self._open(connection, slot, sent))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket, slot: int, sent: int) -> None:
        try:
            await self._loop.connect_accepted_socket(partial(self._listener.connect, slot, sent), connection)
        except OSError:  # it was gone before it was here
            self._listener.leave(slot)
            connection.close()

    def _others(self) -> list[Slab]:
        if self._shared is None:
            return []
        return [slab for slab in self._shared.board.slabs if slab is not self._shared.slab and slab.cells[STATE] == SERVING]

    def _ahead(self) -> bool:
        """Whether another worker that serves has fewer connections."""
        mine = self._listener.open_connections + len(self._opening)
        return any(slab.cells[OPEN] < mine for slab in self._others())

"""A worker's connections in custody: duplicates of them lie with the supervisor, which answers for a worker that dies or hangs. The worker's side.

Used by the acceptor, the listener and HTTP/1.1 connections. Costs one number in shared memory for each request that is read, and nothing for a connection
that ends within milliseconds. A connection of which another process has a duplicate is not ended by closing it: it is shut down first.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import MutableSequence
from typing import Final

from aweigh.engine.slab import FREE, SENT, SLOTS, UNREAD, Slab

HAND_OVER_S: Final = 0.005
"""A connection that lives for less is not handed over: its client asks once and leaves."""
_AGAIN_S: Final = 0.05
FILES_AT_ONCE: Final = 64
ADOPTED: Final = struct.Struct("<Q")
"""What goes with a connection that another worker takes over: the bytes that were sent on it."""
MESSAGE_BYTES: Final = 4 * FILES_AT_ONCE
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux, as all of this
NOBODY: Final = 0
"""The slot of connections that are in nobody's custody."""


class Custody:
    """`connection` leads to the supervisor's keeper. Needs a running loop."""

    def __init__(self, connection: socket.socket, slab: Slab) -> None:
        self.slots: MutableSequence[int] = slab.slots  # type: ignore[assignment]  # a memoryview of whole numbers
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._free = deque(range(NOBODY + 1, SLOTS))
        """The one that was left longest ago first: its duplicate has been closed by then."""
        self._own: dict[int, socket.socket] = {}
        self._new: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self, connection: socket.socket) -> int:
        """A slot for a new connection, which is handed over in a moment."""
        if not self._free:
            return NOBODY
        slot = self._free.popleft()
        self.slots[slot] = UNREAD
        self._own[slot] = connection
        self._new.append(slot)
        if self._timer is None:
            self._timer = self._loop.call_later(HAND_OVER_S, self._hand_over)
        return slot

    def leave(self, slot: int, *, ends: bool = True) -> None:
        """A connection ends, or is kept by nobody from now on."""
        connection = self._own.pop(slot, None)
        if connection is None:
            return
        self.slots[slot] = FREE
        self._free.append(slot)
        if ends:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def adopted(self) -> list[tuple[socket.socket, int]]:
        """Connections of a worker that died, on which nothing is under way, each with what `slots` is told of it next. Raises OSError: the keeper is gone."""
        found = []
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:
                said, files, *_ = socket.recv_fds(self._connection, MESSAGE_BYTES, 1, _CLOSE_ON_EXEC)
                if not files:
                    raise ConnectionResetError("the supervisor's keeper is gone")
                found.append((socket.socket(fileno=files[0]), ADOPTED.unpack(said)[0] + SENT))
        return found

    def fileno(self) -> int:
        """On which adopted connections arrive."""
        return self._connection.fileno()

    def close(self) -> None:
        """Take and hand over nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()

    def _hand_over(self) -> None:
        self._timer = None
        new = [slot for slot in self._new if slot in self._own]
        at = 0
        with contextlib.suppress(OSError):  # the supervisor is behind, or gone
            while at < len(new):
                some = new[at : at + FILES_AT_ONCE]
                message = struct.pack(f"<{len(some)}L", *some)
                socket.send_fds(self._connection, [message], [self._own[slot].fileno() for slot in some])
                at += len(some)
        self._new = new[at:]
        if self._new:
            self._timer = self._loop.call_later(_AGAIN_S, self._hand_over)

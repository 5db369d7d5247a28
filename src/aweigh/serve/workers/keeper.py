"""The supervisor's side of custody: duplicates of one worker's HTTP/1.1 connections, and what becomes of them when the worker is no more.

What the worker held is answered here, what it had not read goes on in another worker, and what cannot be known is closed: a client is never given two
answers to one request, nor the end of one answer and the beginning of another. Linux alone: the kernel tells how much was sent on a connection.
"""

import array
import contextlib
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
from typing import Final, NamedTuple

from aweigh.engine.slab import FREE, SENT, UNKNOWN, UNREAD, Slab
from aweigh.serve.wire.custody import ADOPTED, FILES_AT_ONCE, MESSAGE_BYTES

_RESERVED_FILES: Final = 192
"""Of the descriptors that this process may have, those that it needs for itself."""
_SMALL: Final = 8192
"""An answer below this goes to the kernel whole or not at all: nothing waits before it, since its client has read the one before."""
_UNSENT: Final = 0x5411
"""SIOCOUTQ (tcp(7)): the bytes of which the peer has not confirmed the receipt."""
_ACKNOWLEDGED: Final = struct.Struct("<Q")
_AT_ACKNOWLEDGED: Final = 120
"""Place of tcpi_bytes_acked in Linux's tcp_info."""
HELD, IDLE, LOST = "held", "idle", "lost"


class Traffic(NamedTuple):
    """Of a connection's whole life: bytes that the kernel took to send, and those of its client that nobody has read."""

    sent: int
    unread: int


def verdict(said: int, traffic: Traffic | None) -> str:
    """What a dead worker owed a connection: HELD, an answer of which nothing was sent; IDLE, nothing; LOST, it cannot be said."""
    if said == UNREAD:
        return IDLE
    if traffic is None or said == UNKNOWN:
        return LOST
    begun = traffic.sent - (said - SENT)
    if begun == 0:
        return HELD
    return IDLE if 0 < begun < _SMALL else LOST


def traffic_of(descriptor: int) -> Traffic | None:
    """None where this system does not tell."""
    counted = array.array("i", [0])
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _AT_ACKNOWLEDGED + _ACKNOWLEDGED.size)
        fcntl.ioctl(descriptor, _UNSENT, counted)
        unsent = counted[0]
        fcntl.ioctl(descriptor, termios.FIONREAD, counted)
        return Traffic(_ACKNOWLEDGED.unpack_from(told, _AT_ACKNOWLEDGED)[0] + unsent, counted[0])
    except (OSError, struct.error):
        return None


class Keeper:
    """`entrust` once, `receive` whenever `fileno` is readable, `sweep` now and then; `end` when the worker is no more."""

    def __init__(self, slab: Slab) -> None:
        self._slots = slab.slots
        self._connection: socket.socket | None = None
        self._kept: dict[int, int] = {}
        """Descriptors by slot."""

    def entrust(self, link: socket.socket) -> None:
        """Give a worker that begins its end, by its link: the first thing that it reads there."""
        with contextlib.suppress(OSError):  # it has ended already, which its link says
            if sys.platform != "linux":
                link.send(_FIRST)
                return
            self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
            with theirs:
                socket.send_fds(link, [_FIRST], [theirs.fileno()])

    def fileno(self) -> int:
        """On which connections arrive; -1 where there is no custody."""
        return -1 if self._connection is None else self._connection.fileno()

    def receive(self) -> bool:
        """Take what was handed over; False when nothing will come any more."""
        if self._connection is None:
            return False
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES
        try:
            while True:
                said, files, *_ = socket.recv_fds(self._connection, MESSAGE_BYTES, FILES_AT_ONCE, socket.MSG_CMSG_CLOEXEC)
                if not said:
                    return False
                for slot, descriptor in zip(struct.unpack(f"<{len(said) // 4}L", said), files, strict=False):
                    self._forget(slot)
                    if descriptor < most:
                        self._kept[slot] = descriptor
                    else:
                        os.close(descriptor)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    def sweep(self) -> None:
        """Close the duplicates of connections that have ended."""
        for slot in [slot for slot in self._kept if self._slots[slot] == FREE]:
            self._forget(slot)

    def adopt(self, connection: socket.socket, sent: int) -> bool:
        """Have this keeper's worker go on with a connection; False when it cannot be told now."""
        if self._connection is None:
            return False
        try:
            socket.send_fds(self._connection, [ADOPTED.pack(sent)], [connection.fileno()])
        except OSError:
            return False
        return True

    def end(self) -> list[tuple[socket.socket, str, Traffic]]:
        """The worker is no more: its connections, each with the verdict on it. Whoever calls this closes them."""
        self.receive()
        found = []
        for slot, descriptor in self._kept.items():
            said = self._slots[slot]
            if said == FREE:
                os.close(descriptor)
                continue
            traffic = traffic_of(descriptor)
            found.append((socket.socket(fileno=descriptor), verdict(said, traffic), traffic or Traffic(0, 0)))
        self._kept.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        return found

    def _forget(self, slot: int) -> None:
        descriptor = self._kept.pop(slot, None)
        if descriptor is not None:
            os.close(descriptor)


_FIRST: Final = b"k"


def entrusted(link: socket.socket) -> socket.socket | None:
    """The worker's side of `entrust`: its end, None where there is no custody. Waits for the first byte of the link."""
    _, files, *_ = socket.recv_fds(link, len(_FIRST), 1)
    for descriptor in files:
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)  # noqa: FBT003  # the standard library's own signature
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)  # noqa: FBT003  # the same
        return connection
    return None

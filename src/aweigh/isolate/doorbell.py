"""The bell between a parent and its worker: 16 bytes through a pipe say that a request or an answer lies in shared memory. Used by both sides.

A pipe, because it was measured as the quickest of pipe, event file and socket pair, and one that tells when the other side is gone. One request
is on its way at a time, so each side writes only when the other one waits.
"""

import enum
import fcntl
import os
import select
import struct
import sys
import termios
from time import monotonic
from typing import Final

_RING: Final = struct.Struct("<IIQ")


class Ring(enum.IntEnum):
    """What a ring means. Parent to child: RUN, REQUEST_ROOM, ANSWER_ROOM. Child to parent: the others."""

    RUN = 1
    """A request lies in the request segment."""
    REQUEST_ROOM = 2
    """A larger request segment follows over the channel."""
    ANSWER_ROOM = 3
    """A larger answer segment follows over the channel; size 0: there is none so large."""
    ANSWER = 11
    FAILED = 12
    """The header in the answer segment is an error."""
    OUT_OF_MEMORY = 13
    NEEDS_ROOM = 14
    """The answer takes `size` bytes, more than the answer segment has."""


Rung = tuple[int, int, int]
"""One ring as it came: what it means, bytes of the header, bytes in all."""


class Doorbell:
    """One side's ends of the two pipes: reads from one, writes to the other. Raises ConnectionError when the other side is gone."""

    __slots__ = ("_out", "_poll", "fd", "peer")

    def __init__(self, reads: int, writes: int) -> None:
        self.fd = reads
        """Readable when the other side has rung, or is gone."""
        self.peer: int | None = None
        """A process file descriptor of the other side, where there is one: `wait` sees its death even while what it forked keeps the pipe open."""
        self._out = writes
        self._poll: select.poll | None = None

    def ring(self, kind: int, header_bytes: int = 0, size: int = 0) -> None:
        try:
            os.write(self._out, _RING.pack(kind, header_bytes, size))
        except OSError as error:  # a broken pipe, or one that is full of what the other side never read
            raise ConnectionError("the other process closed its bell") from error

    def take(self) -> Rung:
        """The ring that has come; waits for it where the pipe is blocking, else raises BlockingIOError."""
        data = os.read(self.fd, _RING.size)
        if len(data) != _RING.size:
            raise ConnectionError("the other process closed its bell")
        return _RING.unpack(data)

    @property
    def untaken(self) -> bool:
        """Whether the other side has not taken the last ring; once it has ended, it never will."""
        return int.from_bytes(fcntl.ioctl(self._out, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder) > 0

    def wait(self, deadline: float) -> None:
        """Until it rings. Raises TimeoutError at `deadline` of `monotonic()`, ConnectionError when the other side has ended without a ring."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)
            if self.peer is not None:
                self._poll.register(self.peer, select.POLLIN)
        left_s = deadline - monotonic()
        ready = dict(self._poll.poll(left_s * 1000 + 1)) if left_s > 0 else {}
        if not ready:
            raise TimeoutError("no time left")
        if self.fd not in ready:
            raise ConnectionError("the other process has ended")

    def close(self) -> None:
        for descriptor in (self.fd, self._out):
            if descriptor >= 0:
                os.close(descriptor)
        self.fd = self._out = -1


def bell_and_ends() -> tuple[Doorbell, tuple[int, int]]:
    """The parent's bell, which never blocks, and the descriptors of the child's: what it reads from, what it writes to."""
    their_reads, our_writes = os.pipe()
    try:
        our_reads, their_writes = os.pipe()
    except OSError:
        os.close(their_reads)
        os.close(our_writes)
        raise
    for descriptor in (our_reads, our_writes):
        os.set_blocking(descriptor, False)
    return Doorbell(our_reads, our_writes), (their_reads, their_writes)

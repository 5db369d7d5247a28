"""Shared memory between a parent and its child: a file without a name that both map, so that nothing is left wherever either is killed.

The parent makes every segment and seals its size: a child that shrank it could end the parent by a bus error. Used by both sides.
"""

import fcntl
import mmap
import os
import tempfile
from typing import Final, Self

from aweigh.core.errors import TooLarge

FIRST_BYTES: Final = 64 * 1024
_SEALS: Final = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


class Segment:
    """`size` bytes of memory, by `view`. The maker's `fd` is what crosses to the other side; `release_fd` when it has."""

    __slots__ = ("_map", "fd", "size", "view")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size)
        self.view = memoryview(self._map)

    @classmethod
    def make(cls, size: int) -> Self:
        """A new segment of zeros; pages take memory when they are written. Raises OSError."""
        fd = _anonymous_file()
        try:
            os.ftruncate(fd, size)
            if hasattr(fcntl, "F_ADD_SEALS"):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, sum(getattr(fcntl, seal) for seal in _SEALS))
            return cls(fd, size)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int) -> Self:
        """The other side's segment; takes over the descriptor."""
        segment = cls(fd, os.fstat(fd).st_size)
        segment.release_fd()
        return segment

    def release_fd(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Give the memory back; the segment stays, of zeros."""
        if hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Unmap. Only where no array over the memory can be left: the parent's side, which copies."""
        self.release_fd()
        self.view.release()
        self._map.close()


def room_for(size: int, limit: int) -> int:
    """The size of a segment that takes `size` bytes: doubled from the first, `limit` at most. Raises TooLarge."""
    if size > limit:
        raise TooLarge(
            f"tensors of {size} bytes between processes: at most {limit} are taken", hint="send fewer rows, or raise child_memory_bytes"
        )
    room = FIRST_BYTES
    while room < size:
        room *= 2
    return min(room, max(limit, FIRST_BYTES))


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("aweigh", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:  # not Linux: unlinked at once, which is as good
        return os.dup(file.fileno())

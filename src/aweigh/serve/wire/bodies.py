"""A request body that is still arriving. Called by the connections of both protocols.

Of a large body whose length is known, each byte is copied once, to where handlers see it: one buffer that ends on a boundary of 64 bytes, so
that a tensor at its end lies well. Must never hold memory for what was merely declared: a buffer comes when a part of its body has come.
"""

from io import BytesIO
from typing import Final

import numpy as np

from aweigh.serve.message import Head

GRPC_PREFIX_BYTES: Final = 5
LARGE: Final = 64 * 1024
"""Bodies up to this size are joined from their pieces."""
_BOUNDARY: Final = 64
_SHARE: Final = 64
"""A buffer is at most so many times what came of its body."""


class Body:
    """Pieces at first. `expected` is its declared length where the handler takes a view of the body, or 0."""

    __slots__ = ("_expected", "_pieces", "_view", "received")

    def __init__(self, expected: int = 0) -> None:
        self._expected = expected if expected > LARGE else 0
        self._pieces = BytesIO()
        """Takes pieces of any size alike and gives them back as one without a copy: a list of them would take sixty bytes for each of two."""
        self._view: memoryview | None = None
        self.received = 0

    def add(self, piece: bytes | memoryview) -> None:
        """Take what came."""
        end = self.received + len(piece)
        if self._view is None and end * _SHARE >= self._expected > end:
            self._settle()
        if self._view is not None and end <= self._expected:
            self._view[self.received : end] = piece
        elif self._view is not None:  # longer than declared: whoever reads it will say so
            self._pieces.write(self._view[: self.received])
            self._pieces.write(piece)
            self._view, self._expected = None, 0
        else:
            self._pieces.write(piece)
        self.received = end

    def pour(self, piece: memoryview) -> int:
        """Take a piece that is not the last, if there is a place for it; how much of the body is then missing, or -1."""
        view, begin = self._view, self.received
        missing = self._expected - begin - len(piece)
        if view is None or missing < 0:
            return -1
        view[begin : begin + len(piece)] = piece
        self.received = begin + len(piece)
        return missing

    def _settle(self) -> None:
        block = np.empty(self._expected + _BOUNDARY, np.uint8)
        start = -(block.ctypes.data + self._expected) % _BOUNDARY
        self._view = block.data[start : start + self._expected]
        with self._pieces.getbuffer() as came:
            self._view[: len(came)] = came
        self._pieces = BytesIO()

    @property
    def placed(self) -> bool:
        """Whether there is a buffer."""
        return self._view is not None

    @property
    def room(self) -> memoryview:
        """Where the next bytes belong, once there is a buffer."""
        return memoryview(b"") if self._view is None else self._view[self.received :]

    def filled(self, size: int) -> None:
        """So many bytes were written to `room`."""
        self.received += size

    @property
    def view(self) -> memoryview | None:
        """All of it, where it was read into a buffer and is as long as it was declared."""
        return self._view.toreadonly() if self._view is not None and self.received == self._expected else None

    def joined(self) -> bytes:
        """All of it."""
        return self._pieces.getvalue() if self._view is None else bytes(self._view[: self.received])


def expected_size(head: Head, beginning: bytes | memoryview, max_body: int) -> int:
    """The length of a body that may be read in place, as its head or the gRPC message's own prefix declares it; 0 for any other."""
    if not head.views:
        return 0
    size = int.from_bytes(beginning[1:GRPC_PREFIX_BYTES], "big") + GRPC_PREFIX_BYTES if head.route.grpc else head.content_length
    return size if size <= max_body + GRPC_PREFIX_BYTES else 0

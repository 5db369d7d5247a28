"""The chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1), decoded strictly: sizes in hexadecimal alone, CR LF, no trailers."""

import re
from io import BytesIO
from typing import Final

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.serve.wire.limits import Limits

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_MAX_LINE: Final = 10


class ChunkedBody:
    """Collects one body. Feed it bytes until `done`; then `rest` is what follows the body."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending = b""
        """Bytes not yet understood: part of a size line or of the line end after a chunk; after the body, the rest."""
        self._missing = 0
        """Bytes that the current chunk still lacks."""
        self._closing = False
        """Whether the line end of a chunk (or of the body) is still to come."""
        self._body = BytesIO()
        """Takes pieces of any size as cheaply: a list of them would take sixty bytes for each of two."""
        self._size = 0
        self._chunks = 0
        self._last = False
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises InvalidInput for a broken chunk, TooLarge past the body or chunk limit."""
        pending = self._pending + data if self._pending else data
        at = 0
        while not self.done:
            if self._missing:
                piece = pending[at : at + self._missing]
                if not piece:
                    break
                self._body.write(piece)
                self._missing -= len(piece)
                at += len(piece)
            elif self._closing:
                if len(pending) - at < 2:
                    if pending[at : at + 1] not in (b"", b"\r"):
                        raise _too_long()
                    break
                if pending[at : at + 2] != b"\r\n":
                    raise _too_long()
                at += 2
                self._closing, self.done = False, self._last
            else:
                line = _SIZE.match(pending, at)
                if line is None:
                    if len(pending) - at >= _MAX_LINE or b"\n" in pending[at:]:
                        raise InvalidInput(
                            f"chunk size {pending[at : at + 12]!r} is not a hexadecimal number", hint="chunk extensions are not taken"
                        )
                    break
                self._begin(int(line.group(1), 16))
                at = line.end()
        self._pending = pending[at:]

    def _begin(self, size: int) -> None:
        self._size += size
        self._chunks += 1
        if self._size > self._limits.max_body:
            raise self._limits.too_large()
        if self._chunks > self._limits.max_chunks:
            raise TooLarge(f"more than {self._limits.max_chunks} chunks in one body", hint="send larger chunks")
        self._missing, self._closing, self._last = size, True, size == 0

    @property
    def rest(self) -> bytes:
        """What came after the body."""
        return self._pending

    def body(self) -> bytes:
        """The whole body."""
        return self._body.getvalue()


def _too_long() -> InvalidInput:
    return InvalidInput("a chunk is longer than its size, or trailers follow the body")

"""The chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1), decoded strictly: sizes in hexadecimal alone, CR LF, no trailers."""

import re
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
        self._parts: list[bytes] = []
        self._size = 0
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises InvalidInput for a broken chunk, TooLarge past the body or chunk limit."""
        pending = self._pending + data
        at = 0
        while not self.done:
            line = _SIZE.match(pending, at)
            if line is None:
                if len(pending) - at >= _MAX_LINE or (len(pending) > at and b"\r\n" in pending[at:]):
                    raise InvalidInput(
                        f"chunk size {pending[at : at + 12]!r} is not a hexadecimal number", hint="chunk extensions are not taken"
                    )
                break
            size = int(line.group(1), 16)
            if self._size + size > self._limits.max_body:
                raise TooLarge(f"a body of more than {self._limits.max_body} bytes", hint="max_body_bytes sets the limit")
            end = line.end() + size
            if len(pending) < end + 2:
                break
            if pending[end : end + 2] != b"\r\n":
                raise InvalidInput("a chunk is longer than its size, or trailers follow the body")
            self._take(pending[line.end() : end])
            at = end + 2
        self._pending = pending[at:]

    def _take(self, chunk: bytes) -> None:
        if not chunk:
            self.done = True
            return
        self._size += len(chunk)
        self._parts.append(chunk)
        if len(self._parts) > self._limits.max_chunks:
            raise TooLarge(f"more than {self._limits.max_chunks} chunks in one body", hint="send larger chunks")

    @property
    def rest(self) -> bytes:
        """What came after the body."""
        return self._pending

    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self._parts)

"""Header blocks of HTTP/2: HPACK decoding (by hpack), RFC 9113's rules for requests, and the per-connection cache of decided blocks.

A block is remembered under its bytes only while it means the same: it changed no dynamic table, and none has changed since.
"""

from typing import Final

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from aweigh.core.http2 import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR, ProtocolFault, StreamFault
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.message import Head
from aweigh.serve.wire.limits import Limits

_CACHED_BLOCKS: Final = 64
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_FORBIDDEN: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_ONCE: Final = frozenset({b"content-length", b"content-type", b"authorization", b"host", b"te", b"grpc-timeout"})
_MAX_TABLE: Final = 4096


class _WatchedTable(HeaderTable):
    """A dynamic table that counts its changes."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1  # even where nothing is evicted: a remembered block must not spare the table its update
        super(_WatchedTable, type(self)).maxsize.__set__(self, newmax)  # type: ignore[attr-defined]  # a property of the parent class


class HeaderBlocks:
    """Decodes the header blocks of one connection, in order: every block must pass through here, trailers too."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._table = _WatchedTable()
        self._decoder = Decoder(max_header_list_size=limits.max_head)
        self._decoder.header_table = self._table
        self._decoder.max_allowed_table_size = _MAX_TABLE
        self.known: dict[bytes, Head] = {}
        """Looked up directly by the connection; cleared whenever the dynamic table changes."""

    def request(self, block: bytes, stream: int) -> Head:
        """Decode and resolve a request's block. Raises ProtocolFault for broken HPACK, StreamFault for a malformed request."""
        before = self._table.changes
        fields = self._decode(block)
        changed = self._table.changes != before
        if changed:
            self.known.clear()  # before anything can be raised: the blocks that are known mean something else now
        head = self._resolve(fields, stream)
        if head.plain and not changed:
            if len(self.known) >= _CACHED_BLOCKS:
                self.known.clear()
            self.known[block] = head
        return head

    def trailers(self, block: bytes) -> None:
        """Decode a block whose fields are of no interest, for the table's sake."""
        before = self._table.changes
        self._decode(block)
        if self._table.changes != before:
            self.known.clear()

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            too_large = "exceeds" in str(error) or "Oversized" in type(error).__name__
            raise ProtocolFault(ENHANCE_YOUR_CALM if too_large else COMPRESSION_ERROR, f"header block: {error}") from None
        except (ValueError, IndexError) as error:
            raise ProtocolFault(COMPRESSION_ERROR, f"header block: {error}") from None

    def _resolve(self, fields: list[tuple[bytes, bytes]], stream: int) -> Head:
        if len(fields) > self._limits.max_headers:
            raise StreamFault(stream, ENHANCE_YOUR_CALM, "too many headers")
        pseudo, headers = _collect(fields, stream)
        method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        if not method or not path or b":scheme" not in pseudo:
            raise StreamFault(stream, PROTOCOL_ERROR, "a pseudo-header is missing")
        if b":authority" in pseudo:
            headers.setdefault(b"host", pseudo[b":authority"])
        try:
            target = path.decode("ascii")
        except UnicodeDecodeError:
            raise StreamFault(stream, PROTOCOL_ERROR, "the path is not ASCII") from None
        head = self._dispatcher.resolve(method.decode("latin-1"), target, headers)
        head.plain = head.fault is None and not head.request_id
        head.content_length = _length(headers, stream)
        if head.content_length > self._limits.max_body and head.fault is None:
            head.fault = self._limits.too_large()
            head.plain = False
        return head


def _length(headers: dict[bytes, bytes], stream: int) -> int:
    """The declared length, -1 if none was declared."""
    value = headers.get(b"content-length")
    if value is None:
        return -1
    if not value.isdigit() or len(value) > 18:
        raise StreamFault(stream, PROTOCOL_ERROR, "content-length is not a number")
    return int(value)


def _collect(fields: list[tuple[bytes, bytes]], stream: int) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """RFC 9113 sections 8.2 and 8.3: lower-case names, pseudo-headers first and once, nothing that belongs to a connection."""
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if name.startswith(b":"):
            if name not in _PSEUDO or name in pseudo or headers:
                raise StreamFault(stream, PROTOCOL_ERROR, "pseudo-headers are wrong")
            pseudo[name] = value
            continue
        if name in _FORBIDDEN or name != name.lower() or not name or (name == b"te" and value != b"trailers"):
            raise StreamFault(stream, PROTOCOL_ERROR, "a header field is not allowed in HTTP/2")
        if any(byte in value for byte in (0, 10, 13)):
            raise StreamFault(stream, PROTOCOL_ERROR, "a header value holds a control character")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            raise StreamFault(stream, PROTOCOL_ERROR, "a header field is given twice")
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    return pseudo, headers

"""HTTP/2 and gRPC on the wire (RFC 9113, RFC 7541): numbers, faults, encoders of frames and header fields. Pure functions and constants.

For both ends: the server's wire, and the load test's connections. Header fields are literals without indexing, so no block depends on the state
of a dynamic table and all can be made beforehand.
"""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
HAS_PRIORITY: Final = 32

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384


class ProtocolFault(Exception):
    """The peer broke HTTP/2 in a way that ends the connection: an error code of RFC 9113 section 7 and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """The peer broke one stream; the connection goes on."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.stream = stream
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings_frame(values: dict[int, int]) -> bytes:
    """Our SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def goaway_frame(last_stream: int, code: int, reason: str = "") -> bytes:
    """GOAWAY with a short reason as its debug data."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode("ascii", "replace")[:200])


def reset_frame(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_frame(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def integer(value: int, prefix_bits: int) -> bytes:
    """HPACK integer (RFC 7541 section 5.1) with zero bits above the prefix."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((value,))
    encoded = bytearray((limit,))
    value -= limit
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def literal(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing (RFC 7541 section 6.2.2)."""
    return b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value


def status_field(status: int) -> bytes:
    """The :status pseudo-header: indexed for the codes of the static table, literal with an indexed name otherwise."""
    indexed = {200: b"\x88", 204: b"\x89", 206: b"\x8a", 304: b"\x8b", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}.get(status)
    return indexed or b"\x08\x03" + str(status).encode()


GRPC_HEADERS: Final = status_field(200) + literal(b"content-type", b"application/grpc")
GRPC_OK: Final = literal(b"grpc-status", b"0")


def percent_encode(text: str) -> bytes:
    """A gRPC status message (gRPC over HTTP/2: printable ASCII but % as it is, all other UTF-8 bytes escaped)."""
    raw = text.encode("utf-8", "backslashreplace")[:1024]
    return b"".join(bytes((byte,)) if 32 <= byte <= 126 and byte != 37 else b"%%%02X" % byte for byte in raw)


def grpc_failure(code: int, text: str, extra: bytes = b"") -> bytes:
    """The header block of a trailers-only gRPC answer."""
    return GRPC_HEADERS + extra + literal(b"grpc-status", str(code).encode()) + literal(b"grpc-message", percent_encode(text))


def grpc_end(code: int, text: str, extra: bytes) -> bytes:
    """The trailers of a gRPC answer whose headers were sent."""
    return GRPC_OK if code == 0 else grpc_failure(code, text, extra)[len(GRPC_HEADERS) :]


def check_ignored(kind: int, stream: int, payload: bytes) -> None:
    """PRIORITY and GOAWAY change nothing here, and unknown frames are ignored; the first two must be well-formed all the same."""
    if kind == PRIORITY:
        if stream == 0:
            raise ProtocolFault(PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(stream, FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
    elif kind == GOAWAY and (stream or len(payload) < 8):
        raise ProtocolFault(PROTOCOL_ERROR if stream else FRAME_SIZE_ERROR, "GOAWAY is wrong")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a frame without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolFault(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]

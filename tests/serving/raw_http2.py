"""A client that speaks HTTP/2 frame by frame, and may say what no library would."""

import hpack
from tests.serving.kit import INFER, PREFACE, Rig, grpc_frame, infer_message

CALL = infer_message().SerializeToString()
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "a"), ("content-type", "application/grpc")]


def raw_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(*more: tuple[str, str], fields: list[tuple[str, str]] = FIELDS) -> bytes:
    """A header block that leaves no trace in the dynamic table."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in [*fields, *more]])


class Raw:
    """A client that sends what it likes, and reads frames."""

    def __init__(self, server: Rig, *first: bytes) -> None:
        self.protocol, self.pipe = server.open()
        self.pipe.send(PREFACE + raw_frame(4, 0, 0) + b"".join(first))

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        data, found = self.pipe.take(), []
        while data:
            end = 9 + int.from_bytes(data[:3], "big")
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
            data = data[end:]
        return found

    def ends(self) -> int | None:
        """The code of the GOAWAY that came, or None."""
        codes = [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in self.frames() if kind == 7]
        return codes[0] if codes else None

    def goodbyes(self) -> list[int]:
        """The last streams of the GOAWAY frames without an error."""
        found = [payload for kind, _, _, payload in self.frames() if kind == 7 and payload[4:8] == bytes(4)]
        return [int.from_bytes(payload[:4], "big") for payload in found]

    def answered(self) -> list[int]:
        """Streams that got a message."""
        return [stream for kind, _, stream, _ in self.frames() if kind == 0]

    def resets(self) -> list[tuple[int, int]]:
        return [(stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in self.frames() if kind == 3]


def alive(server: Rig, raw: Raw, stream: int) -> bool:
    """Whether the connection still answers a new request."""
    raw.frames()
    raw.pipe.send(raw_frame(1, 4, stream, block()) + raw_frame(0, 1, stream, grpc_frame(CALL)))
    return any(kind == 0 and at == stream for kind, _, at, _ in raw.frames())

"""What RFC 9113 forbids ends the stream or the connection with the right code; floods and bombs end it before they cost much."""

import h2.events
import h2.settings
import hpack
import pytest
from tests.serving.kit import (
    INFER,
    PREFACE,
    HeldThreads,
    Http2Peer,
    Rig,
    buffered,
    grpc_frame,
    infer_message,
    model,
    rig,
)
from tests.serving.raw_http2 import CALL, FIELDS, Raw, alive, block, raw_frame

PROTOCOL_ERROR, FLOW, STREAM_CLOSED, FRAME_SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MIB = 1024 * 1024

CONNECTION_FAULTS = {
    "frame too large": (raw_frame(0, 0, 1, b"x" * 16_385), FRAME_SIZE),
    "DATA on an idle stream": (raw_frame(0, 0, 5, b"x"), PROTOCOL_ERROR),
    "DATA on stream 0": (raw_frame(0, 0, 0, b"x"), PROTOCOL_ERROR),
    "HEADERS on stream 0": (raw_frame(1, 4, 0, block()), PROTOCOL_ERROR),
    "HEADERS on an even stream": (raw_frame(1, 4, 2, block()), PROTOCOL_ERROR),
    "CONTINUATION alone": (raw_frame(9, 4, 1, block()), PROTOCOL_ERROR),
    "interrupted header block": (raw_frame(1, 0, 1, block()) + raw_frame(6, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "CONTINUATION of another stream": (raw_frame(1, 0, 1, block()) + raw_frame(9, 4, 3, b""), PROTOCOL_ERROR),
    "endless header block": (raw_frame(1, 0, 1) + raw_frame(9, 0, 1, b"x") * 100, CALM),
    "large header block": (raw_frame(1, 0, 1) + raw_frame(9, 0, 1, b"x" * 16_000) * 3, CALM),
    "too much padding": (raw_frame(1, 4 | 8, 1, b"\xff" + block()[:50]), PROTOCOL_ERROR),
    "priority too short": (raw_frame(1, 4 | 32, 1, b"abc"), FRAME_SIZE),
    "broken HPACK": (raw_frame(1, 4, 1, b"\xff\xff\xff\xff\xff"), COMPRESSION),
    "index beyond the table": (raw_frame(1, 4, 1, b"\xfe"), COMPRESSION),
    "table larger than allowed": (raw_frame(1, 4, 1, b"\x3f\xe2\x1f" + block()), COMPRESSION),
    "PING of 7 bytes": (raw_frame(6, 0, 0, bytes(7)), FRAME_SIZE),
    "PING on a stream": (raw_frame(6, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "SETTINGS on a stream": (raw_frame(4, 0, 1), PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (raw_frame(4, 0, 0, bytes(5)), FRAME_SIZE),
    "SETTINGS ACK with a payload": (raw_frame(4, 1, 0, bytes(6)), FRAME_SIZE),
    "window beyond 2^31-1 by SETTINGS": (raw_frame(4, 0, 0, b"\0\4\x80\0\0\0"), 3),
    "push neither on nor off": (raw_frame(4, 0, 0, b"\0\2\0\0\0\2"), PROTOCOL_ERROR),
    "frame size out of range": (raw_frame(4, 0, 0, b"\0\5\0\0\0\1"), PROTOCOL_ERROR),
    "WINDOW_UPDATE of 3 bytes": (raw_frame(8, 0, 0, bytes(3)), FRAME_SIZE),
    "WINDOW_UPDATE of 0": (raw_frame(8, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (raw_frame(8, 0, 9, b"\0\0\0\1"), PROTOCOL_ERROR),
    "window beyond 2^31-1": (raw_frame(8, 0, 0, b"\x7f\xff\xff\xff"), 3),
    "RST_STREAM on an idle stream": (raw_frame(3, 0, 9, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (raw_frame(1, 4, 1, block()) + raw_frame(3, 0, 1, bytes(3)), FRAME_SIZE),
    "PUSH_PROMISE": (raw_frame(5, 4, 1, bytes(4) + block()), PROTOCOL_ERROR),
    "PRIORITY on stream 0": (raw_frame(2, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "GOAWAY on a stream": (raw_frame(7, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "GOAWAY too short": (raw_frame(7, 0, 0, bytes(7)), FRAME_SIZE),
}


@pytest.mark.parametrize(("sent", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
def test_what_breaks_the_connection_ends_it_with_the_right_code(server: Rig, sent: bytes, code: int) -> None:
    raw = Raw(server, sent)
    assert raw.ends() == code
    assert raw.pipe.closed


def without(*names: str, **changed: str) -> bytes:
    return block(fields=[(name, changed.get(name.strip(":"), value)) for name, value in FIELDS if name not in names])


STREAM_FAULTS = {
    "no method": without(":method"),
    "no scheme": without(":scheme"),
    "no path": without(":path"),
    "empty path": without(path=""),
    "path not ASCII": without(path="/\xe4"),
    "two paths": block(fields=[(":path", "/a"), *FIELDS]),
    "unknown pseudo-header": block(fields=[(":status", "200"), *FIELDS]),
    "pseudo-header late": block((":path", "/a")),
    "upper-case name": block(("X-Upper", "1")),
    "connection": block(("connection", "close")),
    "keep-alive": block(("keep-alive", "1")),
    "transfer-encoding": block(("transfer-encoding", "chunked")),
    "upgrade": block(("upgrade", "h2c")),
    "te other than trailers": block(("te", "gzip")),
    "two lengths": block(("content-length", "1"), ("content-length", "1")),
    "length that is no number": block(("content-length", "+1")),
    "two content types": block(("content-type", "a")),
    "line end in a value": block(("x", "a\r\nb: c")),
    "NUL in a value": block(("x", "a\0b")),
    "empty name": block(("", "a")),
    "too many": block(*((f"x-{at}", "1") for at in range(200))),
}


@pytest.mark.parametrize("sent", STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_a_malformed_request_ends_its_stream_alone(server: Rig, sent: bytes) -> None:
    raw = Raw(server, raw_frame(1, 4, 1, sent))
    assert [(stream, code in (PROTOCOL_ERROR, CALM)) for stream, code in raw.resets()] == [(1, True)]
    assert alive(server, raw, 3)


def test_a_length_that_the_body_does_not_have_ends_the_stream(server: Rig) -> None:
    for at, (length, body) in enumerate(((4, b"12345"), (6, b"12345"), (5, b""), (1, b"x" * 16_000))):
        raw = Raw(server, raw_frame(1, 4, 1, block(("content-length", str(length)))), raw_frame(0, 1, 1, body))
        assert raw.resets() == [(1, PROTOCOL_ERROR)], at
        assert alive(server, raw, 3)


def test_who_sends_more_than_a_streams_window_loses_the_stream() -> None:
    server = rig(model(threads=HeldThreads()), max_body_bytes=8 * MIB)
    streaming = block(fields=[(name, STREAM if name == ":path" else value) for name, value in FIELDS])
    raw = Raw(server, raw_frame(1, 4, 1, streaming), raw_frame(0, 0, 1, grpc_frame(CALL) * 17))
    raw.pipe.send(raw_frame(0, 0, 1, b"\0" + (4 * MIB).to_bytes(4, "big")))
    for _ in range(63):
        raw.pipe.send(raw_frame(0, 0, 1, bytes(16_384)))
    assert raw.resets() == []
    raw.pipe.send(raw_frame(0, 0, 1, bytes(16_384)))
    assert raw.resets() == [(1, FLOW)]
    assert buffered(server) == 0
    assert not raw.pipe.closed


@pytest.mark.parametrize("path", [INFER, STREAM])
def test_who_sends_more_than_the_connections_window_loses_the_connection(path: str) -> None:
    """The window is not opened while two of the largest bodies are buffered: what comes all the same ends it."""
    server = rig(max_body_bytes=MIB)
    raw = Raw(server)
    fields = block(fields=[(name, path if name == ":path" else value) for name, value in FIELDS])
    streams = range(1, 200, 2)
    begun = b"\0" + (900_000).to_bytes(4, "big")
    raw.pipe.send(b"".join(raw_frame(1, 4, stream, fields) + raw_frame(0, 0, stream, begun) for stream in streams))
    most = 0
    for _ in range(50):
        for stream in streams:
            raw.pipe.send(raw_frame(0, 0, stream, bytes(16_384)))
            most = max(most, buffered(server))
    assert raw.pipe.closed
    assert raw.ends() == FLOW
    assert 15 * MIB < most <= 2 * MIB + 16 * MIB
    assert buffered(server) == 0


def test_windows_of_streams_have_rules_too(server: Rig) -> None:
    for payload, code in ((bytes(4), PROTOCOL_ERROR), (b"\x7f\xff\xff\xff", 3)):
        raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(8, 0, 1, payload))
        assert raw.resets() == [(1, code)]
        assert alive(server, raw, 3)


def test_late_frames_of_a_finished_stream_do_no_harm(server: Rig) -> None:
    raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(0, 1, 1, grpc_frame(CALL)))
    raw.pipe.send(raw_frame(8, 0, 1, b"\0\0\0\1") + raw_frame(3, 0, 1, bytes(4)) + raw_frame(0, 1, 1, b"x") + raw_frame(1, 5, 1, block()))
    assert alive(server, raw, 3)


def test_rapid_reset_ends_the_connection() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    raw = Raw(server)
    for stream in range(1, 4001, 2):
        raw.pipe.send(raw_frame(1, 4, stream, block()) + raw_frame(0, 1, stream, grpc_frame(CALL)) + raw_frame(3, 0, stream, b"\0\0\0\x08"))
        if raw.pipe.closed:
            break
    assert raw.ends() == CALM
    assert len(threads.held) < 1000
    assert all(caller.cancelled for _, caller, _ in threads.held)


def test_provoked_resets_end_the_connection_as_well(server: Rig) -> None:
    raw = Raw(server)
    for stream in range(1, 4001, 2):
        raw.pipe.send(raw_frame(1, 4, stream, block()) + raw_frame(8, 0, stream, bytes(4)))
        if raw.pipe.closed:
            break
    assert raw.ends() == CALM


@pytest.mark.parametrize(
    "flood",
    [
        raw_frame(6, 0, 0, bytes(8)), raw_frame(4, 0, 0), raw_frame(4, 1, 0), raw_frame(2, 0, 1, bytes(5)), raw_frame(8, 0, 0, b"\0\0\0\1"),
        raw_frame(0xBB, 0, 0), raw_frame(8, 0, 0, b"\0\0\x10\0"),
    ],
    ids=["ping", "settings", "settings ack", "priority", "tiny window updates", "unknown", "window updates for nothing"],
)  # fmt: skip
def test_floods_of_control_frames_end_the_connection(server: Rig, flood: bytes) -> None:
    raw = Raw(server)
    for _ in range(30):
        raw.pipe.send(flood * 100)
    assert raw.ends() == CALM


def test_empty_data_frames_are_a_flood_too(server: Rig) -> None:
    raw = Raw(server, raw_frame(1, 4, 1, block()))
    raw.pipe.send(raw_frame(0, 0, 1) * 2000)
    assert raw.ends() == CALM


def test_a_client_with_small_windows_may_take_a_large_answer(server: Rig) -> None:
    peer = Http2Peer(rig(max_rows=1_000_000))
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2048})
    peer.pump()
    message = grpc_frame(infer_message([1.0] * 4 * 200_000).SerializeToString())
    stream, at = peer.open(INFER), 0
    while at < len(message):
        room = min(peer.client.local_flow_control_window(stream), 16_384, len(message) - at)
        peer.client.send_data(stream, message[at : at + room], end_stream=at + room == len(message))
        at += room
        peer.pump()
    peer.pump()
    assert peer.response(stream).grpc_status == 0
    assert len(peer.response(stream).data) > 4_000_000


def test_streams_are_capped_and_a_client_that_did_not_know_is_forgiven() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    raw = Raw(server)
    for stream in range(1, 2001, 2):
        raw.pipe.send(raw_frame(1, 4, stream, block()) + raw_frame(0, 1, stream, grpc_frame(CALL)))
    assert not raw.pipe.closed
    refused = raw.resets()
    assert len(threads.held) == 256
    assert [code for _, code in refused] == [REFUSED] * (1000 - 256)
    for _ in range(256):
        threads.release()
    assert len(raw.answered()) == 256
    raw.pipe.send(raw_frame(1, 4, 2001, block()) + raw_frame(0, 1, 2001, grpc_frame(CALL)))
    threads.release()
    assert raw.answered() == [2001]


def test_ten_thousand_streams_at_once_end_the_connection() -> None:
    threads = HeldThreads()
    raw = Raw(rig(model(threads=threads)))
    for stream in range(1, 20_001, 2):
        raw.pipe.send(raw_frame(1, 4, stream, block()) + raw_frame(0, 1, stream, grpc_frame(CALL)))
    assert raw.ends() == CALM
    assert len(threads.held) == 256
    assert all(caller.cancelled for _, caller, _ in threads.held)


def test_metadata_has_a_limit(server: Rig) -> None:
    raw = Raw(server)
    big = block() + b"\x00\x01x\x7f" + hpack.hpack.encode_integer(1_000_000, 7)[1:] + b"y" * 1_000_000
    pieces = [big[at : at + 16_384] for at in range(0, len(big), 16_384)]
    raw.pipe.send(raw_frame(1, 0, 1, pieces[0]) + b"".join(raw_frame(9, 0, 1, piece) for piece in pieces[1:]))
    assert raw.ends() == CALM


def test_an_hpack_bomb_is_not_unpacked(server: Rig) -> None:
    encoder = hpack.Encoder()
    first = encoder.encode([*FIELDS, ("x", "y" * 3500)])
    raw = Raw(server, raw_frame(1, 5, 1, first))
    raw.frames()
    raw.pipe.send(raw_frame(1, 5, 3, b"\xbe" * 16_000))
    assert raw.ends() == CALM


def test_equal_blocks_are_decided_once(server: Rig) -> None:
    raw = Raw(server)
    raw.pipe.send(raw_frame(1, 4, 1, block()) + raw_frame(0, 1, 1, grpc_frame(CALL)))
    assert len(raw.pipe.protocol._blocks.known) == 1
    head = next(iter(raw.pipe.protocol._blocks.known.values()))
    raw.pipe.send(raw_frame(1, 4, 3, block()))
    assert raw.pipe.protocol._streams[3].head is head


def test_a_remembered_block_dies_with_the_table_it_was_read_by(server: Rig) -> None:
    """A block of dynamic indices means something else once the table has moved, whatever moved it."""

    def indexed(path: str) -> bytes:
        return b"\x44" + bytes((len(path),)) + path.encode()  # literal with incremental indexing, name :path of the static table

    start, use = block(fields=[(":method", "GET"), (":scheme", "http")]), b"\xbe"  # 0xbe: the newest dynamic entry
    movers = {
        "a good request": raw_frame(1, 5, 5, start + indexed("/v2/health/ready")),
        "a malformed request": raw_frame(1, 5, 5, start + indexed("/v2/health/ready") + block(fields=[("connection", "x")])),
        "trailers": raw_frame(1, 4, 5, start + b"\x04\x03/v2") + raw_frame(1, 5, 5, indexed("/v2/health/ready")),
        "a refused stream": b"",
    }
    for name, mover in movers.items():
        raw = Raw(server, raw_frame(1, 5, 1, start + indexed("/v2/health/live")), raw_frame(1, 5, 3, start + use))
        known = raw.pipe.protocol._blocks.known
        assert [head.path for head in known.values()] == ["/v2/health/live"]
        raw.pipe.send(mover)
        seen: list[str] = []
        dispatch = raw.pipe.protocol._dispatch
        raw.pipe.protocol._dispatch = lambda request, seen=seen, dispatch=dispatch: (seen.append(request.head.path), dispatch(request))[1]
        raw.pipe.send(raw_frame(1, 5, 7, start + use))
        assert seen == ["/v2/health/ready" if mover else "/v2/health/live"], name


def test_a_table_size_update_is_never_spared(server: Rig) -> None:
    start = block(fields=[(":method", "GET"), (":scheme", "http")])
    path = b"\x44\x03/v2"
    raw = Raw(server, raw_frame(1, 5, 1, start + path), raw_frame(1, 5, 3, b"\x20" + start + b"\x04\x03/v2"))
    assert raw.ends() is None
    raw.pipe.send(raw_frame(1, 5, 5, b"\x3f\xe1\x1f" + start + path) + raw_frame(1, 5, 7, b"\x20" + start + b"\x04\x03/v2"))
    raw.pipe.send(raw_frame(1, 5, 9, start + b"\xbe"))
    assert raw.ends() == COMPRESSION


def test_a_preface_that_is_not_followed_by_frames_is_idle(server: Rig) -> None:
    _, pipe = server.open()
    for byte in PREFACE[:-1]:
        pipe.send(bytes((byte,)))
    assert pipe.take() == b""
    server.tick(76)
    assert pipe.closed

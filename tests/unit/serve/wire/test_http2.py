"""One HTTP/2 connection against the h2 library as its peer: what RFC 9113 allows works, what it forbids ends the stream or the connection."""

import h2.events
import h2.settings
import hpack
import numpy as np
import pytest
from tests.serving.kit import (
    BODY,
    INFER,
    PREFACE,
    HeldThreads,
    Http2Peer,
    Rig,
    answer,
    grpc_frame,
    infer_message,
    model,
    rig,
)  # fmt: skip

CALL = infer_message().SerializeToString()
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "a"), ("content-type", "application/grpc")]
PROTOCOL_ERROR, STREAM_CLOSED, FRAME_SIZE, REFUSED, COMPRESSION, CALM = 1, 5, 6, 7, 9, 11


@pytest.fixture
def server() -> Rig:
    return rig()


@pytest.fixture
def peer(server: Rig) -> Http2Peer:
    return Http2Peer(server)


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


def test_calls_and_rest_share_a_connection(peer: Http2Peer) -> None:
    first = peer.call(CALL)
    rest = peer.open("/v2/models/iris/infer", ("content-length", str(len(BODY))), grpc=False)
    peer.client.send_data(rest, BODY, end_stream=True)
    lost = peer.open("/nowhere", method="GET", grpc=False, end=True)
    head = peer.open("/v2", method="HEAD", grpc=False, end=True)
    unknown = peer.call(b"", "/inference.GRPCInferenceService/Nothing")
    peer.pump()
    answered = peer.response(first)
    assert answered.grpc_status == 0
    assert np.frombuffer(answered.message().raw_output_contents[1], "<f4").tolist() == [1.0, 2.0, 3.0]
    assert peer.response(rest).headers[":status"] == "200"
    assert b'"model_name":"iris"' in peer.response(rest).data
    assert (peer.response(lost).headers[":status"], peer.response(lost).data) == ("404", b'{"error":"Not Found"}')
    assert (peer.response(head).data, peer.response(head).headers["content-length"] != "0") == (b"", True)
    assert (peer.response(unknown).grpc_status, peer.response(unknown).data) == (12, b"")


def test_requests_arrive_whole_however_they_are_split(server: Rig) -> None:
    whole = PREFACE + raw_frame(4, 0, 0) + raw_frame(1, 4, 1, block()) + raw_frame(0, 1, 1, grpc_frame(CALL))
    for step in (1, 2, 7, 9, 23, 25):
        _, pipe = server.open()
        for at in range(0, len(whole), step):
            pipe.send(whole[at : at + step])
        assert b"scores" in pipe.take()


def test_a_large_answer_waits_for_tiny_windows() -> None:
    server = rig(model(lambda inputs: answer(inputs)))
    peer = Http2Peer(server)
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    peer.acknowledge = False
    peer.pump()
    rows = 1000
    stream = peer.call(infer_message([1.0] * (4 * rows)).SerializeToString())
    peer.pump()
    assert len(peer.response(stream).data) == 100
    received = 0
    for step in (1, 10, 1000, 5000, 20_000):
        received = len(peer.response(stream).data)
        peer.client.increment_flow_control_window(step, stream_id=stream)
        peer.client.increment_flow_control_window(step)
        peer.pump()
        if peer.response(stream).ended:
            break
        assert len(peer.response(stream).data) == received + step
    assert peer.response(stream).grpc_status == 0
    assert len(peer.response(stream).message().raw_output_contents[0]) == 8 * rows
    assert server.listener.open_connections == 1
    assert not peer.protocol._listener or peer.pipe.protocol._streams == {}


def test_windows_that_shrink_below_zero_and_grow_again(server: Rig) -> None:
    peer = Http2Peer(server)
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    peer.pump()
    streams = [peer.call(infer_message([2.0] * 400).SerializeToString()) for _ in range(2)]
    peer.pump()
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    peer.pump()
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1500})
    peer.pump()
    assert [len(peer.response(stream).data) for stream in streams] == [1500, 1500]
    empty = peer.call(b"", "/inference.GRPCInferenceService/Nothing")
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
    peer.pump()
    assert [peer.response(stream).grpc_status for stream in (*streams, empty)] == [0, 0, 12]


def test_a_stream_without_window_does_not_hold_up_others(server: Rig) -> None:
    peer = Http2Peer(server)
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 200})
    peer.pump()
    stuck = peer.call(infer_message([1.0] * 400).SerializeToString())
    small = peer.call(CALL)
    peer.pump()
    assert not peer.response(stuck).ended
    assert peer.response(small).grpc_status == 0


def test_uploads_beyond_the_windows_are_let_in() -> None:
    server = rig(max_rows=10_000_000)
    peer = Http2Peer(server)
    peer.pump()
    payload = grpc_frame(infer_message([1.0] * 4_000_000).SerializeToString())
    stream, at = peer.open(INFER), 0
    for _ in range(10_000):
        room = min(peer.client.local_flow_control_window(stream), peer.client.max_outbound_frame_size)
        if not room:
            peer.pump()
            assert peer.client.local_flow_control_window(stream), "the window never opened again"
            continue
        peer.client.send_data(stream, payload[at : at + room], end_stream=at + room >= len(payload))
        at += room
        if at >= len(payload):
            break
    peer.pump()
    assert peer.response(stream).grpc_status == 0
    after = peer.call(CALL)
    peer.pump()
    assert peer.response(after).grpc_status == 0


def test_the_window_opens_again_after_abandoned_uploads() -> None:
    server = rig(max_body_bytes=5_000_000)
    peer = Http2Peer(server)
    peer.pump()
    chunk = b"x" * 16_384
    for _ in range(6):
        stream = peer.open(INFER)
        for _ in range(250):
            if min(peer.client.local_flow_control_window(stream), peer.client.outbound_flow_control_window) < len(chunk):
                peer.pump()
            peer.client.send_data(stream, chunk)
        peer.pump()
    for stream in (1, 3, 5, 7, 9, 11):
        peer.client.reset_stream(stream)
    peer.pump()
    assert peer.client.outbound_flow_control_window > 8_000_000
    assert peer.pipe.protocol._buffered == 0


def test_a_body_beyond_the_limit_is_refused_and_the_connection_goes_on() -> None:
    server = rig(max_body_bytes=1000)
    peer = Http2Peer(server)
    sizes = {1000: 3, 1001: 8, 40_000: 8}
    for size, code in sizes.items():
        stream = peer.open(INFER)
        payload = grpc_frame(b"\xff" * size)
        for at in range(0, len(payload), 16_384):
            peer.client.send_data(stream, payload[at : at + 16_384], end_stream=at + 16_384 >= len(payload))
            peer.pump()
            if peer.response(stream).ended:
                break
        peer.pump()
        assert peer.response(stream).grpc_status == code, size
    declared = peer.open("/v2/models/iris/infer", ("content-length", "1001"), grpc=False)
    peer.client.send_data(declared, b"x" * 1001, end_stream=True)
    after = peer.call(CALL)
    peer.pump()
    assert peer.response(declared).headers[":status"] == "413"
    assert peer.response(after).grpc_status == 0


def test_padding_priority_and_continuation(server: Rig) -> None:
    whole = block()
    padded = bytes((5,)) + bytes(4) + bytes((16,)) + whole + bytes(5)
    raw = Raw(server, raw_frame(1, 4 | 8 | 32, 1, padded), raw_frame(0, 1 | 8, 1, bytes((9,)) + grpc_frame(CALL) + bytes(9)))
    assert any(kind == 0 for kind, *_ in raw.frames())
    pieces = [
        raw_frame(1, 0, 3, whole[:10]),
        *(raw_frame(9, 0, 3, bytes((byte,))) for byte in whole[10:40]),
        raw_frame(9, 4, 3, whole[40:]),
    ]
    raw.pipe.send(b"".join(pieces) + raw_frame(0, 1, 3, grpc_frame(CALL)))
    assert any(kind == 0 and stream == 3 for kind, _, stream, _ in raw.frames())
    own = (5).to_bytes(4, "big") + b"\x10"
    raw.pipe.send(raw_frame(2, 0, 5, own) + raw_frame(1, 4 | 32, 5, own + whole) + raw_frame(0, 1, 5, grpc_frame(CALL)))
    assert any(kind == 0 and stream == 5 for kind, _, stream, _ in raw.frames())
    raw.pipe.send(raw_frame(0xBB, 0, 0, b"unknown frames are ignored"))
    assert alive(server, raw, 7)


def test_trailers_end_a_request_and_keep_its_body(peer: Http2Peer) -> None:
    stream = peer.open(INFER)
    peer.client.send_data(stream, grpc_frame(CALL))
    peer.client.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    peer.pump()
    assert peer.response(stream).grpc_status == 0


def test_ping_and_settings_are_acknowledged(peer: Http2Peer) -> None:
    peer.client.ping(b"12345678")
    peer.client.update_settings({h2.settings.SettingCodes.MAX_FRAME_SIZE: 32_768})
    events = peer.pump()
    assert any(isinstance(event, h2.events.PingAckReceived) and event.ping_data == b"12345678" for event in events)
    assert sum(isinstance(event, h2.events.SettingsAcknowledged) for event in events) == 2


def test_a_client_that_resets_its_stream_cancels_the_request() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    peer = Http2Peer(server)
    stream, other = peer.call(CALL), peer.call(CALL)
    peer.pump()
    peer.client.reset_stream(stream, 8)
    peer.pump()
    assert [caller.cancelled for _, caller, _ in threads.held] == [True, False]
    threads.release()
    threads.release()
    peer.pump()
    assert not peer.response(stream).headers
    assert peer.response(other).grpc_status == 0


def test_a_client_that_leaves_cancels_all_its_requests() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    peer = Http2Peer(server)
    for _ in range(3):
        peer.call(CALL)
    peer.pump()
    peer.pipe.protocol.connection_lost(None)
    assert [caller.cancelled for _, caller, _ in threads.held] == [True] * 3
    assert server.listener.open_connections == 0


def test_answers_come_back_on_their_own_streams_in_any_order() -> None:
    threads = HeldThreads()
    peer = Http2Peer(rig(model(threads=threads)))
    streams = [peer.call(infer_message([at, 0, 0, 0]).SerializeToString()) for at in range(5)]
    peer.pump()
    threads.held.reverse()
    for _ in streams:
        threads.release()
    peer.pump()
    labels = [int(np.frombuffer(peer.response(stream).message().raw_output_contents[0], "<i8")[0]) for stream in streams]
    assert labels == [0, 1, 2, 3, 4]


def test_deadlines_end_what_takes_too_long_and_what_never_arrives() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    peer = Http2Peer(server)
    asked, silent, slow = peer.call(CALL), peer.open(INFER), peer.open(INFER)
    peer.client.send_data(slow, b"\0\0")
    peer.pump()
    server.tick(1)
    for _ in range(40):
        server.tick(1)
        if peer.response(slow).reset is None and not peer.response(slow).ended:
            peer.client.send_data(slow, b"\0")
        peer.pump()
    assert peer.response(asked).grpc_status == 4
    assert threads.held[0][1].cancelled
    assert peer.response(silent).reset == 8
    assert peer.response(slow).reset == 8
    threads.release()
    peer.pump()


def test_a_client_that_takes_no_answer_is_given_up_after_a_while(server: Rig) -> None:
    peer = Http2Peer(server)
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    stream = peer.call(CALL)
    peer.pump()
    server.tick(31)
    peer.pump()
    assert peer.response(stream).reset == 8
    peer.pipe.protocol.pause_writing()
    assert not peer.pipe.reading
    server.tick(31)
    assert peer.pipe.aborted


def test_an_idle_connection_is_told_goodbye(server: Rig) -> None:
    raw = Raw(server)
    assert alive(server, raw, 1)
    server.tick(1)
    server.tick(76)
    assert raw.goodbyes() == [2**31 - 1]
    raw.pipe.send(raw_frame(6, 1, 0, b"goodbye!"))
    assert raw.goodbyes() == [1]
    assert raw.pipe.closed


def test_draining_says_goodbye_twice_and_loses_nothing() -> None:
    threads = HeldThreads()
    server = rig(model(), model(name="slow", threads=threads))
    slow = grpc_frame(infer_message(name="slow").SerializeToString())
    raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(0, 1, 1, slow), raw_frame(1, 4, 3, block()))
    server.listener.drain()
    assert raw.goodbyes() == [2**31 - 1]
    raw.pipe.send(raw_frame(1, 4, 5, block()) + raw_frame(0, 1, 5, grpc_frame(CALL)))
    assert raw.answered() == [5]
    raw.pipe.send(raw_frame(6, 1, 0, b"goodbye!"))
    assert raw.goodbyes() == [5]
    raw.pipe.send(raw_frame(0, 1, 3, grpc_frame(CALL)))
    assert raw.answered() == [3]
    assert not raw.pipe.closed
    threads.release()
    assert raw.answered() == [1]
    assert raw.pipe.closed


def test_the_last_answer_of_a_draining_connection_is_written_before_it_closes(server: Rig) -> None:
    raw = Raw(server, raw_frame(1, 4, 1, block()))
    server.listener.drain()
    raw.pipe.send(raw_frame(6, 1, 0, b"goodbye!"))
    assert not raw.pipe.closed
    raw.frames()
    raw.pipe.send(raw_frame(0, 1, 1, grpc_frame(CALL)))
    assert [kind for kind, *_ in raw.frames()] == [1, 0, 1]
    assert raw.pipe.closed


def test_a_peer_that_ignores_goodbye_is_left_after_a_moment(server: Rig) -> None:
    raw = Raw(server)
    server.listener.drain()
    assert not raw.pipe.closed
    server.tick(1)
    assert raw.pipe.closed
    late = Raw(server)
    server.tick(1)
    assert late.pipe.closed


def test_a_stream_after_the_last_goodbye_is_refused() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(0, 1, 1, grpc_frame(CALL)))
    server.listener.drain()
    raw.pipe.send(raw_frame(6, 1, 0, b"goodbye!"))
    raw.pipe.send(raw_frame(1, 4, 3, block()))
    assert (3, REFUSED) in raw.resets()
    threads.release()
    assert raw.pipe.closed


def test_what_cannot_be_finished_is_told_so() -> None:
    threads = HeldThreads()
    server = rig(model(threads=threads))
    raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(0, 1, 1, grpc_frame(CALL)))
    server.listener.drain()
    raw.frames()
    server.listener.stop()
    headers = [dict(hpack.Decoder().decode(payload)) for kind, _, stream, payload in raw.frames() if (kind, stream) == (1, 1)]
    assert [found["grpc-status"] for found in headers] == ["14"]
    assert raw.pipe.closed


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

"""One HTTP/2 connection against the h2 library as its peer: what RFC 9113 allows works, in any order and through any window."""

import json

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
)
from tests.serving.raw_http2 import CALL, Raw, alive, block, raw_frame

from aweigh.serve.wire import flow

PROTOCOL_ERROR, STREAM_CLOSED, FRAME_SIZE, REFUSED, COMPRESSION, CALM = 1, 5, 6, 7, 9, 11


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


@pytest.mark.parametrize("grpc", [True, False])
def test_an_answer_of_any_size_may_wait_and_what_is_refused_beside_it_says_why(grpc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MAX_WAITING_BYTES", 3000)
    peer = Http2Peer(rig())
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 300})
    peer.acknowledge = False
    peer.pump()

    def ask(rows: int) -> int:
        asked = infer_message([1.0] * (4 * rows))
        if grpc:
            return peer.call(asked.SerializeToString())
        body = {"inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * (4 * rows)}]}
        stream = peer.open("/v2/models/iris/infer", grpc=False)
        peer.client.send_data(stream, json.dumps(body).encode(), end_stream=True)
        return stream

    large = ask(400)
    peer.pump()
    second, small = ask(400), ask(20)
    peer.pump()
    refused = peer.response(second)
    assert refused.reset is None
    if grpc:
        assert (refused.grpc_status, refused.ended) == (8, True)
        assert refused.grpc_text.startswith("answers of more than ")
    else:
        assert refused.headers[":status"] == "429"
    assert not peer.response(large).ended
    for stream in (large, small, second):
        if not peer.response(stream).ended:
            peer.client.increment_flow_control_window(100_000, stream)
            peer.client.increment_flow_control_window(100_000)
            peer.pump()
        assert peer.response(stream).ended
    assert len(peer.response(large).data) > 3000
    if grpc:
        assert peer.response(large).grpc_status == peer.response(small).grpc_status == 0


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
    assert peer.pipe.protocol._replies.buffered == 0


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

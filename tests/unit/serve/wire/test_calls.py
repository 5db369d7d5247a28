"""Streaming gRPC calls: messages in any pieces, answers in order, windows that hold both sides back, calls that end for every reason."""

import asyncio
import gzip
import itertools
from hashlib import sha256
from typing import Any

import h2.settings
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.kit import HeldThreads, Http2Peer, Reply, buffered, exchange, grpc_frame, infer_message, model, rig

from aweigh.protos import message
from aweigh.serve.wire import flow

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MIB = 1024 * 1024
WATCH = "/grpc.health.v1.Health/Watch"


def messages(reply: Reply, name: str = "inference.ModelStreamInferResponse") -> list[Any]:
    found, data = [], reply.data
    while data:
        size = int.from_bytes(data[1:5], "big")
        found.append(message(name).FromString(data[5 : 5 + size]))
        data = data[5 + size :]
    return found


def asked(at: int, **more: Any) -> bytes:
    return bytes(infer_message([at, 0, 0, 0], id=str(at), **more).SerializeToString())


def labels(reply: Reply) -> list[int]:
    return [int(np.frombuffer(each.infer_response.raw_output_contents[0], "<i8")[0]) for each in messages(reply)]


@given(cuts=st.lists(st.integers(0, 400), max_size=12), count=st.integers(1, 6))
def test_messages_in_any_pieces_are_answered_in_order(cuts: list[int], count: int) -> None:
    peer = Http2Peer(rig())
    stream = peer.open(STREAM)
    data = b"".join(grpc_frame(asked(at)) for at in range(count))
    bounds = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for begin, end in itertools.pairwise(bounds):
        peer.client.send_data(stream, data[begin:end])
        peer.pump()
    assert not peer.response(stream).ended
    peer.client.end_stream(stream)
    peer.pump()
    reply = peer.response(stream)
    assert (reply.grpc_status, reply.ended, labels(reply)) == (0, True, list(range(count)))


def test_answers_that_come_later_keep_the_order_and_a_full_queue_closes_the_window() -> None:
    held = HeldThreads()
    peer = Http2Peer(rig(model(threads=held)))
    stream = peer.open(STREAM)
    for at in range(40):
        peer.client.send_data(stream, grpc_frame(asked(at)))
    peer.client.end_stream(stream)
    peer.pump()
    assert len(held.held) == 1, "one at a time"
    for _ in range(40):
        held.release()
    peer.pump()
    assert labels(peer.response(stream)) == list(range(40))
    assert peer.response(stream).grpc_status == 0


def test_a_peer_whose_messages_wait_may_send_no_more_than_its_window() -> None:
    held = HeldThreads()
    on = rig(model(threads=held))
    peer = Http2Peer(on)
    stream = peer.open(STREAM)
    large = infer_message([1.0] * 4000).SerializeToString()
    sent = 0
    while peer.client.local_flow_control_window(stream) > len(large) + 5 and sent < 1000:
        framed = grpc_frame(large)
        peer.client.send_data(stream, framed[:16000])
        peer.client.send_data(stream, framed[16000:])
        peer.pump()
        sent += 1
    assert sent < 200, "about the window, and what the waiting messages let by"
    for _ in range(sent):
        held.release()
        peer.pump()
    assert peer.client.local_flow_control_window(stream) > 400_000
    assert len(messages(peer.response(stream))) == sent


def test_large_messages_wait_one_by_one() -> None:
    held = HeldThreads()
    on = rig(model(threads=held))
    peer = Http2Peer(on)
    stream = peer.open(STREAM)
    large = grpc_frame(infer_message([1.0] * 150_000).SerializeToString())
    left, answered = large * 12, 0
    while answered < 12:
        while (room := min(peer.client.local_flow_control_window(stream), 16_384, len(left))) > 0:
            peer.client.send_data(stream, left[:room])
            peer.pump()
            left = left[room:]
        assert buffered(on) < 3 * MIB
        assert len(held.held) == 1
        if not answered:
            assert len(large) * 12 - len(left) < 3 * MIB, "one is answered, two wait, the rest of the window"
        answered += 1
        held.release()
        peer.pump()
    assert not left
    assert len(messages(peer.response(stream))) == 12
    assert buffered(on) == 0


def test_what_streams_hold_closes_the_connections_window() -> None:
    """Messages that are never whole are bounded over all streams together, as bodies are, and none is waited for for ever."""
    on = rig(max_body_bytes=MIB)
    peer = Http2Peer(on)
    streams = [peer.open(STREAM) for _ in range(40)]
    for stream in streams:
        peer.client.send_data(stream, b"\0" + MIB.to_bytes(4, "big"))
    for _ in range(64):
        for stream in streams:
            if peer.client.local_flow_control_window(stream) >= 16_000:
                peer.client.send_data(stream, bytes(16_000))
        peer.pump()
    assert 2 * MIB < buffered(on) <= 2 * MIB + 16 * MIB
    on.tick(1)
    on.tick(31)
    peer.pump()
    assert {peer.response(stream).grpc_status for stream in streams} == {4}
    assert buffered(on) == 0
    well = peer.open(STREAM)
    assert peer.client.local_flow_control_window(well) > 500_000
    peer.client.send_data(well, grpc_frame(asked(1)))
    peer.pump()
    assert labels(peer.response(well)) == [1]


def test_a_message_may_take_its_time_while_others_wait_before_it() -> None:
    held = HeldThreads()
    on = rig(model(threads=held))
    peer = Http2Peer(on)
    stream = peer.open(STREAM)
    framed = grpc_frame(asked(3))
    peer.client.send_data(stream, grpc_frame(asked(1)) + grpc_frame(asked(2)) + framed[:10])
    peer.pump()
    for _ in range(4):
        on.tick(20)
    held.release()
    for _ in range(2):
        on.tick(20)
    peer.client.send_data(stream, framed[10:])
    peer.pump()
    for _ in range(4):
        on.tick(20)
    held.release()
    held.release()
    peer.pump()
    assert labels(peer.response(stream)) == [1, 2, 3]
    peer.client.send_data(stream, framed[:10])
    peer.pump()
    on.tick(20)
    on.tick(20)
    assert not peer.pump()
    on.tick(20)
    peer.pump()
    assert peer.response(stream).grpc_status == 4
    assert peer.response(stream).grpc_text.startswith("a message did not come whole within 30 s")


def test_an_error_is_an_answer_and_the_stream_goes_on() -> None:
    peer = Http2Peer(rig())
    stream = peer.open(STREAM)
    for payload in (asked(1), asked(2, name="none"), b"\xff", asked(3)):
        peer.client.send_data(stream, grpc_frame(payload))
    peer.client.end_stream(stream)
    peer.pump()
    first, second, third, fourth = messages(peer.response(stream))
    assert (first.error_message, first.infer_response.id) == ("", "1")
    assert (second.error_message, second.infer_response.id) == ("Request for unknown model: 'none' is not found", "2")
    assert third.error_message.startswith("the message is not a ModelInferRequest")
    assert (fourth.error_message, fourth.infer_response.id) == ("", "3")


def test_every_answer_is_its_requests_last() -> None:
    peer = Http2Peer(rig())
    stream = peer.open(STREAM)
    asking = infer_message(id="1")
    asking.parameters["triton_enable_empty_final_response"].bool_param = True
    for payload in (asking.SerializeToString(), asked(2)):
        peer.client.send_data(stream, grpc_frame(payload))
    peer.pump()
    assert [each.infer_response.parameters["triton_final_response"].bool_param for each in messages(peer.response(stream))] == [True, True]


def test_a_long_stream_with_its_control_frames_is_no_flood() -> None:
    peer = Http2Peer(rig())
    stream = peer.open(STREAM)
    for at in range(1500):
        peer.client.send_data(stream, grpc_frame(asked(at % 100)))
        peer.client.ping(b"measured")
        peer.pump()
    assert peer.goaway is None
    assert len(messages(peer.response(stream))) == 1500


def test_messages_may_be_compressed() -> None:
    peer = Http2Peer(rig(max_body_bytes=2000))
    stream = peer.open(STREAM, ("grpc-encoding", "gzip"))
    coded = gzip.compress(asked(5))
    peer.client.send_data(stream, b"\1" + len(coded).to_bytes(4, "big") + coded + grpc_frame(asked(6)))
    peer.pump()
    assert labels(peer.response(stream)) == [5, 6]
    bomb = gzip.compress(bytes(100_000))
    peer.client.send_data(stream, b"\1" + len(bomb).to_bytes(4, "big") + bomb)
    peer.pump()
    assert peer.response(stream).grpc_status == 8


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"\0\xff\xff\xff\xff", 8), (b"\2\0\0\0\0", 3), (b"\1\0\0\0\0", 13)],
)  # fmt: skip
def test_what_is_no_message_ends_the_call_alone(data: bytes, status: int) -> None:
    peer = Http2Peer(rig())
    broken, well = peer.open(STREAM), peer.open(STREAM)
    peer.client.send_data(broken, data)
    peer.client.send_data(well, grpc_frame(asked(1)))
    peer.pump()
    assert peer.response(broken).grpc_status == status
    assert labels(peer.response(well)) == [1]


def test_a_stream_that_ends_within_a_message_or_says_nothing() -> None:
    peer = Http2Peer(rig())
    cut, empty = peer.open(STREAM), peer.open(STREAM, end=True)
    peer.client.send_data(cut, grpc_frame(asked(1))[:-1], end_stream=True)
    peer.pump()
    assert (peer.response(cut).grpc_status, peer.response(empty).grpc_status) == (3, 0)


def test_a_client_that_leaves_cancels_its_request() -> None:
    held = HeldThreads()
    peer = Http2Peer(rig(model(threads=held)))
    stream = peer.open(STREAM)
    peer.client.send_data(stream, grpc_frame(asked(1)) + grpc_frame(asked(2)))
    peer.pump()
    peer.client.reset_stream(stream)
    peer.pump()
    assert held.held[0][1].cancelled
    held.release()
    assert not held.held, "the next message was forgotten"
    other = peer.call(infer_message().SerializeToString())
    peer.pump()
    held.release()
    peer.pump()
    assert peer.response(other).grpc_status == 0


def test_answers_wait_for_the_clients_window_and_requests_with_them() -> None:
    server = rig()
    peer = Http2Peer(server)
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    peer.pump()
    stream = peer.open(STREAM)
    for at in range(5):
        peer.client.send_data(stream, grpc_frame(asked(at)))
    peer.client.end_stream(stream)
    peer.pump()
    assert len(peer.response(stream).data) == 100
    for _ in range(20):
        peer.client.increment_flow_control_window(100, stream)
        peer.pump()
        if peer.response(stream).ended:
            break
    assert (labels(peer.response(stream)), peer.response(stream).grpc_status) == ([0, 1, 2, 3, 4], 0)


def test_an_answer_of_any_size_may_wait_and_one_too_many_ends_its_call_by_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MAX_WAITING_BYTES", 3000)
    peer = Http2Peer(rig())
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    peer.pump()
    large = grpc_frame(infer_message([1.0] * 1600).SerializeToString())
    first, second = peer.open(STREAM), peer.open(STREAM)
    peer.client.send_data(first, large)
    peer.client.send_data(second, large)
    peer.pump()
    assert (peer.response(second).grpc_status, peer.response(second).data) == (8, b"")
    assert peer.response(second).grpc_text.startswith("answers of more than")
    peer.client.increment_flow_control_window(100_000, first)
    peer.client.increment_flow_control_window(100_000)
    peer.client.end_stream(first)
    peer.pump()
    assert (len(messages(peer.response(first))), peer.response(first).grpc_status) == (1, 0)


def test_answers_that_nobody_reads_end_the_call() -> None:
    server = rig(request_timeout_s=5)
    peer = Http2Peer(server)
    peer.acknowledge = False
    peer.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
    peer.pump()
    stream, quiet = peer.open(STREAM), peer.open(STREAM)
    peer.client.send_data(stream, grpc_frame(asked(1)))
    peer.pump()
    server.tick(6)
    peer.pump()
    assert peer.response(stream).reset is not None
    assert peer.response(quiet).reset is None, "a call may be silent"
    server.tick(600)
    peer.pump()
    assert peer.response(quiet).reset is None


def test_the_clients_own_deadline_ends_a_call() -> None:
    server = rig()
    peer = Http2Peer(server)
    stream = peer.open(STREAM, ("grpc-timeout", "10S"))
    peer.pump()
    server.tick(11)
    peer.pump()
    assert peer.response(stream).reset is not None


def test_a_server_that_stops_ends_calls_that_wait_for_messages() -> None:
    server = rig()
    peer = Http2Peer(server)
    stream = peer.open(STREAM)
    peer.client.send_data(stream, grpc_frame(asked(1)))
    peer.pump()
    assert labels(peer.response(stream)) == [1]
    server.listener.drain()
    server.tick(1)
    said = peer.pipe.take()  # read raw: the h2 library takes nothing after the first of two GOAWAY
    assert b"grpc-status\x0214" in said
    assert said.count(b"shutting down") == 3
    assert peer.pipe.closed


def test_strangers_open_no_stream() -> None:
    peer = Http2Peer(rig(keys={"one": sha256(b"x" * 16).digest()}))
    stream = peer.open(STREAM)
    peer.client.send_data(stream, grpc_frame(asked(1)), end_stream=True)
    peer.pump()
    assert peer.response(stream).grpc_status == 16
    request = f"POST {STREAM} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
    assert exchange(rig(), request.encode())[0].status == 501


def test_watch_tells_every_change_and_ends_with_the_server() -> None:
    async def main() -> tuple[list[int], list[int], int]:
        server = rig()
        peer = Http2Peer(server)
        streams = [peer.open(WATCH), peer.open(WATCH)]
        for stream, service in zip(streams, ("", "none"), strict=True):
            asked = message("grpc.health.v1.HealthCheckRequest")(service=service).SerializeToString()
            peer.client.send_data(stream, grpc_frame(asked), end_stream=True)
        peer.pump()
        server.dataplane.started = False
        await asyncio.sleep(0.7)
        peer.pump()
        server.dataplane.draining = True
        await asyncio.sleep(0.6)
        peer.pump()
        said = [[each.status for each in messages(peer.response(stream), "grpc.health.v1.HealthCheckResponse")] for stream in streams]
        return said[0], said[1], peer.response(streams[0]).grpc_status

    assert asyncio.run(main()) == ([1, 2], [3, 2], 14)


def test_the_health_of_a_model_is_its_own() -> None:
    held = HeldThreads()
    server = rig(model(threads=held), model(name="other"))

    def told(service: str) -> list[int]:
        """By Check and by Watch."""
        peer, found = Http2Peer(server), []
        for path in (WATCH, WATCH.replace("Watch", "Check")):
            stream = peer.call(message("grpc.health.v1.HealthCheckRequest")(service=service).SerializeToString(), path)
            peer.pump()
            found += [each.status for each in messages(peer.response(stream), "grpc.health.v1.HealthCheckResponse")]
        return found

    async def main() -> None:
        assert (told(""), told("iris"), told("other")) == ([1, 1], [1, 1], [1, 1])
        held.ready = False  # its process dies again and again
        assert (told(""), told("iris"), told("other")) == ([1, 1], [2, 2], [1, 1])

    asyncio.run(main())

"""Large bodies: read to their place, whole or in any pieces, and never placed for what was merely declared."""

import numpy as np
import pytest
from tests.serving.kit import Http2Peer, Rig, answers, echo, grpc_frame, model, post, rig
from tests.serving.raw_http2 import Raw, block, raw_frame

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.protos import message
from aweigh.serve.wire.bodies import Body

COUNT = 100_003
VALUES = np.random.default_rng(0).normal(size=(1, COUNT)).astype("<f4")
BYTES = VALUES.tobytes()
SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, COUNT)),),
    outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH, COUNT)),),
)
JSON = (
    b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,%d],"parameters":{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}'
    % (COUNT, len(BYTES))
)
LENGTH = f"Inference-Header-Content-Length: {len(JSON)}"
REQUEST = post("/v2/models/iris/infer", JSON + BYTES, LENGTH)


def call() -> bytes:
    asked = message("inference.ModelInferRequest")(model_name="iris")
    asked.inputs.add(name="X", datatype="FP32", shape=[1, COUNT])
    asked.raw_input_contents.append(BYTES)
    return grpc_frame(asked.SerializeToString())


@pytest.fixture
def server() -> Rig:
    return rig(model(echo, of=SIGNATURE))


def given(server: Rig) -> np.ndarray:
    """What the model was last given."""
    return server.dataplane.find("iris", "").session.calls[-1]["X"]


def test_a_body_is_placed_once_enough_of_it_came() -> None:
    body = Body(160_000)
    body.add(b"a" * 2_000)
    assert not body.placed
    body.add(b"b" * 8_000)
    assert body.placed
    assert len(body.room) == 150_000
    assert body.view is None
    body.room[:] = b"c" * 150_000
    body.filled(150_000)
    assert body.view is not None
    assert body.view.readonly
    assert bytes(body.view) == body.joined() == b"a" * 2_000 + b"b" * 8_000 + b"c" * 150_000
    assert np.frombuffer(body.view, np.uint8).ctypes.data % 64 == -160_000 % 64


def test_a_body_of_another_length_than_was_declared_is_still_all_there() -> None:
    longer, shorter = Body(100_000), Body(100_000)
    for body, size in ((longer, 120_000), (shorter, 80_000)):
        for at in range(0, size, 10_000):
            body.add(bytes([at // 10_000]) * 10_000)
        assert body.view is None
        assert body.joined() == b"".join(bytes([at]) * 10_000 for at in range(size // 10_000))


@pytest.mark.parametrize("size", [1, 64 * 1024])
def test_small_bodies_and_those_of_unknown_length_are_joined(size: int) -> None:
    for body in (Body(size), Body()):
        body.add(b"x" * size)
        assert body.view is None
        assert body.joined() == b"x" * size


@pytest.mark.parametrize("step", [999, 30_011, 100_000, 256_000, len(REQUEST)])
def test_rest_answers_whatever_the_pieces(server: Rig, step: int) -> None:
    _, pipe = server.open()
    for _ in range(2):
        for at in range(0, len(REQUEST), step):
            pipe.send(REQUEST[at : at + step])
        (answer,) = answers(pipe.take())
        assert answer.body.endswith(BYTES)
        assert given(server).flags.aligned


def test_what_follows_a_placed_body_is_the_next_request(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(REQUEST[:100_000])
    pipe.send(REQUEST[100_000:])
    pipe.send(REQUEST + post("/v2/models/none/infer", b"{}") + REQUEST[:70_000])
    pipe.send(REQUEST[70_000:] + post("/v2/models/none/infer", b"{}"))
    assert [answer.status for answer in answers(pipe.take())] == [200, 200, 404, 200, 404]


def test_a_client_that_leaves_or_stalls_while_a_body_is_placed(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(REQUEST[:200_000])
    assert hasattr(pipe.protocol, "get_buffer")
    pipe.protocol.connection_lost(None)
    assert server.listener.open_connections == 0
    _, stalled = server.open()
    stalled.send(REQUEST[:200_000])
    server.tick(0.5)
    server.tick(31)
    (answer,) = answers(stalled.take())
    assert answer.status == 408
    stalled.send(REQUEST[200_000:])
    assert not stalled.take()


def test_nothing_is_placed_for_a_declaration(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(post("/v2/models/iris/infer", b"x" * 10, LENGTH, length=64 * 1024 * 1024))
    assert not hasattr(pipe.protocol, "get_buffer")
    raw = Raw(server, raw_frame(1, 4, 1, block()), raw_frame(0, 0, 1, b"\0" + (1 << 30).to_bytes(4, "big") + b"0123456789"))
    raw.pipe.send(raw_frame(0, 1, 1, b"x"))
    assert raw.answered() == []


@pytest.mark.parametrize("step", [10, 7_777, 16_393, 50_000, 1 << 20])
@pytest.mark.parametrize("frame_bytes", [5_000, 16_384])
def test_grpc_answers_whatever_the_frames_and_pieces(server: Rig, step: int, frame_bytes: int) -> None:
    body, raw = call(), Raw(server)
    for stream in (1, 3):
        cuts = list(range(0, len(body), frame_bytes))
        frames = b"".join(raw_frame(0, 1 if at == cuts[-1] else 0, stream, body[at : at + frame_bytes]) for at in cuts)
        data = raw_frame(8, 0, 0, (1 << 20).to_bytes(4, "big")) + raw_frame(1, 4, stream, block())
        data += raw_frame(8, 0, stream, (1 << 20).to_bytes(4, "big")) + frames
        for at in range(0, len(data), step):
            raw.pipe.send(data[at : at + step])
        message_bytes = b"".join(payload for kind, _, at, payload in raw.frames() if kind == 0 and at == stream)
        assert message_bytes.endswith(BYTES)
        assert given(server).flags.aligned


def test_streams_whose_frames_take_turns_keep_their_own_bytes(server: Rig) -> None:
    body, raw = call(), Raw(server)
    data, other = b"", body[:-4] + np.float32(7).tobytes()
    for stream in (1, 3, 5):
        data += raw_frame(1, 4, stream, block())
    for at in range(0, len(body), 16_384):
        last = at + 16_384 >= len(body)
        data += raw_frame(0, last, 1, body[at : at + 16_384]) + raw_frame(0, last, 3, other[at : at + 16_384])
        data += raw_frame(3, 0, 5, bytes(4)) if at == 163_840 else raw_frame(0, 0, 5, other[at : at + 16_384])
    for at in range(0, len(data), 100_000):
        raw.pipe.send(data[at : at + 100_000])
    calls = server.dataplane.find("iris", "").session.calls
    assert [(float(each["X"][0, 0]), float(each["X"][0, -1])) for each in calls] == [
        (float(VALUES[0, 0]), float(VALUES[0, -1])), (float(VALUES[0, 0]), 7.0),
    ]  # fmt: skip
    assert raw.pipe.protocol._replies.buffered == 0


def test_a_large_message_that_is_not_usual_is_answered_too(server: Rig) -> None:
    asked = message("inference.ModelInferRequest")(model_name="iris", id="seven")
    asked.inputs.add(name="X", datatype="FP32", shape=[1, COUNT])
    asked.raw_input_contents.append(BYTES)
    peer = Http2Peer(server)
    peer.client.update_settings({4: 1 << 20})
    peer.client.increment_flow_control_window(1 << 20)
    stream, payload = peer.open("/inference.GRPCInferenceService/ModelInfer"), grpc_frame(asked.SerializeToString())
    peer.pump()
    for at in range(0, len(payload), 16_384):
        peer.client.send_data(stream, payload[at : at + 16_384], end_stream=at + 16_384 >= len(payload))
        peer.pump()
    answer = peer.response(stream).message()
    assert answer.id == "seven"
    assert answer.raw_output_contents[0] == BYTES


def test_reading_to_a_place_ends_with_the_large_bodies(server: Rig) -> None:
    protocol, pipe = server.open()
    for _ in range(3):
        pipe.send(REQUEST)
        assert pipe.protocol is not None
    pipe.send(REQUEST[:100_000])
    assert hasattr(pipe.protocol, "get_buffer")
    pipe.send(REQUEST[100_000:] + REQUEST[:50])
    assert hasattr(pipe.protocol, "get_buffer"), "a part of the next head is here"
    pipe.send(REQUEST[50:])
    pipe.send(post("/v2/models/none/infer", b"{}"))
    assert not hasattr(pipe.protocol, "get_buffer")
    assert protocol is not pipe.protocol
    pipe.send(REQUEST[:200_000])
    pipe.send(REQUEST[200_000:])
    assert [answer.status for answer in answers(pipe.take())] == [200, 200, 200, 200, 200, 404, 200]


def test_frames_are_read_plainly_again_once_no_large_body_is_under_way(server: Rig) -> None:
    body, raw = call(), Raw(server)
    frames = [raw_frame(0, 0, 1, body[at : at + 16_384]) for at in range(0, 160_000, 16_384)]
    raw.pipe.send(raw_frame(8, 0, 0, (1 << 24).to_bytes(4, "big")) + raw_frame(1, 4, 1, block()) + b"".join(frames))
    assert hasattr(raw.pipe.protocol, "frames_received") is False
    assert hasattr(raw.pipe.protocol, "get_buffer")
    raw.pipe.send(raw_frame(3, 0, 1, bytes(4)))
    raw.pipe.send(raw_frame(6, 0, 0, bytes(8)))
    assert not hasattr(raw.pipe.protocol, "get_buffer")
    assert (6, 1, 0, bytes(8)) in raw.frames()
    raw.pipe.send(raw_frame(1, 4, 3, block()) + raw_frame(0, 0, 3, body[:16_384]) + raw_frame(0, 0, 3, body[16_384:32_768]))
    raw.pipe.send(raw_frame(0, 0, 3, b"x" * 20_000))
    assert raw.ends() == 6, "a frame too large ends the connection in this way of reading too"

"""The memories of equal requests against the full parse: whatever was sent before, the answer is the same."""

import json
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.serving.kit import BODY, Http2Peer, Rig, exchange, grpc_frame, infer_message, post, rig

from aweigh.protos import message
from aweigh.serve.known_requests import KnownBodies, KnownRequests, varint

PROTO = message("inference.ModelInferRequest")
SHARED = rig()


def grpc_answer(server: Rig, payload: bytes) -> tuple[int, str, bytes]:
    peer = Http2Peer(server)
    stream = peer.call(payload)
    peer.pump()
    reply = peer.response(stream)
    return reply.grpc_status, reply.grpc_text, reply.data


def rest_answer(server: Rig, body: bytes) -> tuple[int, bytes]:
    found = exchange(server, post(body=body))[0]
    return found.status, found.body


floats = st.lists(st.floats(width=32), min_size=4, max_size=8)


@st.composite
def proto_bytes(draw: st.DrawFn) -> bytes:
    """A ModelInferRequest, mostly usual, sometimes with its fields out of order, repeated, unknown or cut."""
    values = draw(st.lists(st.floats(width=32), min_size=4, max_size=4) | floats)
    asked = PROTO(
        model_name=draw(st.sampled_from(["iris", "iris", "iris", "other"])), model_version=draw(st.sampled_from(["", "", "1", "2"]))
    )
    if draw(st.integers(0, 5)) == 0:
        asked.id = "id"
    tensor = asked.inputs.add(name=draw(st.sampled_from(["X", "X", "Z"])), datatype=draw(st.sampled_from(["FP32", "FP32", "INT32"])))
    tensor.shape.extend(draw(st.sampled_from([[1, 4], [1, 4], [2, 4], [2, 2], [-1, 4], [4]])))
    for name in draw(st.sampled_from([[], [], ["label"], ["scores", "label"], ["nothing"]])):
        asked.outputs.add(name=name)
    raw = np.array(values, dtype="<f4").tobytes()
    for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2]))):
        asked.raw_input_contents.append(raw)
    whole: bytes = asked.SerializeToString()
    mangle = draw(st.integers(0, 6))
    if mangle == 1:
        whole += b"\x1a\x01x"  # a late id
    elif mangle == 2:
        whole = b"\x3a\x04abcd" + whole  # an early raw input
    elif mangle == 3:
        whole = whole[: draw(st.integers(0, len(whole)))]
    elif mangle == 4:
        whole += b"\xfa\x01\x02hi"  # an unknown field
    return whole


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(proto_bytes(), min_size=1, max_size=3))
def test_grpc_answers_do_not_depend_on_what_was_asked_before(payloads: list[bytes]) -> None:
    for payload in [*payloads, *payloads]:
        assert grpc_answer(SHARED, payload) == grpc_answer(rig(), payload)


LISTS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9), min_size=0, max_size=8)


@st.composite
def json_bytes(draw: st.DrawFn) -> bytes:
    """An inference request in JSON, mostly usual, sometimes with keys in odd order, escaped, repeated, or text that looks like keys."""
    data = draw(st.just([1, 2, 3, 4]) | LISTS)
    shape = draw(st.sampled_from([[1, 4], [1, 4], [2, 4], [0, 4], [1, 2]]))
    fields: Sequence[tuple[str, object]] = draw(
        st.permutations(
            [("name", draw(st.sampled_from(["X", "X", "data", '"data"']))), ("shape", shape), ("datatype", "FP32"), ("data", data)]
        )
    )
    if draw(st.integers(0, 4)) == 0:
        fields = [*fields, draw(st.sampled_from([("data", [9, 9, 9, 9]), ("parameters", {"data": [1, 2, 3, 4]}), ("shape", [1, 4])]))]
    inner = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in fields)
    if draw(st.integers(0, 4)) == 0:
        inner = inner.replace('"data":', '"d\\u0061ta":', 1)
    more = draw(
        st.sampled_from(["", "", ',"id":"x"', ',"id":"data"', ',"parameters":{"data":[1]}', ',"outputs":[{"name":"label"}]', ',"x":NaN'])
    )
    whole = f'{{"inputs":[{{{inner}}}]{more}}}'
    space = draw(st.sampled_from(["", "", " ", "\n"]))
    return (whole.replace(":", ":" + space) if space else whole).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(json_bytes(), min_size=1, max_size=3), LISTS)
def test_rest_answers_do_not_depend_on_what_was_asked_before(bodies: list[bytes], other: list[float]) -> None:
    changed = [body.replace(b"[1, 2, 3, 4]", json.dumps(other).encode()) for body in bodies]
    for body in [*bodies, *changed, *bodies]:
        assert rest_answer(SHARED, body) == rest_answer(rig(), body)


def test_a_name_that_looks_like_the_key_is_not_taken_for_it() -> None:
    """Here the first "data" is a name and the real key is escaped: the list after it is the shape."""
    bodies = KnownBodies()
    tricky = b'{"inputs":[{"name":"data","shape":[1,2],"datatype":"FP32","d\\u0061ta":[1,2]}]}'
    bodies.learn(tricky, [1, 2], [1.0, 2.0])
    assert bodies.find(tricky) is None


def test_usual_requests_are_remembered_and_the_memory_is_bounded() -> None:
    known, bodies = KnownRequests(), KnownBodies()
    payload = infer_message([1, 2, 3, 4]).SerializeToString()
    assert known.find(grpc_frame(payload)) is None
    known.learn(grpc_frame(payload), PROTO.FromString(payload), PROTO.FromString(payload).raw_input_contents)
    other = grpc_frame(infer_message([5, 6, 7, 8]).SerializeToString())
    found = known.find(other)
    assert found is not None
    assert np.frombuffer(found.raw(other), "<f4").tolist() == [5, 6, 7, 8]
    bodies.learn(BODY, [1, 4], [1.0, 2.0, 3.0, 4.0])
    hit = bodies.find(BODY.replace(b"[1,2,3,4]", b"[5, 6.5,-7,8e0]"))
    assert hit is not None
    assert hit[1] == [5, 6.5, -7, 8]
    assert bodies.find(BODY.replace(b"[1,2,3,4]", b"[5]")) is None
    for at in range(1000):
        more = infer_message([1, 2, 3, 4], name=f"model-{at}").SerializeToString()
        known.learn(grpc_frame(more), PROTO.FromString(more), PROTO.FromString(more).raw_input_contents)
        bodies.learn(BODY.replace(b'"X"', b'"X%d"' % at), [1, 4], [1.0, 2.0, 3.0, 4.0])
    assert len(known._known) <= 128
    assert len(bodies._known) <= 128


@pytest.mark.parametrize("datatype", ["BOOL", "BYTES", "BF16"])
def test_datatypes_whose_bytes_must_be_looked_at_are_not_remembered(datatype: str) -> None:
    asked = PROTO(model_name="m")
    asked.inputs.add(name="X", datatype=datatype, shape=[4])
    asked.raw_input_contents.append(b"\0\1\0\1")
    known = KnownRequests()
    body = grpc_frame(asked.SerializeToString())
    known.learn(body, asked, asked.raw_input_contents)
    assert known.find(body) is None


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 16_383, 16_384, 2**32, 2**63])
def test_varints_are_protobufs(value: int) -> None:
    encoded = message("inference.InferParameter")(uint64_param=value).SerializeToString()
    assert encoded == b"\x28" + varint(value)


def large(data: object, shape: list[int], **more: object) -> bytes:
    asked = {"inputs": [{"name": "X", "shape": shape, "datatype": "FP32", "data": data}], **more}
    return json.dumps(asked).encode() + b" " * 40_000  # long enough for the quick reader of large tensors


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.floats(width=32) | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | st.floats(1e38, 1e40), min_size=4, max_size=8
    ),
    st.booleans(),
    st.sampled_from([{}, {"id": "x"}, {"id": 7}, {"outputs": [{"name": "label"}]}, {"parameters": {}}]),
)
def test_large_requests_are_answered_as_small_ones(values: list[object], nested: bool, more: dict[str, object]) -> None:
    rows = len(values) // 4
    data = [values[at : at + 4] for at in range(0, len(values), 4)] if nested else values
    body = large(data, [rows, 4], **more)
    assert rest_answer(rig(), body) == rest_answer(rig(), body.strip())

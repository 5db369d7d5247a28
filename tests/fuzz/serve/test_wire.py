"""Raw bytes into everything that reads a peer: no exception escapes, every answer is well-formed, and the caches change nothing."""

import itertools
import json
import re
from typing import Any

import hpack
import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from tests.serving.kit import BODY, INFER, PREFACE, HeldThreads, Http2Peer, answers, get, grpc_frame, infer_message, model, post, rig

from aweigh.core.errors import AweighError
from aweigh.core.http2 import ProtocolFault, StreamFault
from aweigh.serve.message import Head
from aweigh.serve.wire.chunks import ChunkedBody
from aweigh.serve.wire.header_blocks import HeaderBlocks
from aweigh.serve.wire.heads import parse_head

MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
LIMITS = {"max_body_bytes": 4096, "max_head_bytes": 2048, "max_streams": 8}
CHUNKED = b"POST /v2/models/iris/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CALL = infer_message().SerializeToString()

HEADERS = [
    "Host: a", "Host: b", "Content-Length: 3", "Content-Length: 0", "Transfer-Encoding: chunked", "Transfer-Encoding: x", "Connection: close",
    "Expect: 100-continue", "X: y", "X : y", " folded", "Upgrade: h2c", "Connection: upgrade", "Content-Type: application/grpc",
    "Content-Encoding: gzip", "Authorization: Bearer x", "grpc-timeout: 1n", "x-request-timeout-ms: 0", "\x00", "é: ü", "Content-Length: +1",
]  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    line = " ".join(
        (
            draw(st.sampled_from(["GET", "POST", "HEAD", "PRI", "get", ""])),
            draw(st.sampled_from(["/v2", "/v2/models/iris/infer", "/predict/iris", "*", "http://a/v2", "/%2e%2e", "/\xff", ""])),
            draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""])),
        )
    )
    lines = draw(st.lists(st.sampled_from(HEADERS), max_size=5))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"]))
    return (end.join([line, *lines]) + end * 2).encode("latin-1")


pieces = st.sampled_from(
    [post(), post("/predict/iris", b'{"a":1,"b":2,"c":3,"d":4}'), get("/v2"), CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n"]
)
streams = st.lists(pieces | heads() | st.binary(max_size=40), min_size=1, max_size=6)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def outcome(parts: list[bytes], *, threaded: bool = False) -> list[tuple[int, bytes]]:
    """What a connection answers to bytes that come in these parts; ids taken out, for they differ."""
    held = HeldThreads()
    server = rig(model(threads=held if threaded else None), **LIMITS)
    _, pipe = server.open()
    for part in parts:
        pipe.send(part)
        while held.held:
            held.release()
    server.tick(1)
    server.tick(100)
    raw = pipe.take().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    if b"HEAD " in b"".join(parts):
        return []  # their answers cannot be told apart without the requests
    return [(found.status, re.sub(rb"[0-9a-f]{10}-[0-9a-f]+", b"ID", found.body)) for found in answers(raw)]


@MANY
@given(streams, st.lists(st.integers(0, 2000), max_size=5))
def test_http1_answers_do_not_depend_on_how_bytes_are_cut(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    if data.startswith(b"PRI"):
        return
    whole = outcome([data])
    assert outcome(cut(data, places)) == whole
    assert all(status == 200 or 400 <= status < 505 for status, _ in whole)
    assert all(status not in {500, 502} for status, _ in whole)


@MANY
@given(streams)
def test_http1_on_threads_answers_in_the_same_order(parts: list[bytes]) -> None:
    data = b"".join(parts)
    if not data.startswith(b"PRI"):
        assert outcome([data], threaded=True) == outcome([data])


@MANY
@given(st.lists(heads(), min_size=1, max_size=4))
def test_the_head_cache_decides_as_a_fresh_parse(raws: list[bytes]) -> None:
    server = rig(keys={"one": b"x" * 32}, **LIMITS)
    listener = server.listener

    def facts(head: Any) -> tuple[object, ...]:
        return (
            head.method,
            head.path,
            head.route.template,
            head.fault and head.fault.code,
            head.content_length,
            head.chunked,
            head.keep_alive,
        )

    for raw in [*raws, *raws]:
        cached = listener.heads.young.get(raw) or listener.heads.find_old(raw)
        try:
            fresh = parse_head(raw, listener.dispatcher, listener.limits)
        except AweighError:
            assert cached is None
            continue
        assert cached is None or facts(cached) == facts(fresh)
        listener.heads.keep(raw, fresh)


class JudgedAnew(dict[bytes, Any]):
    """The head cache, which compares every head it gives out with a fresh strict parse of the bytes it is given out for."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._listener = server.listener
        self.given = 0

    def get(self, raw: bytes, default: Any = None) -> Any:
        cached = super().get(raw, default)
        if cached is not None:
            self.given += 1
            fresh = parse_head(raw, self._listener.dispatcher, self._listener.limits)
            fields = [name for name in Head.__slots__ if name not in {"route", "fault"}]
            assert {name: getattr(cached, name) for name in fields} == {name: getattr(fresh, name) for name in fields}
            assert (cached.route.template, cached.route.method, cached.fault, fresh.fault) == (
                fresh.route.template,
                fresh.route.method,
                None,
                None,
            )
        return cached


@MANY
@given(st.lists(pieces | heads(), min_size=1, max_size=8), st.lists(st.integers(0, 2000), max_size=4))
def test_no_request_is_judged_by_another_ones_head(parts: list[bytes], places: list[int]) -> None:
    """Through connections, several one after the other: what one client sent never decides about the next one's request."""
    server = rig(keys={"one": b"x" * 32}, **LIMITS)
    server.listener.heads.young = JudgedAnew(server)
    for _ in range(2):
        _, pipe = server.open()
        for piece in cut(b"".join(parts), places):
            pipe.send(piece)
        for part in parts:
            _, pipe = server.open()
            pipe.send(part)


def test_the_heads_are_judged_at_all() -> None:
    server = rig()
    server.listener.heads.young = judged = JudgedAnew(server)
    _, pipe = server.open()
    pipe.send(post() * 3)
    assert judged.given == 2


@MANY
@given(
    st.lists(st.sampled_from([b"4\r\n", b"wiki", b"\r\n", b"0\r\n\r\n", b"0", b";x", b"a\r\n"]) | st.binary(max_size=8)),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_chunks_are_the_same_however_they_are_cut(parts: list[bytes], places: list[int]) -> None:
    def result(cuts: list[bytes]) -> tuple[object, ...]:
        body = ChunkedBody(rig(**LIMITS).listener.limits)
        for at, piece in enumerate(cuts):
            if body.done:
                return (True, body.body(), body.rest + b"".join(cuts[at:]))
            try:
                body.feed(piece)
            except AweighError as error:
                return (type(error),)
        return (body.done, body.body() if body.done else b"", body.rest if body.done else b"")

    data = b"".join(parts)
    assert result(cut(data, places)) == result([data])


FIELDS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", INFER.encode()), (b"content-type", b"application/grpc")]
frame_kinds = st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 200])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    kind, flags, stream = (
        draw(frame_kinds),
        draw(st.sampled_from([0, 1, 4, 5, 8, 13, 32, 37, 45])),
        draw(st.sampled_from([0, 1, 1, 3, 3, 5, 2])),
    )
    whole = hpack.Encoder().encode(FIELDS)
    payload = draw(
        st.sampled_from(
            [b"", grpc_frame(CALL), whole, whole[:20], bytes(4), bytes(8), b"\0\4\0\0\0\1", b"\0\4\x7f\xff\xff\xff", b"\x7f\xff\xff\xff"]
        )
        | st.binary(max_size=30)
    )
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


@MANY
@given(st.lists(frames() | st.binary(max_size=20), max_size=12), st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_http2_survives_any_frames(parts: list[bytes], places: list[int], threaded: bool) -> None:
    held = HeldThreads()
    server = rig(model(threads=held if threaded else None), **LIMITS)
    _, pipe = server.open()
    for piece in cut(PREFACE + b"".join(parts), places):
        pipe.send(piece)
        if held.held:
            held.release()
    for _ in range(3):
        server.tick(31)
    data = pipe.take()
    while data:  # what came back is whole frames
        end = 9 + int.from_bytes(data[:3], "big")
        assert end <= len(data)
        assert data[3] in {0, 1, 3, 4, 6, 7, 8}
        data = data[end:]
    connection = pipe.protocol
    assert getattr(connection, "_buffered", 0) == sum(
        len(part) for found in getattr(connection, "_streams", {}).values() for part in found.parts
    )
    assert pipe.closed or getattr(connection, "_streams", {}) == {}


names = st.sampled_from([":method", ":path", ":scheme", ":authority", "content-type", "x", "te", "Upper", "connection", "content-length"])
values = st.sampled_from(["POST", "GET", "/v2", INFER, "http", "a", "1", "trailers", "application/grpc"])


@MANY
@given(st.data())
def test_remembered_header_blocks_decide_as_a_fresh_decoder(data: st.DataObject) -> None:
    """One encoder with its dynamic table, two decoders: one with the cache in front, one without."""
    server = rig(**LIMITS)
    encoder = hpack.Encoder()
    cached, fresh = (HeaderBlocks(server.listener.dispatcher, server.listener.limits) for _ in range(2))
    usual = [(":method", "POST"), (":scheme", "http"), (":path", INFER)]
    for stream in range(1, 20, 2):
        if data.draw(st.integers(0, 5)) == 0:
            encoder.header_table_size = data.draw(st.sampled_from([0, 60, 4096]))
        fields = usual + data.draw(st.lists(st.tuples(names, values), max_size=3))
        block = encoder.encode(fields)
        fresh.known.clear()
        facts: list[object] = []
        for blocks in (cached, fresh):
            try:
                head = blocks.known.get(block) or blocks.request(block, stream)
                facts.append((head.method, head.path, head.headers, head.content_length, head.fault and head.fault.code))
            except (StreamFault, ProtocolFault) as fault:
                facts.append((type(fault), fault.code))
        assert facts[0] == facts[1]
        assert list(cached._table.dynamic_entries) == list(fresh._table.dynamic_entries)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["inputs", "name", "shape", "datatype", "data", "rows", "a"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@MANY
@given(json_values, st.sampled_from(["/v2/models/iris/infer", "/predict/iris"]))
def test_json_of_any_shape_is_answered(value: object, path: str) -> None:
    server = rig(**LIMITS)
    _, pipe = server.open()
    body = json.dumps(value).encode()
    pipe.send(post(path, body)[:] if len(body) <= 4096 else post(path, b"[]"))
    assert answers(pipe.take())[0].status in {200, 400, 413}


@MANY
@given(
    st.binary(max_size=60)
    | st.builds(lambda at, byte: BODY[:at] + bytes((byte,)) + BODY[at:], st.integers(0, len(BODY)), st.integers(0, 255))
)
def test_bodies_of_any_bytes_are_answered(body: bytes) -> None:
    for path in ("/v2/models/iris/infer", "/predict/iris"):
        _, pipe = rig(**LIMITS).open()
        pipe.send(post(path, body))
        assert answers(pipe.take())[0].status in {200, 400, 413}


@MANY
@given(
    st.binary(max_size=80)
    | st.builds(lambda at, byte: CALL[:at] + bytes((byte,)) + CALL[at + 1 :], st.integers(0, len(CALL)), st.integers(0, 255))
)
def test_messages_of_any_bytes_are_answered(payload: bytes) -> None:
    for path in (INFER, "/inference.GRPCInferenceService/ModelMetadata", "/grpc.health.v1.Health/Check"):
        peer = Http2Peer(rig(**LIMITS))
        stream = peer.call(payload, path)
        peer.pump()
        assert peer.response(stream).grpc_status in {0, 3, 5, 8}

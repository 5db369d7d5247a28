"""gzip and deflate: what goes in comes out, nothing grows past the limit, and whoever did not ask for a coding gets none."""

import asyncio
import gzip
import json
import time
import zlib
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import BODY, Http2Peer, answers, exchange, grpc_frame, infer_message, model, post, rig

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.serve.codings import DEFLATE, GZIP, accepted_coding, deflate, inflate


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


FORMS = {
    "gzip": (gzip.compress, GZIP), "zlib": (zlib.compress, DEFLATE), "raw deflate": (raw_deflate, DEFLATE),
    "two members": (lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]), GZIP),
}  # fmt: skip


@pytest.mark.parametrize(("code", "coding"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("data", [b"", b"x", BODY, bytes(3_000_000)], ids=["nothing", "one", "a request", "zeros"])
def test_what_goes_in_comes_out(code: Any, coding: bytes, data: bytes) -> None:
    assert inflate(code(data), coding, len(data)) == data
    assert inflate(deflate(data, coding), coding, len(data)) == data


def test_a_bomb_is_stopped_while_it_inflates() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    assert len(bomb) < 200_000
    began = time.monotonic()
    with pytest.raises(TooLarge, match="more than 1000000 bytes once inflated"):
        inflate(bomb, GZIP, 1_000_000)
    assert time.monotonic() - began < 0.5
    with pytest.raises(TooLarge):
        inflate(b"".join([gzip.compress(b"x")] * 11), GZIP, 10)
    with pytest.raises(InvalidInput, match="bytes follow"):
        inflate(gzip.compress(b"") * 2000, GZIP, 10)


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
def test_what_is_broken_cut_off_or_followed_by_more(coding: bytes) -> None:
    whole = deflate(BODY, coding)
    for end in range(len(whole)):
        with pytest.raises(InvalidInput):
            inflate(whole[:end], coding, 1000)
    with pytest.raises(InvalidInput):
        inflate(whole + b"x", coding, 1000)
    with pytest.raises(InvalidInput):
        inflate(BODY, coding, 1000)


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip", GZIP), (b"deflate", DEFLATE), (b"deflate, gzip", GZIP), (b"gzip;q=0.5, deflate", DEFLATE), (b"br", b""), (b"", b""), (b"*", GZIP),
        (b"gzip;q=0", b""), (b"*;q=0", b""), (b"identity", b""), (b"identity, gzip;q=0.5", b""), (b"GZIP", GZIP), (b"gzip;q=x", b""), (b"*, gzip;q=0", DEFLATE),
        (b"gzip;level=9", b""), (b"br;q=1.0, gzip;q=0.8, *;q=0.1", GZIP),
    ],
)  # fmt: skip
def test_which_coding_is_welcome(value: bytes, coding: bytes) -> None:
    assert accepted_coding(value) == coding


MANY = json.dumps({"inputs": [{"name": "X", "shape": [200, 4], "datatype": "FP32", "data": [1.0] * 800}]}).encode()


@pytest.mark.parametrize(("name", "undo"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_rest_both_ways(name: str, undo: Any) -> None:
    server = rig()
    plain = exchange(server, post(body=MANY))[0]
    assert "content-encoding" not in plain.headers
    asked = deflate(MANY, name.encode())
    coded = exchange(server, post("/v2/models/iris/infer", asked, f"Content-Encoding: {name}", f"Accept-Encoding: {name}"))[0]
    assert (coded.headers["content-encoding"], coded.headers["vary"]) == (name, "accept-encoding")
    assert undo(coded.body) == plain.body
    small = exchange(server, post("/v2/models/iris/infer", BODY, f"Accept-Encoding: {name}"))[0]
    assert "content-encoding" not in small.headers, "not worth it"


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(bytes(5000)), "gzip", 413), (gzip.compress(gzip.compress(BODY)), "gzip", 400), (b"abc", "gzip", 400), (BODY, "deflate", 400),
        (gzip.compress(BODY)[:-1], "gzip", 400), (BODY, "br", 400), (gzip.compress(gzip.compress(BODY)), "gzip, gzip", 400), (b"", "gzip", 400),
    ],
    ids=["too much", "coded twice", "no gzip", "no deflate", "cut short", "not known", "two codings", "nothing"],
)  # fmt: skip
def test_hostile_bodies_are_refused_and_the_next_is_answered(body: bytes, coding: str, status: int) -> None:
    server = rig(max_body_bytes=1000)
    _, pipe = server.open()
    pipe.send(post("/v2/models/iris/infer", body, f"Content-Encoding: {coding}") + post())
    assert [found.status for found in answers(pipe.take())] == [status, 200]
    assert not any(head.headers.get(b"content-encoding") for head in server.listener.heads.young.values())


def test_large_bodies_are_coded_on_threads() -> None:
    rows = np.random.default_rng(3).normal(size=(60_000, 4)).astype("<f4")
    document = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [60_000, 4], "parameters": {"binary_data_size": rows.nbytes}}]}
    text = json.dumps({**document, "parameters": {"binary_data_output": True}}).encode()
    more = [f"Inference-Header-Content-Length: {len(text)}", "Content-Encoding: gzip", "Accept-Encoding: deflate"]

    async def main() -> bytes:
        server = rig()
        _, pipe = server.open()
        pipe.send(post("/v2/models/iris/infer", gzip.compress(text + rows.tobytes(), 1), *more))
        assert pipe.take() == b""
        for _ in range(500):
            await asyncio.sleep(0.01)
            if pipe.written:
                break
        return pipe.take()

    found = answers(asyncio.run(main()))[0]
    body = zlib.decompress(found.body)
    assert body[int(found.headers["inference-header-content-length"]) + 8 * 60_000 :] == rows[:, :3].tobytes()


def grpc(payload: bytes, *fields: tuple[str, str], **settings: Any) -> tuple[dict[str, str], bytes, int, str]:
    peer = Http2Peer(rig(**settings))
    stream = peer.open("/inference.GRPCInferenceService/ModelInfer", *fields)
    peer.client.send_data(stream, payload, end_stream=True)
    peer.pump()
    reply = peer.response(stream)
    return reply.headers, reply.data, reply.grpc_status, reply.grpc_text


@pytest.mark.parametrize(("name", "undo"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_grpc_messages_both_ways(name: str, undo: Any) -> None:
    message = infer_message([1.0] * 800).SerializeToString()
    _, plain, _, _ = grpc(grpc_frame(message))
    coded = deflate(message, name.encode())
    headers, data, status, _ = grpc(b"\1" + len(coded).to_bytes(4, "big") + coded, ("grpc-encoding", name))
    assert (headers["grpc-encoding"], data[0], status) == (name, 1, 0)
    assert undo(data[5:]) == plain[5:]
    headers, data, status, _ = grpc(grpc_frame(message[:0] + infer_message().SerializeToString()), ("grpc-encoding", name))
    assert ("grpc-encoding" in headers, data[0], status) == (False, 0, 0), "a message may be sent as it is"


def test_grpc_codings_that_are_wrong() -> None:
    bomb = gzip.compress(bytes(100_000))
    framed = b"\1" + len(bomb).to_bytes(4, "big") + bomb
    assert grpc(framed, ("grpc-encoding", "gzip"), max_body_bytes=10_000)[2] == 8
    assert grpc(framed, ("grpc-encoding", "snappy"))[2] == 12
    assert grpc(framed)[2] == 13, "the gRPC specification's status for a compressed message without an encoding"
    assert grpc(b"\1\0\0\0\3abc", ("grpc-encoding", "gzip"))[2] == 3


def test_answers_that_come_later_are_coded_too() -> None:
    from tests.serving.kit import HeldThreads

    held = HeldThreads()
    server = rig(model(threads=held))
    _, pipe = server.open()
    pipe.send(post("/v2/models/iris/infer", MANY, "Accept-Encoding: gzip"))
    held.release()
    found = answers(pipe.take())[0]
    assert found.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(found.body))["model_name"] == "iris"

"""A16, hostile bodies: refused with 400 or 413 within a second and less than twice the body limit, while others are answered.

Both doors: JSON over HTTP/1.1, protobuf over HTTP/2. What a cost is made of stands in `siege`; the same shapes against the parsers alone are
in tests/contract/serve/test_bad_input.py and tests/unit/serve/test_json_structure.py.
"""

import gzip
import json
from collections.abc import Callable

import pytest
from tests.serving.kit import grpc_frame, infer_message, post
from tests.threats import bodies, messages
from tests.threats.conftest import Besiege
from tests.threats.siege import CALL, MAX_BODY, MIB, PATH, Frames, Line, Siege, check_right

GIB = 1024 * MIB
INVALID, RESOURCE_EXHAUSTED = 3, 8
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def ask(siege: Siege, body: bytes, path: str = PATH, *headers: str) -> int:
    """The status of one request; the next one on the same connection, which is kept, is answered right."""
    with siege.attack(), Line(siege.server) as line:
        line.send(post(path, body, *headers))
        answer = line.receive()
        assert len(answer.body) < 4096, "the answer repeats what was sent"
        line.send(post(PATH))
        check_right(line.receive())
    return answer.status


def asked(shape: str, data: str, datatype: str = "FP32") -> bytes:
    return f'{{"inputs":[{{"name":"X","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}'.encode()


SHAPES = {
    "[2^31,2^31]": (f"[{2**31},{2**31}]", "[]", 413),
    "[-1]": ("[-1]", "[1]", 400),
    "[-1,4]": ("[-1,4]", "[1,2,3,4]", 400),
    "[0]": ("[0]", "[]", 400),
    "[0,4], with data": ("[0,4]", "[1,2,3,4]", 400),
    "10^6 dims": ("[" + ",".join(["1"] * 10**6) + "]", "[1]", 413),
    "product past 2^63": (f"[{2**32},{2**32}]", "[]", 413),
    "product that wraps around to 4": (f"[{2**62 + 1},4]", "[1,2,3,4]", 413),
    "size past 2^64": (f"[{2**64},4]", "[1,2,3,4]", 413),
    "within the limit, by far too large for its data": ("[65536,4]", "[1]", 400),
}
VALUES = {
    "1e308": "[1e308,2,3,4]",
    "-1e308": "[-1e308,2,3,4]",
    "1e999": "[1e999,2,3,4]",
    "400 digits": "[1" + "0" * 400 + ",2,3,4]",
    "text": '["1",2,3,4]',
    "+Infinity": "[+Infinity,2,3,4]",
    "nan": "[nan,2,3,4]",
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_that_nothing_can_hold(either: Siege, case: str) -> None:
    shape, data, status = SHAPES[case]
    assert ask(either, asked(shape, data)) == status


@pytest.mark.parametrize("case", VALUES)
def test_numbers_that_a_float_cannot_hold(either: Siege, case: str) -> None:
    assert ask(either, asked("[1,4]", VALUES[case])) == 400


def test_nan_and_infinity_are_answered_where_the_model_takes_them(siege: Siege) -> None:
    """Not refused here: an ONNX model takes them, and says so in its signature. One that does not answers 400 (tests/contract/serve)."""
    with Line(siege.server) as line:
        line.send(post(PATH, asked("[1,4]", "[NaN,2,3,4]")), post(PATH))
        first = line.receive()
        assert (first.status, b"[NaN,NaN,NaN]" in first.body or b"NaN" in first.body) == (200, True)
        check_right(line.receive())


@pytest.mark.parametrize("bomb", bodies.JSON)
def test_json_that_costs_more_than_it_weighs(siege: Siege, bomb: str) -> None:
    assert ask(siege, bodies.JSON[bomb](MAX_BODY)) in {400, 413}


@pytest.mark.parametrize("bomb", bodies.ROWS)
def test_rows_that_cost_more_than_they_weigh(siege: Siege, bomb: str) -> None:
    assert ask(siege, bodies.ROWS[bomb](MAX_BODY), "/predict/linear") in {400, 413}


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/models/linear/load", "/v2/repository/models/linear/unload"])
def test_what_carries_no_tensors_may_not_be_large(siege: Siege, path: str) -> None:
    assert ask(siege, bodies.JSON["10M keys, as parameters"](MAX_BODY), path) == 413


DUPLICATES = {
    "of the request": b'{"inputs":[],"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    "of an input": b'{"inputs":[{"name":"X","shape":[1,4],"shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    "data": b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[4,3,2,1],"data":[1,2,3,4]}]}',
    "written in escapes": b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[4,3,2,1],"d\\u0061ta":[1,2,3,4]}]}',
    "of parameters": b'{"parameters":{"a":1,"a":2},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    "of what nobody reads": b'{"x":{"a":1,"a":2},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    "ids": b'{"id":"a","id":"b","inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
}


@pytest.mark.parametrize("case", DUPLICATES)
def test_duplicate_keys(either: Siege, case: str) -> None:
    """Two readers could see two requests: a proxy that checks the first, and a server that takes the last."""
    assert ask(either, DUPLICATES[case]) == 400


def test_duplicate_keys_of_rows(siege: Siege) -> None:
    row = b'{"X_0":1,"X_1":2,"X_2":3,"X_3":4%b}'
    assert ask(siege, row % b"", "/predict/linear") == 200
    assert ask(siege, row % b',"X_0":9', "/predict/linear") == 400
    assert ask(siege, b'{"rows":[%b,%b]}' % (row % b"", row % b',"X_3":4'), "/predict/linear") == 400
    assert ask(siege, b'{"rows":[],"rows":[%b]}' % (row % b""), "/predict/linear") == 400


def test_one_gigabyte_declared_and_ten_bytes_sent(siege: Siege) -> None:
    with siege.attack("1 GB declared"), Line(siege.server) as line:
        line.send(post(PATH, b"x" * 10, length=GIB))
        assert line.receive().status == 413
        assert line.rest() == b""


def test_a_length_within_the_limit_takes_no_memory_before_its_bytes_come(siege: Siege) -> None:
    """The time that such a body has to arrive is test_http2_floods' (and `request_timeout_s`')."""
    lines = [Line(siege.server) for _ in range(50)]
    with siege.attack("50 times the limit declared"):
        for line in lines:
            line.send(post(PATH, b"x" * 10, length=MAX_BODY))
        siege.check_answers()
    for line in lines:
        line.socket.close()


@pytest.mark.parametrize("size", [1, 2])
def test_70k_chunks_of_a_byte_or_two(siege: Siege, size: int) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with siege.attack(f"70k chunks of {size}"), Line(siege.server) as line:
        line.send(head, b"%d\r\n%b\r\n" % (size, b"x" * size) * 70_000, b"0\r\n\r\n")
        assert line.receive().status == 413
        assert line.rest() == b""


def test_more_chunks_than_the_limit_in_bytes(siege: Siege) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with siege.attack("endless chunks"), Line(siege.server) as line:
        line.send(head, *[b"100000\r\n" + bytes(MIB) + b"\r\n"] * (MAX_BODY // MIB + 1))
        assert line.receive().status == 413


def test_a_body_in_pieces_of_two_bytes_takes_no_more_than_in_one(siege: Siege) -> None:
    """Over HTTP/2, where a piece is a frame and thousands come in one packet."""
    body = bytes(MAX_BODY // 16)
    with siege.attack("frames of two bytes"), Frames(siege.server) as frames:
        frames.call(1, grpc_frame(body), piece=2)
        assert frames.status(1) in {INVALID, RESOURCE_EXHAUSTED}


CODED = bodies.coded(MAX_BODY)


@pytest.mark.parametrize("bomb", CODED)
def test_what_inflates(siege: Siege, bomb: str) -> None:
    coding, body = CODED[bomb]
    if len(body) <= MAX_BODY:
        assert ask(siege, body, PATH, f"Content-Encoding: {coding}") in {400, 413}


def test_what_inflates_over_grpc(siege: Siege) -> None:
    message = gzip.compress(bytes(16 * MAX_BODY))
    framed = b"\1" + len(message).to_bytes(4, "big") + message
    with siege.attack("gzip 1:1000 over gRPC"), Frames(siege.server) as frames:
        frames.call(1, framed, ("grpc-encoding", "gzip"))
        assert frames.status(1) == RESOURCE_EXHAUSTED
        frames.call(3)
        assert frames.status(3) == 0


def test_what_inflates_in_a_stream(siege: Siege) -> None:
    """A hundred bombs that each stay within the limit wait for their turn as they came, not inflated."""
    message = gzip.compress(bytes(MAX_BODY - 100))
    framed = b"\1" + len(message).to_bytes(4, "big") + message
    with siege.attack("100 gzip messages in a stream"), Frames(siege.server) as frames:
        frames.open(1, ("grpc-encoding", "gzip"), path=STREAM)
        frames.data(1, framed * 100)
        frames.wait_for(lambda: any(kind == 0 and stream == 1 for kind, _, stream, _ in frames.frames))
        frames.reset(1)


@pytest.mark.parametrize("bomb", messages.MESSAGES)
def test_protobuf_that_costs_more_than_it_weighs(siege: Siege, bomb: str) -> None:
    payload = grpc_frame(messages.MESSAGES[bomb](MAX_BODY - 64))
    with siege.attack(bomb), Frames(siege.server) as frames:
        frames.call(1, payload)
        assert frames.status(1) in {INVALID, 5, RESOURCE_EXHAUSTED}
        frames.call(3)
        assert frames.status(3) == 0


@pytest.mark.parametrize(
    "method", ["ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "ModelReady"]
)
def test_messages_without_tensors_may_not_be_large(siege: Siege, method: str) -> None:
    payload = grpc_frame(messages.MESSAGES["many parameters"](MAX_BODY - 64))
    with siege.attack(method), Frames(siege.server) as frames:
        frames.call(1, payload, path=f"/inference.GRPCInferenceService/{method}")
        assert frames.status(1) == RESOURCE_EXHAUSTED


def test_protobuf_in_a_stream(siege: Siege) -> None:
    payload = grpc_frame(messages.MESSAGES["empty inputs"](MAX_BODY - 64))
    with siege.attack("stream"), Frames(siege.server) as frames:
        frames.open(1, path=STREAM)
        frames.data(1, payload, CALL)
        frames.wait_for(lambda: sum(kind == 0 and stream == 1 for kind, _, stream, _ in frames.frames) == 2)


def test_what_was_refused_is_not_kept(siege: Siege) -> None:
    """Forty refused bodies take no more than one: what an error holds of its request goes with the answer."""
    body = bodies.JSON["numbers of one digit"](MAX_BODY)
    with siege.attack("40 refused bodies", factor=10), Line(siege.server) as line:
        for _ in range(40):
            line.send(post(PATH, body))
            assert line.receive().status == 413


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [*bodies.JSON, *bodies.ROWS])
def test_at_the_default_limit(large_siege: Siege, bomb: str) -> None:
    """64 MiB, and what is named of ten million keys has as many."""
    make: Callable[[int], bytes] = bodies.JSON.get(bomb) or bodies.ROWS[bomb]
    assert ask(large_siege, make(64 * MIB), PATH if bomb in bodies.JSON else "/predict/linear") in {400, 413}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", messages.MESSAGES)
def test_protobuf_at_the_default_limit(large_siege: Siege, bomb: str) -> None:
    payload = grpc_frame(messages.MESSAGES[bomb](64 * MIB - 64))
    with large_siege.attack(bomb), Frames(large_siege.server) as frames:
        frames.call(1, payload)
        assert frames.status(1) in {INVALID, 5, RESOURCE_EXHAUSTED}


def test_a_right_request_that_is_large_is_answered(besiege: Besiege) -> None:
    """The other side of the coin: what the model takes is not counted away."""
    siege = besiege()
    rows = 65_536
    data = [float(at % 7) for at in range(4 * rows)]
    flat = {"inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32", "data": data}]}
    nested = {
        "inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32", "data": [data[at : at + 4] for at in range(0, len(data), 4)]}]
    }
    named = {"rows": [dict(zip(("X_0", "X_1", "X_2", "X_3"), data[at : at + 4], strict=True)) for at in range(0, len(data), 4)]}
    texts = {"inputs": [{"name": "text", "shape": [50_000, 1], "datatype": "BYTES", "data": ['a:"{[,\\'] * 50_000}]}
    for path, body in ((PATH, flat), (PATH, nested), ("/predict/linear", named), ("/v2/models/words/infer", texts)):
        with Line(siege.server) as line:
            line.send(post(path, json.dumps(body).encode()))
            assert line.receive().status == 200, path
    with Frames(siege.server) as frames:
        asked = infer_message(name="linear")
        asked.inputs[0].shape[0] = rows
        del asked.raw_input_contents[:]
        asked.inputs[0].contents.fp32_contents.extend(data)
        frames.call(1, grpc_frame(asked.SerializeToString()))
        frames.wait_for(lambda: any(kind == 0 and stream == 1 for kind, _, stream, _ in frames.frames))

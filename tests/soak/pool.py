"""The requests of the soak: of many kinds, each with an answer of its own, which was asked for alone and holds what it must."""

import dataclasses
import gzip
import json
import re
import socket
from typing import Any, Final

import numpy as np
from tests.serving.kit import PREFACE, grpc_frame
from tests.serving.models import WEIGHTS
from tests.serving.raw_http2 import block, raw_frame

from aweigh.protos import message

VARYING: Final = re.compile(rb"date: [^\r]*\r\n|x-request-id: [0-9a-f]{10}-[0-9a-f]+\r\n")
"""What no two answers have in common: the date, and ids that the server gave."""
OPEN_WINDOWS: Final = raw_frame(4, 0, 0, (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big")) + raw_frame(
    8, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big")
)
METHODS: Final = "/inference.GRPCInferenceService/"
_UNARY, _STREAMED = METHODS + "ModelInfer", METHODS + "ModelStreamInfer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A request of HTTP/1.1 and its answer, less what varies."""

    kind: str
    data: bytes
    answer: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of HTTP/2: its header block, the payloads of its DATA frames, and the payloads of all frames that answer it."""

    kind: str
    block: bytes
    pieces: tuple[bytes, ...]
    messages: int
    answer: bytes


def build_plain(port: int, count: int) -> list[Plain]:
    """`count` of each kind, asked alone."""
    found = []
    for kind, make in _PLAIN.items():
        for at in range(count if kind != "large" else count // 20):
            data, must_hold = make(at)
            answer = ask_plain(port, data)
            assert must_hold in answer, f"{kind} {at}: {answer!r} without {must_hold!r}"
            found.append(Plain(kind=kind, data=data, answer=answer))
    _all_differ([(each.kind, each.answer) for each in found])
    return found


def build_calls(port: int, count: int) -> list[Call]:
    """`count` of each kind, asked alone."""
    found = []
    for kind, make in _CALLS.items():
        for at in range(count if kind != "large" else count // 20):
            fields, pieces, messages, must_hold = make(at)
            answer = ask_call(port, fields, pieces)
            assert must_hold in answer, f"{kind} {at}: {answer!r} without {must_hold!r}"
            found.append(Call(kind=kind, block=fields, pieces=pieces, messages=messages, answer=answer))
    _all_differ([(each.kind, each.answer) for each in found])
    return found


def _all_differ(answers: list[tuple[str, bytes]]) -> None:
    seen: dict[bytes, str] = {}
    for kind, answer in answers:
        assert answer not in seen, f"{kind} and {seen[answer]} have one answer: {answer!r}"
        seen[answer] = kind


def ask_plain(port: int, data: bytes) -> bytes:
    """The answer to one request, on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        got = b""
        while b"\r\n\r\n" not in got:
            got += connection.recv(65_536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # every answer has one
        while len(body) < length:
            body += connection.recv(65_536)
    return VARYING.sub(b"", head + b"\r\n\r\n" + body)


def ask_call(port: int, fields: bytes, pieces: tuple[bytes, ...]) -> bytes:
    """The payloads of the frames that answer one call, on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        frames = [raw_frame(0, int(at == len(pieces) - 1), 1, piece) for at, piece in enumerate(pieces)]
        connection.sendall(b"".join((PREFACE, OPEN_WINDOWS, raw_frame(1, 4, 1, fields), *frames)))
        got, payloads = b"", []
        while True:
            while len(got) < 9 or len(got) < 9 + int.from_bytes(got[:3], "big"):
                got += connection.recv(65_536)
            end = 9 + int.from_bytes(got[:3], "big")
            kind, flags, stream, payload, got = got[3], got[4], int.from_bytes(got[5:9], "big"), got[9:end], got[end:]
            if stream:
                assert kind in (0, 1), (kind, payload)
                payloads.append(payload)
                if flags & 1:
                    return b"".join(payloads)


def _row(at: float) -> list[float]:
    """Whole numbers, so that every sum is exact, and no two alike."""
    return [float(at), 0.0, 0.0, 1.0]


def _scores(rows: list[list[float]]) -> np.ndarray:
    scores: np.ndarray = np.array(rows, dtype=np.float32) @ WEIGHTS
    return scores


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: soak", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _json(given: object) -> bytes:
    return json.dumps(given, separators=(",", ":")).encode()


_LINEAR = "/v2/models/linear/infer"


def _document(rows: list[list[float]], *, nested: bool = False, **more: Any) -> bytes:
    data: Any = rows if nested else [value for row in rows for value in row]
    return _json({"inputs": [{"name": "X", "shape": [len(rows), 4], "datatype": "FP32", "data": data}], **more})


def _told(rows: list[list[float]]) -> bytes:
    return _json([float(value) for value in _scores(rows).ravel()])


def _flat(at: int) -> tuple[bytes, bytes]:
    rows = [_row(10_000 + at)]
    return _post(_LINEAR, _document(rows)), _told(rows)


def _batch(at: int) -> tuple[bytes, bytes]:
    rows = [_row(20_000 + 3 * at + more) for more in range(1 + at % 3)]
    return _post(_LINEAR, _document(rows, nested=True)), _told(rows)


def _with_id(at: int) -> tuple[bytes, bytes]:
    return _post(_LINEAR, _document([_row(at)], id=f"body-{at}")), b'"id":"body-%d"' % at


def _with_header(at: int) -> tuple[bytes, bytes]:
    return _post(_LINEAR, _document([_row(at)]), f"X-Request-Id: soak-{at}"), b"x-request-id: soak-%d\r\n" % at


def _raw_document(rows: list[list[float]]) -> tuple[bytes, bytes]:
    blob = np.array(rows, dtype="<f4").tobytes()
    given = {"name": "X", "shape": [len(rows), 4], "datatype": "FP32", "parameters": {"binary_data_size": len(blob)}}
    return _json({"inputs": [given], "parameters": {"binary_data_output": True}}), blob


def _binary(at: int) -> tuple[bytes, bytes]:
    rows = [_row(30_000 + 2 * at + more) for more in range(1 + at % 2)]
    header, blob = _raw_document(rows)
    return _post(_LINEAR, header + blob, f"Inference-Header-Content-Length: {len(header)}"), _scores(rows).tobytes()


def _large_binary(at: int) -> tuple[bytes, bytes]:
    rows = [_row(50_000 + 5_000 * at + more) for more in range(5_000)]
    header, blob = _raw_document(rows)
    return _post(_LINEAR, header + blob, f"Inference-Header-Content-Length: {len(header)}"), _scores(rows).tobytes()


def _gzipped(at: int) -> tuple[bytes, bytes]:
    rows = [_row(40_000 + at)]
    return _post(_LINEAR, gzip.compress(_document(rows), mtime=0), "Content-Encoding: gzip", "Accept-Encoding: gzip"), _told(rows)


def _chunked(at: int) -> tuple[bytes, bytes]:
    rows = [_row(45_000 + at)]
    body = _document(rows)
    half = len(body) // 2
    head = f"POST {_LINEAR} HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n", _told(rows)


def _words(at: int) -> tuple[bytes, bytes]:
    body = _json({"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [f"rest-{at}"]}]})
    return _post("/v2/models/words/infer", body), b'"rest-%d"' % at


def _no_model(at: int) -> tuple[bytes, bytes]:
    return _post(f"/v2/models/none-{at}/infer", b"{}"), b"none-%d" % at


def _no_output(at: int) -> tuple[bytes, bytes]:
    return _post(_LINEAR, _document([_row(at)], outputs=[{"name": f"out-{at}"}])), b"out-%d" % at


def _broken(at: int) -> tuple[bytes, bytes]:
    return _post(_LINEAR, b'{"inputs": [%d' % at, f"X-Request-Id: broken-{at}"), b"x-request-id: broken-%d" % at


def _ready(at: int) -> tuple[bytes, bytes]:
    return f"GET /v2/models/linear/ready HTTP/1.1\r\nHost: soak\r\nX-Request-Id: ready-{at}\r\n\r\n".encode(), b"ready-%d" % at


_PLAIN: Final = {
    "flat": _flat, "nested": _batch, "id": _with_id, "x-request-id": _with_header, "binary": _binary, "gzip": _gzipped, "chunked": _chunked,
    "words": _words, "no model": _no_model, "no output": _no_output, "broken": _broken, "ready": _ready, "large": _large_binary,
}  # fmt: skip


def _fields(path: str, *more: tuple[str, str]) -> bytes:
    usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "soak"), ("content-type", "application/grpc")]
    return block(*more, fields=usual)


_PLAIN_CALL: Final = _fields(_UNARY)
_PLAIN_STREAM: Final = _fields(_STREAMED)
Made = tuple[bytes, tuple[bytes, ...], int, bytes]


def _asked(rows: list[list[float]], **more: Any) -> Any:
    asked = message("inference.ModelInferRequest")(model_name="linear", **more)
    asked.inputs.add(name="X", datatype="FP32", shape=[len(rows), 4])
    asked.raw_input_contents.append(np.array(rows, dtype="<f4").tobytes())
    return asked


def _raw_call(at: int) -> Made:
    rows = [_row(at + more / 4) for more in range(1 + at % 3)]
    return _PLAIN_CALL, (grpc_frame(_asked(rows).SerializeToString()),), 1, _scores(rows).tobytes()


def _split_call(at: int) -> Made:
    rows = [_row(10_000 + at)]
    framed = grpc_frame(_asked(rows).SerializeToString())
    return _PLAIN_CALL, (framed[:3], framed[3:40], framed[40:]), 1, _scores(rows).tobytes()


def _large_call(at: int) -> Made:
    rows = [_row(60_000 + 5_000 * at + more) for more in range(5_000)]
    framed = grpc_frame(_asked(rows).SerializeToString())
    return _PLAIN_CALL, tuple(framed[begin : begin + 16_384] for begin in range(0, len(framed), 16_384)), 1, _scores(rows).tobytes()


def _typed_call(at: int) -> Made:
    rows = [_row(20_000 + at)]
    asked = message("inference.ModelInferRequest")(model_name="linear")
    given = asked.inputs.add(name="X", datatype="FP32", shape=[1, 4])
    given.contents.fp32_contents.extend(rows[0])
    return _PLAIN_CALL, (grpc_frame(asked.SerializeToString()),), 1, _scores(rows).tobytes()


def _named_call(at: int) -> Made:
    return _PLAIN_CALL, (grpc_frame(_asked([_row(at)], id=f"call-{at}").SerializeToString()),), 1, b"call-%d" % at


def _word_call(at: int) -> Made:
    asked = message("inference.ModelInferRequest")(model_name="words")
    given = asked.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    given.contents.bytes_contents.append(b"grpc-%d" % at)
    return _PLAIN_CALL, (grpc_frame(asked.SerializeToString()),), 1, b"grpc-%d" % at


def _coded_call(at: int) -> Made:
    payload = gzip.compress(_asked([_row(30_000 + at)], id=f"coded-{at}").SerializeToString(), mtime=0)
    framed = b"\1" + len(payload).to_bytes(4, "big") + payload
    return _fields(_UNARY, ("grpc-encoding", "gzip")), (framed,), 1, b""


def _wrong_call(at: int) -> Made:
    asked = message("inference.ModelInferRequest")(model_name=f"none-{at}")
    return _fields(_UNARY, ("x-request-id", f"wrong-{at}")), (grpc_frame(asked.SerializeToString()),), 1, b"none-%d" % at


def _rest_call(at: int) -> Made:
    usual = [(":method", "POST"), (":scheme", "http"), (":path", _LINEAR), (":authority", "soak"), ("x-request-id", f"second-{at}")]
    return block(fields=usual), (_document([_row(at)]),), 1, b"second-%d" % at


def _stream_call(at: int) -> Made:
    messages = [grpc_frame(_asked([_row(at + more)], id=f"stream-{at}-{more}").SerializeToString()) for more in range(1 + at % 5)]
    return _PLAIN_STREAM, tuple(messages), len(messages), b"stream-%d-%d" % (at, len(messages) - 1)


_CALLS: Final = {
    "raw": _raw_call, "split": _split_call, "typed": _typed_call, "id": _named_call, "words": _word_call, "gzip": _coded_call, "wrong": _wrong_call,
    "rest": _rest_call, "stream": _stream_call, "large": _large_call,
}  # fmt: skip

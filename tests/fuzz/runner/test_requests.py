"""The runner's parsers, fed with what nobody sends: heads, chunks, JSON, CSV, events. An answer or a refusal, never another exception."""

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings
from tests.runner.kit import ask, forms_of
from tests.serving.kit import answer, signature

from aweigh.runner.aws_lambda import handle
from aweigh.runner.errors import Refusal
from aweigh.runner.http1 import Reader

FORMS = forms_of(answer, signature(), rows=64)
ALLOWED = {200, 400, 404, 405, 413, 415}
WORDS = st.sampled_from([b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"host: a", b"content-length: ", b"transfer-encoding: chunked", b"0", b"5", b"\r\n\r\n", b":", b"%", b"abc"])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["X", "FP32", "a", "b", [1, 4], [1, 2, 3, 4]]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["rows", "columns", "data", "instances", "inputs", "outputs", "name", "shape", "datatype", "parameters", "binary_data_size", "id", "a", "b", "c", "d"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(WORDS | st.binary(max_size=8), max_size=30).map(b"".join), st.integers(1, 50))
@settings(max_examples=300)
def test_bytes(data: bytes, piece: int) -> None:
    reader = Reader(max_head=200, max_body=50)
    try:
        for at in range(0, len(data), piece):
            reader.buffer += data[at : at + piece]
            while (request := reader.take()) is not None:
                assert len(request.body) <= 50
    except Refusal:
        return
    assert len(reader.buffer) <= len(data)


@given(VALUES, st.sampled_from(["/predict/iris", "/invocations", "/v2/models/iris/infer", "/"]))
@settings(max_examples=300)
@example({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4]]}], "outputs": {}}, "/v2/models/iris/infer")
def test_documents(body: Any, path: str) -> None:
    told = ask(FORMS, path, json.dumps(body).encode())
    assert told.status in ALLOWED, (body, told.body)
    json.loads(told.body)


@given(
    st.binary(max_size=60), st.sampled_from(["/predict/iris", "/invocations", "/v2/models/iris/infer"]), st.sampled_from(["", "text/csv"])
)
def test_bodies(body: bytes, path: str, kind: str) -> None:
    assert ask(FORMS, path, body, content_type=kind).status in ALLOWED
    assert ask(FORMS, "/v2/models/iris/infer", body, inference_header_content_length=str(len(body) // 2)).status in ALLOWED


@given(
    st.fixed_dictionaries(
        {"requestContext": VALUES}, optional={"rawPath": VALUES, "body": VALUES, "headers": VALUES, "isBase64Encoded": VALUES}
    )
    | VALUES
)
def test_events(event: Any) -> None:
    try:
        told = handle(FORMS, event)
    except Refusal:
        return
    assert "predictions" in told or told["statusCode"] in ALLOWED

"""Everything that a server under load may send, and everything that a person may write: no error but our own, and nothing is lost."""

import asyncio
import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from aweigh.bench.address import parse_url
from aweigh.bench.answers import Checker, decode_grpc, decode_json
from aweigh.bench.capacity import parse_price
from aweigh.bench.gates import parse_gate
from aweigh.bench.grpc import GrpcConnection, call_block, call_body
from aweigh.bench.http1 import Answer, HttpConnection, Ticket, request_bytes
from aweigh.bench.loads import Terms, parse_loads
from aweigh.bench.plan import Question, Target
from aweigh.core import http2 as h
from aweigh.core.errors import InvalidInput, InvalidSetting
from aweigh.core.objective import parse_objective

QUESTION = Question(body=b"ask", expected=b'{"outputs": [{"name": "y", "data": [1.5]}]}')


class Outcomes:
    """Counts what became of requests."""

    def __init__(self) -> None:
        self.ends = 0

    def answered(self, connection: object, ticket: Ticket, answer: Answer) -> None:
        assert isinstance(answer.ok, bool)
        self.ends += 1

    def broken(self, connection: object, ticket: Ticket, kind: str, detail: str) -> None:
        self.ends += 1

    def lost(self, connection: object) -> None: ...


class Sink(asyncio.Transport):
    def write(self, data: object) -> None: ...

    def abort(self) -> None: ...


LINES = st.sampled_from([
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503 x\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"content-length: 3\r\n", b"Content-Length: 99\r\n", b"content-length: x\r\n",
    b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"\r\n", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"HTTP/1.1 ", b"HTTP/1.1 204 N\r\n\r\n",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(LINES, st.binary(max_size=20)), max_size=12))
def test_http_answers(parts: list[bytes]) -> None:
    owner = Outcomes()
    connection = HttpConnection(owner, [request_bytes(Target(protocol="http", host="h", port=1, path="/"), QUESTION)])
    connection.connection_made(Sink())
    connection.ask(Ticket(1.0, 1.0, 0))
    for part in parts:
        if connection.slots:
            connection.data_received(part)
    connection.connection_lost(None)
    assert owner.ends == 1  # one request, one end, whatever came


FRAMES = st.builds(
    h.frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 3, 5, 2**31 - 1]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"\x88", b"\x88" + h.literal(b"grpc-status", b"0"), h.literal(b"grpc-status", b"x"), b"\x20\x88", b"\xbe", b"\x40\x01a\x01b"]
        ),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(FRAMES, st.binary(max_size=30)), max_size=12), st.integers(1, 40))
def test_grpc_frames(parts: list[bytes], cut: int) -> None:
    async def check() -> None:
        owner = Outcomes()
        target = Target(protocol="grpc", host="h", port=1, path="/s/m")
        connection = GrpcConnection(owner, call_block(target), [call_body(QUESTION)])
        connection.connection_made(Sink())
        for _ in range(3):
            connection.ask(Ticket(1.0, 1.0, 0))
        data = b"".join(parts)
        for at in range(0, len(data), cut):
            connection.data_received(data[at : at + cut])
        connection.connection_lost(None)
        assert owner.ends == 3

    asyncio.run(check())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_answers_that_are_checked(body: bytes) -> None:
    for decode in (decode_json, decode_grpc):
        assert isinstance(Checker([QUESTION], decode).difference(0, body), str)


JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers()), lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["outputs", "name", "data", "parameters", "binary_data_size", "datatype", "shape"]), inner, max_size=4)), max_leaves=12)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON, st.binary(max_size=8))
def test_documents_that_are_almost_answers(document: object, behind: bytes) -> None:
    body = json.dumps(document).encode() + behind
    assert isinstance(Checker([QUESTION], decode_json).difference(0, body), str)


TERMS = st.text(alphabet="p9.<=≤> 0123456789msuµ%/errosthugputcax-:[]@#?hjkgrpc", max_size=40)


@settings(max_examples=500, deadline=None)
@given(st.one_of(TERMS, st.text(max_size=40)))
def test_what_people_write(text: str) -> None:
    for parse in (parse_objective, parse_gate, parse_price, parse_url):
        with contextlib.suppress(InvalidSetting, InvalidInput):
            parse(text)
    with contextlib.suppress(InvalidSetting):
        parse_loads(text, "", Terms())
    with contextlib.suppress(InvalidSetting):
        parse_loads("", text, Terms(duration=text))
    for scheme in ("http", "grpc"):
        with contextlib.suppress(InvalidSetting, InvalidInput):
            request_bytes(parse_url(f"{scheme}://h/{text}").target, QUESTION)

"""What a connection makes of bytes, however they are cut: HTTP/1.1 answers, gRPC frames. No sockets."""

import asyncio
import struct

import pytest

from aweigh.bench.grpc import GrpcConnection, call_block, call_body
from aweigh.bench.http1 import Answer, HttpConnection, Ticket, request_bytes
from aweigh.bench.plan import Question, Target
from aweigh.core import http2 as h
from aweigh.core.errors import InvalidInput

TICKET = Ticket(1.0, 1.0, 0)
HTTP = Target(protocol="http", host="h", port=80, path="/p", headers=(("x-tenant", "blue"),))
GRPC = Target(protocol="grpc", host="h", port=80, path="/s/m")
QUESTION = Question(body=b"ask")


class Owner:
    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.breaks: list[tuple[str, str]] = []
        self.losses = 0

    def answered(self, connection: object, ticket: Ticket, answer: Answer) -> None:
        self.answers.append(answer)

    def broken(self, connection: object, ticket: Ticket, kind: str, detail: str) -> None:
        self.breaks.append((kind, detail))

    def lost(self, connection: object) -> None:
        self.losses += 1


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # bytes are all that is written here
        self.sent += data

    def abort(self) -> None:
        self.aborted = True


def http(*, asked: bool = True) -> tuple[HttpConnection, Owner, Transport]:
    owner, transport = Owner(), Transport()
    connection = HttpConnection(owner, [request_bytes(HTTP, QUESTION)])
    connection.connection_made(transport)
    if asked:
        connection.ask(TICKET)
    return connection, owner, transport


def test_a_request() -> None:
    _, _, transport = http()
    assert transport.sent == b"POST /p HTTP/1.1\r\nhost: h:80\r\nx-tenant: blue\r\ncontent-length: 3\r\n\r\nask"


@pytest.mark.parametrize("header", [("a\r\nb", "c"), ("a", "c\r\nd"), ("", "c"), ("a b", "c"), ("a", "\u20ac"), ("a", "\0")])
def test_headers_that_would_be_more_than_one(header: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput, match="is not a header"):
        request_bytes(HTTP, Question(body=b"", headers=(header,)))


ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: 7\r\n\r\nhello", b"hello", False),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", False),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nt: 1\r\n\r\n", b"hello", False),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "closing": (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    "old": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_cut_anywhere(name: str) -> None:
    data, body, closes = ANSWERS[name]
    for cut in range(len(data) + 1):
        for parts in ((data[:cut], data[cut:]), (data[:cut], data[cut : cut + 1], data[cut + 1 :])):
            connection, owner, transport = http()
            for part in parts:
                if part:
                    connection.data_received(part)
            assert [(answer.status, answer.body) for answer in owner.answers] == [(data[data.rfind(b"HTTP/1.") :][9:12].decode(), body)]
            assert transport.aborted is closes
            assert connection.slots == (0 if closes else 1)


def test_an_answer_that_ends_with_the_connection() -> None:
    connection, owner, _ = http()
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nhel")
    connection.data_received(b"lo")
    connection.connection_lost(None)
    assert owner.answers[0].body == b"hello"
    assert owner.losses == 1


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", b"x" * 300_000,
     b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_no_answer(data: bytes) -> None:
    connection, owner, transport = http()
    connection.data_received(data)
    assert owner.breaks[0][0] == "not HTTP"
    assert transport.aborted


def test_a_connection_lost_half_way() -> None:
    connection, owner, _ = http()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhel")
    connection.connection_lost(ConnectionResetError("reset"))
    assert owner.breaks == [("connection lost", "reset")]
    assert owner.losses == 1


def test_a_request_that_takes_too_long() -> None:
    connection, owner, transport = http()
    connection.expire(0.5)
    assert not owner.breaks
    connection.expire(1.0)
    assert owner.breaks[0][0] == "timeout"
    assert transport.aborted


async def grpc(bodies: list[bytes]) -> tuple[GrpcConnection, Owner, Transport]:
    owner, transport = Owner(), Transport()
    connection = GrpcConnection(owner, call_block(GRPC), [call_body(Question(body=body)) for body in bodies])
    connection.connection_made(transport)
    return connection, owner, transport


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        found.append((data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def settings(**values: int) -> bytes:
    return h.settings_frame({getattr(h, name.upper()): value for name, value in values.items()})


def good_answer(stream: int, message: bytes = b"ok") -> bytes:
    head = h.frame(h.HEADERS, h.END_HEADERS, stream, b"\x88" + h.literal(b"content-type", b"application/grpc"))
    data = h.frame(h.DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)
    return head + data + h.frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, stream, h.literal(b"grpc-status", b"0"))


def test_calls_answered_in_any_cut() -> None:
    async def check() -> None:
        data = settings(max_concurrent_streams=7) + good_answer(3, b"three") + good_answer(1, b"one")
        for cut in range(len(data) + 1):
            connection, owner, transport = await grpc([b"a"])
            connection.ask(TICKET)
            connection.ask(TICKET)
            for part in (data[:cut], data[cut:]):
                connection.data_received(part)
            assert [(answer.status, answer.body) for answer in owner.answers] == [("OK", b"three"), ("OK", b"one")]
            assert connection.slots == 7
            assert transport.sent.endswith(h.frame(h.SETTINGS, h.ACK, 0))

    asyncio.run(check())


def test_a_refused_call() -> None:
    async def check() -> None:
        connection, owner, _ = await grpc([b"a"])
        connection.ask(TICKET)
        block = (
            b"\x88" + h.literal(b"grpc-status", b"5") + h.literal(b"grpc-message", b"no%20such model") + h.literal(b"x-request-id", b"r1")
        )
        connection.data_received(h.frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, 1, block))
        answer = owner.answers[0]
        assert (answer.status, answer.ok, answer.message) == ("NOT_FOUND", False, "no such model")
        assert b"r1" in answer.head

    asyncio.run(check())


def test_large_requests_wait_for_the_servers_windows() -> None:
    async def check() -> None:
        connection, _, transport = await grpc([b"x" * 100_000])
        connection.data_received(settings(initial_window_size=20_000))
        transport.sent = b""
        connection.ask(TICKET)
        sent = frames(transport.sent)
        assert [len(payload) for kind, _, _, payload in sent if kind == h.DATA] == [16_384, 3_616]
        connection.data_received(h.window_frame(1, 200_000))
        assert sum(len(payload) for kind, _, _, payload in frames(transport.sent) if kind == h.DATA) == 65_535
        connection.data_received(h.window_frame(0, 200_000))
        data = [frame for frame in frames(transport.sent) if frame[0] == h.DATA]
        assert b"".join(payload for *_, payload in data) == call_body(Question(body=b"x" * 100_000))
        assert [flags for _, flags, _, _ in data if flags] == [h.END_STREAM]
        assert data[-1][1] == h.END_STREAM

    asyncio.run(check())


def test_pings_resets_and_goodbyes() -> None:
    async def check() -> None:
        connection, owner, transport = await grpc([b"a"])
        for _ in range(3):
            connection.ask(TICKET)
        connection.data_received(h.frame(h.PING, 0, 0, b"12345678"))
        assert transport.sent.endswith(h.frame(h.PING, h.ACK, 0, b"12345678"))
        connection.data_received(h.reset_frame(1, h.REFUSED_STREAM))
        assert owner.breaks == [("reset", "the server reset the stream: code 7")]
        connection.data_received(h.frame(h.GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4) + b"bye"))
        assert owner.breaks[1:] == [("connection lost", "the server went away bye")]
        assert connection.slots == 0
        assert not transport.aborted
        connection.data_received(good_answer(3))
        assert len(owner.answers) == 1
        assert transport.aborted

    asyncio.run(check())


def test_expired_calls_are_cancelled_alone() -> None:
    async def check() -> None:
        connection, owner, transport = await grpc([b"a"])
        connection.ask(Ticket(1.0, 1.0, 0))
        connection.ask(Ticket(9.0, 9.0, 0))
        connection.expire(5.0)
        assert owner.breaks == [("timeout", "no whole answer in time")]
        assert transport.sent.endswith(h.reset_frame(1, h.CANCEL))
        connection.data_received(good_answer(1) + good_answer(3))
        assert len(owner.answers) == 1

    asyncio.run(check())


def test_a_server_that_speaks_something_else() -> None:
    async def check() -> None:
        connection, owner, _ = await grpc([b"a"])
        connection.ask(TICKET)
        connection.connection_lost(None)
        assert owner.breaks[0][0] == "connection lost"
        assert connection.slots == 0
        assert connection.opened.done()

    asyncio.run(check())


def test_blocks_of_a_server_that_insists_on_its_dynamic_table() -> None:
    """The same bytes may mean something else the next time: nothing is remembered."""

    async def check() -> None:
        connection, owner, _ = await grpc([b"a"])
        for _ in range(3):
            connection.ask(TICKET)
        indexed = b"\x88\x40" + h.literal(b"grpc-status", b"0")[1:]
        connection.data_received(h.frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, 1, indexed))
        connection.data_received(h.frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, 3, b"\x88\xbe"))
        connection.data_received(h.frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, 5, b"\x88\x40" + h.literal(b"grpc-status", b"13")[1:]))
        assert [answer.status for answer in owner.answers] == ["OK", "OK", "INTERNAL"]

    asyncio.run(check())

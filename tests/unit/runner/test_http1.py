"""HTTP/1.1 of the runner: whole requests in any pieces, and what two readers could read differently refused."""

import pytest
from tests.serving.smuggling import CHUNKS, LINE, NO_REQUESTS, SMUGGLING

from aweigh.runner.errors import Refusal
from aweigh.runner.http1 import Reader, render
from aweigh.runner.message import Request, Response

HEAD = b"POST /a%20b?x=1 HTTP/1.1\r\nHost: here\r\n"


def reader() -> Reader:
    return Reader(max_head=1000, max_body=100)


def read(data: bytes, piece: int = 10_000) -> list[Request]:
    """The requests in some bytes, fed in pieces."""
    on, found = reader(), []
    for at in range(0, len(data), piece):
        on.buffer += data[at : at + piece]
        while (request := on.take()) is not None:
            found.append(request)
    return found


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_requests_come_in_any_pieces(piece: int) -> None:
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n\r\n\r\n0\r\n\r\n"
    found = read(b"\r\n" + HEAD + b"content-length: 3\r\n\r\nabc" + chunked + b"GET / HTTP/1.0\r\n\r\n", piece)
    assert [(each.method, each.path, each.body, each.keep_alive) for each in found] == [
        ("POST", "/a b", b"abc", True),
        ("POST", "/a b", b"abc\r\n", True),
        ("GET", "/", b"", False),
    ]


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_could_be_two_requests_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(f"{LINE}\r\n{SMUGGLING[name]}\r\n\r\nhello".encode("latin-1"))
    assert refused.value.status in {400, 501}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_refused(name: str) -> None:
    with pytest.raises(Refusal):
        read(NO_REQUESTS[name])


@pytest.mark.parametrize("name", CHUNKS)
def test_what_is_no_chunk_is_refused(name: str) -> None:
    with pytest.raises(Refusal):
        read(HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS[name])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"x: " + b"y" * 1000, 431),
        (HEAD + b"".join(b"x%d: 1\r\n" % at for at in range(101)), 431),
        (HEAD + b"content-length: 101\r\n\r\n", 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n65\r\n", 413),
        (HEAD + b"expect: tea\r\n\r\n", 417),
        (HEAD + b"content-encoding: gzip\r\n\r\n", 415),
    ],
)
def test_limits(data: bytes, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        read(data + b"\r\n")
    assert refused.value.status == status


def test_a_peer_that_waits_for_leave_gets_it() -> None:
    on = reader()
    on.buffer += HEAD + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    assert on.take() is None
    assert on.expects
    on.buffer += b"abc"
    assert on.take() is not None
    assert not on.expects


def test_http_1_0_knows_no_interim_answers() -> None:
    on = reader()
    on.buffer += b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    assert on.take() is None
    assert not on.expects
    assert [each.body for each in read(b"POST / HTTP/1.0\r\nexpect: tea\r\ncontent-length: 3\r\n\r\nabc")] == [b"abc"]


def test_answers() -> None:
    told = render(Response(200, b"{}", headers=(("a", "b"),)), identity="me", keep_alive=False)
    assert told == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-request-id: me\r\nconnection: close\r\na: b\r\n\r\n{}"
    )
    assert render(Response(404, b"{}"), identity="", keep_alive=True, head_only=True).endswith(b"keep-alive\r\n\r\n")

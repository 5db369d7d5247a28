"""A17, request smuggling: what could be read as two requests is answered 400 and nothing else, on a connection that then ends.

Each form by its name in tests/serving/smuggling.py; the parser alone meets them in tests/unit/serve/wire/test_heads.py and test_chunks.py.
"""

import pytest
from tests.serving.kit import BODY, answers, get, post
from tests.serving.smuggling import CHUNKS, NO_REQUESTS, SMUGGLING
from tests.threats.siege import PATH, Line, Siege, check_right

CHUNKED = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
SECOND = post(PATH) + get("/v2")
"""What an attacker wants to have answered as the next one's."""


def refused(siege: Siege, raw: bytes, *statuses: int) -> None:
    """One answer of these statuses (400 unless said), which ends the connection, whatever follows."""
    with siege.attack(), Line(siege.server) as line:
        line.send(raw, SECOND)
        found = answers(line.rest())
    assert [answer.headers["connection"] for answer in found] == ["close"]
    assert found[0].status in (statuses or (400,))


@pytest.mark.parametrize("form", SMUGGLING)
def test_a_head_that_could_be_read_in_two_ways(either: Siege, form: str) -> None:
    refused(either, f"POST {PATH} HTTP/1.1\r\n{SMUGGLING[form]}\r\n\r\nhello".encode("latin-1"))


@pytest.mark.parametrize("form", NO_REQUESTS)
def test_a_head_that_is_no_request(either: Siege, form: str) -> None:
    refused(either, NO_REQUESTS[form])


@pytest.mark.parametrize("form", CHUNKS)
def test_chunks_that_could_be_read_in_two_ways(either: Siege, form: str) -> None:
    refused(either, CHUNKED + CHUNKS[form])


def test_64_kilobytes_of_headers(siege: Siege) -> None:
    """431 says more than 400 does (RFC 6585 section 5); the connection ends all the same."""
    refused(siege, get("/v2", "X: " + "y" * 65_536), 431)
    refused(siege, get("/v2", *(f"X-{at}: " + "y" * 500 for at in range(128))), 431)
    refused(siege, get("/v2", *(f"X-{at}: y" for at in range(1000))), 431)
    refused(siege, b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 65_536, 431)


def test_a_second_request_in_the_body_is_no_request(siege: Siege) -> None:
    """The other side of the coin: a well-framed body is never looked into for one."""
    inner = post("/v2/nowhere")
    with Line(siege.server) as line:
        line.send(post(PATH, inner), CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner), post(PATH))
        assert [line.receive().status for _ in range(2)] == [400, 400]
        check_right(line.receive())


def test_an_upgrade_is_not_followed(siege: Siege) -> None:
    """h2c smuggling: a proxy that passes an upgrade on must not find an open tunnel here."""
    with Line(siege.server) as line:
        headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
        line.send(post(PATH, BODY, *headers), post(PATH))
        check_right(line.receive())
        check_right(line.receive())


def test_a_head_in_the_cache_never_judges_another_request(siege: Siege) -> None:
    """Head-cache poisoning: plain heads enter by thousands, and those that differ by a byte are judged by themselves (differential in tests/fuzz)."""
    plain = post(PATH)
    with Line(siege.server) as line:
        for _ in range(5):
            line.send(plain)
            check_right(line.receive())
    for old, new in (
        (b"Host: here", b"Host : here"),
        (b"HTTP/1.1", b"HTTP/1.2"),
        (b"\r\nHost", b"\nHost"),
        (b"Content-Length: ", b"Content-Length: +"),
    ):
        refused(siege, plain.replace(old, new, 1))
    with Line(siege.server) as line:
        for at in range(3000):
            line.send(get("/v2/health/live", f"X-Filler: {at}"))
            assert line.receive().status == 200
        line.send(plain.replace(b"/infer", b"/nowhere", 1))
        assert line.receive().status == 404
        line.send(plain)
        check_right(line.receive())

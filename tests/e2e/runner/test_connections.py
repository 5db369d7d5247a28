"""The runner's connections, over a model that sleeps as long as it is told: what is refused is read by whoever sent it."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.runner.kit import Running, serving
from tests.serving.kit import answers

HEAD = b"POST /predict/iris HTTP/1.1\r\nhost: a\r\n"
MIB = 1024 * 1024


@contextlib.contextmanager
def line(on: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", on.port), timeout=20) as stream:
        yield stream


def asking(sleep_s: float = 0.0, *headers: bytes) -> bytes:
    """A request whose answer takes so long."""
    body = json.dumps([[sleep_s, 0, 0, 0]]).encode()
    return HEAD + b"".join(header + b"\r\n" for header in headers) + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def rest(stream: socket.socket) -> list[Any]:
    """The answers up to the connection's end."""
    data = b""
    while piece := stream.recv(65536):
        data += piece
    return answers(data)


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with serving() as process:
        yield process


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"content-length: %d\r\n\r\n" % (20 * MIB), 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1400000\r\n", 413),
        (HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (8 * MIB), 415),
        (HEAD + b"expect: tea\r\ncontent-length: %d\r\n\r\n" % (8 * MIB), 417),
        (HEAD + b"x: " + b"y" * MIB, 431),
    ],
    ids=["length", "chunk", "coding", "expectation", "head"],
)
def test_a_refusal_is_read_by_a_peer_that_sends_everything_first(served: Running, head: bytes, status: int) -> None:
    with line(served) as stream:
        stream.sendall(head)
        for _ in range(8):
            time.sleep(0.01)
            stream.sendall(b"x" * MIB)
        (told,) = rest(stream)
    assert (told.status, told.headers["connection"]) == (status, "close")
    assert told.headers["x-request-id"] == json.loads(told.body)["request_id"]


def test_a_refusal_has_the_form_of_its_door(served: Running) -> None:
    with line(served) as stream:
        stream.sendall(b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n")
        (told,) = rest(stream)
    assert told.status == 413
    assert set(json.loads(told.body)) == {"error", "hint"}


def test_what_is_dropped_ends(served: Running) -> None:
    with line(served) as stream:
        stream.sendall(HEAD + b"content-length: 99999999\r\n\r\n")
        assert rest(stream)[0].status == 413
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011, PT012  # reset, or a broken pipe
            while time.monotonic() < began + 10:
                stream.sendall(b"x" * 1000)
                time.sleep(0.05)
        assert 1 < time.monotonic() - began < 5


def test_an_answer_that_ends_a_connection_is_read_whatever_follows(served: Running) -> None:
    with line(served) as stream:
        stream.sendall(asking(0, b"connection: close") + asking(0) * 20_000)
        (told,) = rest(stream)
    assert told.status == 200

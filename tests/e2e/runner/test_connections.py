"""The runner's connections, over a model that sleeps as long as it is told: what is refused is read by whoever sent it,
nobody holds up the others, and a stop answers all who were there."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.runner.kit import Running, serving
from tests.serving.kit import answers

HEAD = b"POST /predict/iris HTTP/1.1\r\nhost: a\r\n"
MIB = 1024 * 1024
KEY = "a long enough secret"


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


def test_all_who_have_connected_are_answered_before_the_end() -> None:
    """They wait in the port's queue while one long request is answered."""
    with serving() as process, contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(line(process)) for _ in range(6)]
        lines[0].sendall(asking(1.0))
        time.sleep(0.3)
        lines += [open_lines.enter_context(line(process)) for _ in range(6)]
        for stream in lines[1:]:
            stream.sendall(asking())
        process.process.send_signal(signal.SIGTERM)
        assert [[each.status for each in rest(stream)] for stream in lines] == [[200]] * 12
        for stream in lines:
            stream.close()
        assert process.process.wait(5) == 0


def test_a_request_that_came_while_another_was_answered_is_no_late_one() -> None:
    """Connections that are kept, at a stop: what they bring within the grace is answered, however long what stands before it takes."""
    with serving() as process, line(process) as long, line(process) as kept:
        for stream in (long, kept):
            stream.sendall(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
            assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        long.sendall(asking(1.0))
        time.sleep(0.1)
        kept.sendall(asking())
        assert [each.status for each in rest(long) + rest(kept)] == [200, 200]


def test_an_idle_connection_is_not_closed_on_its_request() -> None:
    with serving(idle_s=0.5) as process, line(process) as long, line(process) as kept:
        kept.sendall(asking())
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        long.sendall(asking(1.0))
        time.sleep(0.2)
        kept.sendall(asking())
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")


def status_of(on: Running, request: bytes) -> int:
    with line(on) as stream:
        stream.sendall(request)
        return int(stream.recv(4096).split(b" ")[1])


def test_who_has_no_key_is_refused_before_the_body_comes() -> None:
    with serving(key=KEY) as process:
        for more in (b"", b"expect: 100-continue\r\n", b"authorization: Bearer nonsense\r\n"):
            with line(process) as stream:
                stream.sendall(HEAD + more + b"content-length: 1000000\r\n\r\n")
                assert [each.status for each in rest(stream)] == [401]
        with line(process) as stream:
            stream.sendall(HEAD + b"x-api-key: %b\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n" % KEY.encode())
            assert stream.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_all_bodies_together_have_a_limit() -> None:
    begun = HEAD + b"content-length: %d\r\n\r\n" % (4 * MIB)
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b"x" * 65536) * 47
    with serving(buffered_bytes=8 * MIB) as process, contextlib.ExitStack() as open_lines:
        for data in (begun + b"x" * 3 * MIB, chunked):
            open_lines.enter_context(line(process)).sendall(data)
        time.sleep(0.5)
        assert status_of(process, asking()) == 200
        with line(process) as stream:
            stream.sendall(begun + b"x" * 3 * MIB)
            (told,) = rest(stream)
        assert (told.status, told.headers["retry-after"]) == (503, "1")
        assert status_of(process, asking()) == 200
        open_lines.close()
        time.sleep(0.2)
        with line(process) as stream:
            stream.sendall(HEAD + b"content-length: %d\r\n\r\n" % (4 * MIB) + b" " * 4 * MIB)
            assert stream.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_answers_that_nobody_reads_take_room_too() -> None:
    """One of four megabytes, of which the kernel takes what a connection with a small window is worth to it."""
    rows = json.dumps([[0, 0, 0, 0]] * 65000, separators=(",", ":")).encode()
    with serving(buffered_bytes=MIB) as process, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(20)
        deaf.connect(("127.0.0.1", process.port))
        deaf.sendall(HEAD + b"content-length: %d\r\n\r\n%b" % (len(rows), rows))
        assert deaf.recv(15) == b"HTTP/1.1 200 OK"
        assert status_of(process, asking()) == 503
        assert status_of(process, b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n") == 200


def test_connections_that_are_silent_lock_nobody_out() -> None:
    ready = b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n"
    with serving(connections=4) as process, contextlib.ExitStack() as open_lines:
        first, *others = [open_lines.enter_context(line(process)) for _ in range(4)]
        begun = others.pop()
        for stream in (first, *others):
            stream.sendall(ready)
            assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        begun.sendall(asking()[:-5])
        first.sendall(ready)
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
        with line(process) as late:
            late.sendall(ready)
            assert late.recv(4096).startswith(b"HTTP/1.1 200")
            assert others[0].recv(4096) == b"", "the one that has been silent longest"
            first.sendall(ready)
            assert first.recv(4096).startswith(b"HTTP/1.1 200")
            begun.sendall(asking()[-5:])
            assert begun.recv(4096).startswith(b"HTTP/1.1 200")


def test_requests_that_come_slowly_lock_nobody_out() -> None:
    ready = b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n"
    with serving(connections=2, request_s=3) as process, contextlib.ExitStack() as open_lines:
        slow = [open_lines.enter_context(line(process)) for _ in range(2)]
        for stream in slow:
            stream.sendall(asking()[:-5])
        with line(process) as early:
            early.sendall(ready)
            assert not_answered(early), "both have only just begun"
        time.sleep(0.7)
        with line(process) as late:
            late.sendall(ready)
            assert late.recv(4096).startswith(b"HTTP/1.1 200")
            assert slow[0].recv(4096) == b"", "the one that has been coming longest"
            slow[1].sendall(asking()[-5:])
            assert slow[1].recv(4096).startswith(b"HTTP/1.1 200")


def not_answered(stream: socket.socket) -> bool:
    try:
        return stream.recv(4096) == b""
    except ConnectionError:
        return True

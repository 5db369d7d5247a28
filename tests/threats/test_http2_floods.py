"""Floods, bombs and games of HTTP/2, and peers that are slow: the connection ends with the code for it, and everybody else is answered meanwhile.

One name for each attack; the same against the connection alone, with every code, is in tests/unit/serve/wire/test_http2_faults.py.
"""

import socket
import time

import hpack
import pytest
from tests.serving.kit import get, post
from tests.serving.raw_http2 import FIELDS, block, raw_frame
from tests.threats.conftest import Besiege
from tests.threats.siege import BUSY, CALL, PATH, Frames, Line, Siege, check_right

FLOW, COMPRESSION, CALM = 3, 9, 11
PING, SETTINGS, WINDOW = 6, 4, 8


def call(stream: int) -> bytes:
    return raw_frame(1, 4, stream, HEAD) + raw_frame(0, 1, stream, CALL)


HEAD = block()
FLOODS = {
    "rapid reset": b"".join(raw_frame(1, 4, stream, HEAD) + raw_frame(3, 0, stream, b"\0\0\0\x08") for stream in range(1, 40_001, 2)),
    "rapid reset of whole requests": b"".join(call(stream) + raw_frame(3, 0, stream, b"\0\0\0\x08") for stream in range(1, 4001, 2)) * 3,
    "resets that the server is made to send": b"".join(
        raw_frame(1, 4, stream, HEAD) + raw_frame(8, 0, stream, bytes(4)) for stream in range(1, 40_001, 2)
    ),
    "CONTINUATION": raw_frame(1, 0, 1, HEAD) + raw_frame(9, 0, 1, b"") * 200_000,
    "CONTINUATION of one byte": raw_frame(1, 0, 1, HEAD) + raw_frame(9, 0, 1, b"\x40") * 200_000,
    "settings": raw_frame(SETTINGS, 0, 0) * 200_000,
    "settings that move every window": raw_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1" * 100) * 20_000,
    "settings acknowledged": raw_frame(SETTINGS, 1, 0) * 200_000,
    "ping": raw_frame(PING, 0, 0, bytes(8)) * 200_000,
    "empty DATA": raw_frame(1, 4, 1, HEAD) + raw_frame(0, 0, 1) * 200_000,
    "empty DATA, padded": raw_frame(1, 4, 1, HEAD) + raw_frame(0, 8, 1, b"\x09" + bytes(9)) * 100_000,
    "empty HEADERS": b"".join(raw_frame(1, 4, stream) for stream in range(1, 200_001, 2)),
    "trailers": call(1) + raw_frame(1, 5, 1, HEAD) * 100_000,
    "priority": raw_frame(2, 0, 1, bytes(5)) * 200_000,
    "unknown frames": raw_frame(0xBB, 0, 0) * 200_000,
    "window updates of one byte": raw_frame(WINDOW, 0, 0, b"\0\0\0\1") * 200_000,
    "window updates of nobody's stream": call(1) + raw_frame(WINDOW, 0, 1, b"\0\0\x10\0") * 200_000,
    "GOAWAY": raw_frame(7, 0, 0, bytes(8)) * 100_000,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_its_connection(siege: Siege, flood: str) -> None:
    with siege.attack(flood), Frames(siege.server) as frames:
        frames.send(FLOODS[flood])
        frames.wait_for(lambda: False)
        codes = [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in frames.frames if kind == 7]
    assert frames.closed
    assert codes in ([CALM], [1], [])  # a peer that goes on sending may lose the goodbye to the reset of the connection


def indexed(name: bytes, value: bytes) -> bytes:
    """A field that enters the dynamic table."""
    return b"\x40" + bytes((len(name),)) + name + b"\x7f" + hpack.hpack.encode_integer(len(value), 7)[1:] + value


BOMBS = {
    "one large field, referred to 16,000 times": (
        raw_frame(1, 5, 1, HEAD + indexed(b"x", b"y" * 3500)) + raw_frame(1, 5, 3, b"\xbe" * 16_000),
        CALM,
    ),
    "a table larger than allowed": (raw_frame(1, 4, 1, b"\x3f\xe2\x1f" + HEAD), COMPRESSION),
    "an integer without end": (raw_frame(1, 4, 1, b"\x7f" + b"\xff" * 16_000), COMPRESSION),
    "a text longer than its block": (raw_frame(1, 4, 1, b"\x00\x01x\x7f\xff\xff\xff\x7f"), COMPRESSION),
    "Huffman padding": (raw_frame(1, 4, 1, b"\x00\x01x\xff\x80\x7d" + b"\xff" * 16_000), COMPRESSION),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_hpack_bomb_is_not_unpacked(siege: Siege, bomb: str) -> None:
    sent, code = BOMBS[bomb]
    with siege.attack(bomb), Frames(siege.server) as frames:
        frames.send(sent)
        assert frames.ends() in {code, CALM, COMPRESSION}


def test_a_table_that_grows_and_shrinks_four_thousand_times(siege: Siege) -> None:
    """Allowed by RFC 7541, and cheap; the request without a path is malformed all the same."""
    with siege.attack("table sizes"), Frames(siege.server) as frames:
        frames.send(raw_frame(1, 5, 1, b"\x20\x3f\xe1\x1f" * 4000))
        assert frames.status(1) == -1


def large_call(stream: int) -> bytes:
    """Metadata over REST, whose answer waits where there is no window."""
    fields = [(name, {":method": "GET", ":path": "/metrics"}.get(name, value)) for name, value in FIELDS[:4]]
    return raw_frame(1, 5, stream, block(fields=fields))


def test_windows_of_nothing(siege: Siege) -> None:
    """Answers to a client that lets nothing through wait, bounded in number by its streams, and its connection costs nobody else."""
    with siege.attack("zero windows"), Frames(siege.server, raw_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0")) as frames:
        frames.send(*(large_call(stream) for stream in range(1, 513, 2)))
        siege.check_answers()


def test_windows_that_open_byte_by_byte(siege: Siege) -> None:
    with siege.attack("windows of one byte"), Frames(siege.server, raw_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0")) as frames:
        frames.send(large_call(1), raw_frame(WINDOW, 0, 1, b"\0\0\0\1") * 100_000)
        assert frames.ends() == CALM


def test_windows_that_open_for_others_than_those_who_wait(siege: Siege) -> None:
    """Useful in size and useless in effect: a window of the connection while 256 answers wait for their streams'."""
    with siege.attack("useless windows"), Frames(siege.server, raw_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0")) as frames:
        frames.send(*(large_call(stream) for stream in range(1, 513, 2)))
        frames.send(raw_frame(WINDOW, 0, 0, b"\0\0\x10\0") * 50_000)
        assert frames.ends() in {CALM, FLOW}


def test_a_window_past_its_end(siege: Siege) -> None:
    with siege.attack("window past 2^31-1"), Frames(siege.server) as frames:
        frames.send(raw_frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"))
        assert frames.ends() == FLOW


def test_initial_windows_that_swing(siege: Siege) -> None:
    with siege.attack("swinging initial windows"), Frames(siege.server) as frames:
        frames.send(*(large_call(stream) for stream in range(1, 513, 2)))
        frames.send((raw_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0") + raw_frame(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff")) * 10_000)
        assert frames.ends() == CALM


def test_more_sent_than_the_window_lets_through(siege: Siege) -> None:
    """Whoever does not wait for the server's window is bounded by the body limit all the same."""
    with siege.attack("window ignored"), Frames(siege.server) as frames:
        for stream in range(1, 40, 2):
            frames.open(stream)
        for _ in range(40):
            frames.send(*(raw_frame(0, 0, stream, bytes(16_384)) for stream in range(1, 40, 2)))


@pytest.fixture
def hasty(besiege: Besiege) -> Siege:
    """A server that gives requests a second."""
    return besiege("--request-timeout-s", "1", AWEIGH_IDLE_TIMEOUT_S="1")


def test_slow_peers_are_sent_away(hasty: Siege) -> None:
    """A head, a body, a preface, a header block and a message that never become whole, and connections that never say anything."""
    lines = [Line(hasty.server) for _ in range(4)]
    frames = [Frames(hasty.server) for _ in range(2)]
    silent = [socket.create_connection(("127.0.0.1", hasty.server.port)) for _ in range(200)]
    started = time.monotonic()
    with hasty.attack("slow peers", factor=8):
        lines[0].send(post(PATH)[:-90])
        lines[1].send(post(PATH)[:-10])
        lines[2].send(b"PRI * HTTP/2.0\r\n")
        lines[3].send(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel".encode())
        frames[0].send(raw_frame(1, 0, 1, HEAD[:10]))
        frames[1].open(1)
        frames[1].data(1, CALL[:10])
        assert [lines[at].receive().status for at in (0, 1, 3)] == [408, 408, 408]
        assert frames[1].status(1) < 0
        assert lines[2].rest() == b""
        for each in silent:
            each.settimeout(20)
            assert each.recv(100) == b""
            each.close()
        assert time.monotonic() - started < 8 * BUSY
    for one in (*lines, *frames):
        one.socket.close()


def test_a_peer_that_never_reads_stops_being_read(hasty: Siege) -> None:
    with hasty.attack("never reads", factor=8):
        made = socket.create_connection(("127.0.0.1", hasty.server.port))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(3)
        asked, stopped = get("/v2/models/linear") * 1000, False
        while not stopped:  # the server stops listening, and then ends it
            try:
                made.sendall(asked)
            except OSError:
                stopped = True
        made.close()


def test_thousands_of_requests_in_one_pipeline(siege: Siege) -> None:
    """Answered in order as they are read, none held in memory."""
    with siege.attack("pipeline", factor=20), Line(siege.server) as line:
        line.send(get("/v2/health/live") * 2000, post(PATH))
        for _ in range(2000):
            assert line.receive().status == 200
        check_right(line.receive())

"""Clients that leave and clients that stall (B.3 numbers 23 and 24): their places are free at once, and nobody else is slower for them."""

import contextlib
import dataclasses
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import pytest
from tests.faults.conftest import Start
from tests.faults.counted import Counted, row
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.faults.test_overload_deadlines import Aside
from tests.serving.kit import PREFACE, grpc_frame, infer_message, post
from tests.serving.raw_http2 import FIELDS, block, raw_frame
from tests.serving.served import Served
from tests.serving.workers import status, until

POINTS = 25
"""In each protocol's exchange; the last eight once the request is whole."""
WHOLE = 8
FREED_S = 0.1
HELD_S = 8.0
THREADS = ("--executor", "thread", "--threads", "1", "--session-threads", "1")
IDLE_SOCKETS = 2000
SLOW_SOCKETS = 50
DEAF_SOCKETS = 6
SLOWER = 1.2
RATE = 150.0


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    return Counted(tmp_path_factory.mktemp("clients"))


def rest_request(number: float) -> bytes:
    body = json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": row(number)}]}).encode()
    return post("/v2/models/counted/infer", body)


def grpc_request(number: float) -> bytes:
    message = grpc_frame(infer_message(row(number), name="counted").SerializeToString())
    return PREFACE + raw_frame(4, 0, 0) + raw_frame(1, 4, 1, block(fields=FIELDS)) + raw_frame(0, 1, 1, message)


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@dataclasses.dataclass(frozen=True)
class Leaving:
    """Send so much of a request, wait, and leave."""

    request: Callable[[float], bytes]
    share: float
    pause_s: float
    leave: Callable[[socket.socket], None]
    stream_reset: bool = False

    def act(self, server: Served, number: float) -> None:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        data = self.request(number)
        connection.sendall(data[: round(self.share * len(data))])
        time.sleep(self.pause_s)
        if self.stream_reset:
            connection.sendall(raw_frame(3, 0, 1, b"\0\0\0\x08"))
            time.sleep(FREED_S / 2)
        self.leave(connection)


def points() -> Iterator[Leaving]:
    for request in (rest_request, grpc_request):
        early = POINTS - WHOLE
        for at in range(early):
            yield Leaving(request, at / early, 0.0, (close, reset)[at % 2])
        for at in range(WHOLE):
            by_stream = request is grpc_request and at % 4 > 1
            yield Leaving(request, 1.0, (0.0, 0.005, 0.02, 0.05)[at // 2], (close, reset)[at % 2], by_stream)


def waiting(server: Served) -> int:
    """Requests in the queue of the model's process."""
    return int(status(server)["models"][0]["processes"][0]["waiting"])


def test_23_clients_that_leave_at_fifty_points(start: Start, counted: Counted) -> None:
    server = start("counted", "--batching", "off", where=counted.home, environment={"AWEIGH_MAX_QUEUE": "2"})
    assert server.get("/live")
    Aside(server, row(1)).join()
    leaks = Leaks(server)
    running = Aside(server, row(2, HELD_S))
    until(lambda: counted.ran(2))
    freed_s: dict[Leaving, float] = {}
    for at, leaving in enumerate(points()):
        leaving.act(server, 100 + at)
        freed_s[leaving] = until(lambda: waiting(server) == 0, 3)
    assert len(freed_s) == 2 * POINTS
    late = Aside(server, row(3))
    until(lambda: waiting(server) == 1)
    assert running.is_alive()
    running.join()
    late.join()
    assert (running.status, late.status) == ("200", "200")
    assert [number for number in range(100, 100 + 2 * POINTS) if counted.ran(number)] == []
    assert np.percentile(list(freed_s.values()), 90) < FREED_S, freed_s
    leaks.check()


@pytest.mark.parametrize("words", [("--batching", "off"), pytest.param((), marks=pytest.mark.slow)], ids=["one by one", "together"])
def test_23_who_has_left_makes_room_on_threads(start: Start, counted: Counted, words: tuple[str, ...]) -> None:
    server = start(
        "lasting",
        "--executor",
        "thread",
        "--threads",
        "1",
        "--session-threads",
        "1",
        *words,
        where=counted.home,
        environment={"AWEIGH_MAX_QUEUE": "1"},
    )
    running = Aside(server, [7777.0], model="lasting")
    time.sleep(0.1)
    body = b'{"inputs":[{"name":"X","shape":[1,1],"datatype":"FP32","data":[1]}]}'
    for _ in range(3):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(post("/v2/models/lasting/infer", body))
        time.sleep(0.02)
        connection.close()
        time.sleep(FREED_S)
    last = Aside(server, [1.0], model="lasting")
    time.sleep(0.1)
    assert running.is_alive()
    assert last.is_alive()
    running.join()
    last.join()
    assert (running.status, last.status) == ("200", "200")
    done = json.loads(server.get("/v2/models/lasting/stats"))["model_stats"][0]
    assert done["execution_count"] == 2


class Crowd:
    """Connections that do as one thread of the test says, all of them again and again, until the end."""

    def __init__(self, server: Served, count: int, first: bytes, again: Callable[[socket.socket, int], None] | None = None) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(count)]
        for each in self._sockets:
            each.sendall(first)
            each.setblocking(False)
        self._again = again
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(1.0):
            for each in self._sockets if self._again else ():
                with contextlib.suppress(OSError):
                    self._again(each, turn)  # type: ignore[misc]  # looked at just above
            turn += 1


HEAD = post()
SLOW_BODY = post(length=1000, body=b"")
ROWS = 60_000
LARGE = post(
    "/v2/models/linear/infer",
    json.dumps({"inputs": [{"name": "X", "shape": [ROWS, 4], "datatype": "FP32", "data": [1, 2, 3, 4] * ROWS}]}).encode(),
)
"""Its answer is nearly twice as large: seven of them are more than the kernel keeps for a client."""


def idle(server: Served) -> Crowd:
    return Crowd(server, IDLE_SOCKETS, b"")


def slow_heads(server: Served) -> Crowd:
    return Crowd(server, SLOW_SOCKETS, HEAD[:1], lambda each, turn: each.sendall(HEAD[1 + turn : 2 + turn]) or None)


def slow_bodies(server: Served) -> Crowd:
    return Crowd(server, SLOW_SOCKETS, SLOW_BODY, lambda each, turn: each.sendall(b" ") or None)


def deaf(server: Served) -> Crowd:
    """Ask for large answers and read none of them."""
    before = done(server)
    crowd = Crowd(server, DEAF_SOCKETS, LARGE * 7)
    until(lambda: before + DEAF_SOCKETS < done(server) == later(done, server), 30)
    return crowd


def later(look: Callable[[Served], int], server: Served) -> int:
    time.sleep(0.3)
    return look(server)


def done(server: Served) -> int:
    """Requests that were answered."""
    return int(json.loads(server.get("/v2/models/linear/stats"))["model_stats"][0]["inference_stats"]["success"]["count"])


def connections(server: Served) -> int:
    return int(status(server)["workers"][0]["connections"])


def p99_s(server: Served, seconds: float) -> float:
    with Load(server, rate=RATE) as load:
        time.sleep(seconds)
    assert load.ends().keys() == {"ok 200"}, load.told()
    return load.percentile_s(99)


CROWDS: dict[str, Any] = {each.__name__: each for each in (idle, slow_heads, slow_bodies, deaf)}


LONG = ("slow_bodies", "slow_heads", "deaf")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CROWDS])
def test_24_crowds_that_stall_cost_the_others_nothing(start: Start, name: str) -> None:
    server = start("linear", environment={"AWEIGH_REQUEST_TIMEOUT_S": "3"})
    p99_s(server, 0.5)
    with CROWDS[name](server):
        pass
    until(lambda: connections(server) == 1)
    leaks = Leaks(server)
    alone: list[float] = []
    among: list[float] = []
    for _ in range(3):
        alone.append(p99_s(server, 1.0))
        with CROWDS[name](server):
            time.sleep(0.3)
            among.append(p99_s(server, 1.0))
        time.sleep(0.2)
    assert np.median(among) <= SLOWER * np.median(alone) + 0.002 or min(among) <= SLOWER * max(alone), (alone, among)
    if name != "idle":
        with CROWDS[name](server):
            assert connections(server) > SLOW_SOCKETS // 10
            until(lambda: connections(server) == 1, 15)  # the one that asks
    assert server.get("/live") == b"live\n"
    leaks.check(memory=0.2)

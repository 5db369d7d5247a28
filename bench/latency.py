"""`--scenario latency`: what aweigh adds to one request after the other, on the server's side of the socket. Called by `__main__.py`.

A serial client asks aweigh with the null runtime, and a server of the same loop that reads and writes as many bytes and does nothing else. The
client, its sockets and the wake-ups are the same for both, so the difference is aweigh's: reading, routing, checks, the session, the answer.
"""

import argparse
import contextlib
import dataclasses
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aweigh.core import http2 as f
from aweigh.runtimes.null import NullRuntime
from bench import report
from bench.peers import aweigh
from bench.processes import BenchError, free_port, running
from bench.scenarios import null
from bench.startup import Budget
from bench.workload import ROUTE, Workload

NAME: Final = "latency"
LIMIT_US: Final = 100.0
REQUESTS: Final = 2000
"""Of one round, after some to warm up."""
WARM_UP: Final = 200
CALLS: Final = 10_000
ANSWER_S: Final = 10.0
ECHO: Final = "echo"


class Rest:
    """HTTP/1.1: the same request again and again."""

    name = "REST"
    greeting = b""

    def __init__(self, workload: Workload) -> None:
        headers, body = workload.rest_request()
        lines = [f"POST /v2/models/{workload.model}/infer HTTP/1.1", "host: bench", f"content-length: {len(body)}"]
        self._request = "\r\n".join([*lines, *[f"{name}: {value}" for name, value in headers.items()], "", ""]).encode() + body

    def request(self, number: int) -> bytes:
        return self._request

    def end(self, answer: bytes) -> bytes:
        """How right answers end."""
        return answer[-32:]

    def essence(self, answer: bytes) -> bytes | None:
        """What is the same in every right answer; None where it is not whole. Raises BenchError for an answer that is not right."""
        head, blank, body = answer.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise BenchError(f"aweigh answers {head[:100]!r}")
        return body


class Grpc:
    """HTTP/2 with prior knowledge: a header block and a message, on a new stream each."""

    name = "gRPC"
    greeting = f.PREFACE + f.settings_frame({f.INITIAL_WINDOW_SIZE: 1 << 20}) + f.window_frame(0, 1 << 30)

    def __init__(self, workload: Workload) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": f"/{ROUTE}", ":authority": "bench"}
        fields |= {"content-type": "application/grpc", "te": "trailers"}
        self._block = b"".join(f.literal(name.encode(), value.encode()) for name, value in fields.items())
        self._body = workload.grpc_body()

    def request(self, number: int) -> bytes:
        stream = 2 * number + 1
        return f.frame(f.HEADERS, f.END_HEADERS, stream, self._block) + f.frame(f.DATA, f.END_STREAM, stream, self._body)

    def end(self, answer: bytes) -> bytes:
        return f.GRPC_OK

    def essence(self, answer: bytes) -> bytes | None:
        """The frames of a stream without its number."""
        found, at = b"", 0
        while at + 9 <= len(answer):
            end = at + 9 + int.from_bytes(answer[at : at + 3], "big")
            if answer[at + 5 : at + 9] != bytes(4):
                found += answer[at : at + 5] + answer[at + 9 : end]
                if end <= len(answer) and answer[at + 3] == f.HEADERS and answer[at + 4] & f.END_STREAM:
                    if not answer[:end].endswith(f.GRPC_OK):
                        raise BenchError(f"aweigh answers {answer[at:end]!r}")
                    return found
            at = end
        return None


Door = Rest | Grpc


class Client:
    """One connection of a door: asks, waits for the whole answer, and checks it once the clock has stopped."""

    def __init__(self, door: Door, port: int) -> None:
        self._door = door
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._asked = 0

    def greet(self) -> tuple[int, bytes]:
        """Begin as the door begins. The size of a request, and an answer to one as it comes."""
        self._socket.sendall(self._door.greeting)
        self._whole(self._next())
        return len(self._door.request(1)), self._whole(self._next())

    def _next(self) -> bytes:
        self._asked += 1
        return self._door.request(self._asked - 1)

    def _whole(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        answer = self._receive()
        while self._door.essence(answer) is None:
            answer += self._receive()
        return answer

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise BenchError("the server closed the connection")
        return data

    def times(self, count: int, right: bytes) -> list[float]:
        """Seconds of so many requests, each with an answer of the size and the end of `right`. Raises BenchError for one that is not right."""
        requests, took, clock = [self._next() for _ in range(count)], [], time.perf_counter
        send, end, essence = self._socket.sendall, self._door.end(right), self._door.essence(right)
        for request in requests:
            began = clock()
            send(request)
            answer = self._receive()
            while not answer.endswith(end):
                answer += self._receive()
            took.append(clock() - began)
            if self._door.essence(answer) != essence:
                raise BenchError(f"a wrong answer: {answer!r}")
        return took

    def close(self) -> None:
        self._socket.close()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A server at a door, and the answer that is right there."""

    door: Door
    server: str
    port: int
    answer: bytes

    def round(self) -> tuple[float, float]:
        """p50 and p99 in microseconds, on a connection of its own."""
        with contextlib.closing(Client(self.door, self.port)) as client:
            if self.server != ECHO:
                client.greet()
            client.times(WARM_UP, self.answer)
            centiles = statistics.quantiles(client.times(REQUESTS, self.answer), n=100)
        return centiles[49] * 1e6, centiles[98] * 1e6


def run(flags: argparse.Namespace, where: Mapping[str, object], folder: Path, say: Callable[[str], None]) -> list[str]:
    """Measure, print, write down; what was missed."""
    workload = null.prepare(folder)
    rounds = flags.rounds or (3 if flags.quick else 7)
    with _sides(workload, folder) as sides:
        found: dict[tuple[str, str], list[tuple[float, float]]] = {(side.door.name, side.server): [] for side in sides}
        for at in range(rounds):
            for side in sides if at % 2 == 0 else reversed(sides):
                found[side.door.name, side.server].append(side.round())
                say(f"round {at + 1}/{rounds} {side.door.name} {side.server}: p50 {found[side.door.name, side.server][-1][0]:.1f} us")
    budgets = [*(budget for door in (Rest, Grpc) for budget in _budgets(door.name, found)), _session(workload)]
    print(
        f"\none request after the other, no model; {rounds} interleaved rounds of {REQUESTS:,} requests\n{report.budgets_text(budgets)}\n"
    )
    print(f"written to {report.write(NAME, where, [], budgets)}")
    return report.missed([], budgets)


@contextlib.contextmanager
def _sides(workload: Workload, folder: Path) -> Iterator[list[Side]]:
    """aweigh and, with its answers, the echo of each door."""
    sides = []
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(aweigh.PEER.start(workload, folder))
        port = int(served.rest_url.rpartition(":")[2])
        for door in (Rest(workload), Grpc(workload)):
            with contextlib.closing(Client(door, port)) as client:
                request_bytes, answer = client.greet()
            file, echo = folder / f"{door.name}.answer", free_port()
            file.write_bytes(answer)
            command = [sys.executable, "-m", "bench.echo", str(echo), str(request_bytes), str(file)]
            process = stack.enter_context(running(ECHO, command, folder, {}))
            _until_open(echo, process.failure)
            sides += [
                Side(door=door, server="aweigh", port=port, answer=answer),
                Side(door=door, server=ECHO, port=echo, answer=answer),
            ]
        yield sides


def _until_open(port: int, failure: Callable[[], BenchError]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.02)
    raise failure()


def _budgets(door: str, found: Mapping[tuple[str, str], Sequence[tuple[float, float]]]) -> list[Budget]:
    budgets = [
        Budget(name=f"{door}, {server}: {what}", value=statistics.median(each[at] for each in found[door, server]), unit="us")
        for server in ("aweigh", ECHO)
        for at, what in enumerate(("p50", "p99"))
    ]
    added = [mine - bare for (mine, _), (bare, _) in zip(found[door, "aweigh"], found[door, ECHO], strict=True)]
    return [*budgets, Budget(name=f"{door}: added by aweigh at p50", value=statistics.median(added), unit="us", limit=LIMIT_US)]


def _session(workload: Workload) -> Budget:
    """What is part of it: the call of the null runtime, in process."""
    session = NullRuntime().load(null.VARIANT, null.SIGNATURE, Path)
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        session.run(workload.inputs)
        times.append(time.perf_counter() - began)
    return Budget(name="of which session.run of the null runtime: p50", value=statistics.median(times) * 1e6, unit="us")


def newest(folder: Path) -> Mapping[str, Any] | None:
    """What was measured last, for the page."""
    paths = sorted(folder.glob(f"{NAME}-[0-9]*.json"))
    found: Mapping[str, Any] | None = json.loads(paths[-1].read_bytes()) if paths else None
    return found

"""The load test against servers that misbehave on purpose: stalls, lies, hangs up. The figures must say so.

The stall is the argument of wrk2: a server that stops for a second out of four keeps a quarter of all comers waiting; a closed loop, whose
users wait with it, sees a handful of slow requests.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aweigh.app.bench import BenchOptions, Search, run_bench
from aweigh.app.bench_data import Wanted
from aweigh.bench.gates import parse_gate
from aweigh.bench.plan import Load
from aweigh.bench.report import Report
from aweigh.bench.result import Measurement
from aweigh.core.errors import DeadlineExceeded, InvalidInput, Unavailable
from aweigh.core.objective import parse_objective

pytestmark = pytest.mark.alone

Respond = Callable[[int], bytes]


class Misbehaving:
    """A server in a thread: answers request number n with `respond(n)`; empty hangs up."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.asked = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                answer = self._respond(self.asked)
                self.asked += 1
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    def stall(self, after_s: float, for_s: float) -> None:
        """Block the whole server, once."""
        self._loop.call_soon_threadsafe(self._loop.call_later, after_s, time.sleep, for_s)

    def end(self) -> None:
        def stop() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._server.close()
            self._loop.call_later(0.05, self._loop.stop)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def misbehaving() -> Iterator[Callable[[Respond], Misbehaving]]:
    started: list[Misbehaving] = []

    def start(respond: Respond) -> Misbehaving:
        started.append(Misbehaving(respond))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "body.json"
    path.write_text("{}")
    return str(path)


def good(number: int) -> bytes:
    return b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\nx-request-id: r-%d\r\n\r\n{"answer": 1}' % number


def bench(server: Misbehaving, body: str, load: Load, **more: object) -> Report:
    wanted = more.pop("wanted", Wanted(body=body))
    return run_bench(BenchOptions(url=f"http://127.0.0.1:{server.port}/ask", loads=(load,), wanted=wanted, **more))  # type: ignore[arg-type]


def stalled(server: Misbehaving, body: str, load: Load) -> Measurement:
    server.stall(after_s=1.2, for_s=1.0)
    return bench(server, body, load, corrected=True).runs[0]


OPEN = Load(rate=300.0, arrival="constant", duration_s=3.0, warmup_s=0.3)


def test_an_open_loop_shows_a_stall(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    run = stalled(misbehaving(good), body, OPEN)
    assert run.failed == 0
    p = {name: value or 0.0 for name, value in run.latency.percentiles_ms.items()}
    assert p["p99"] == pytest.approx(970, abs=120)  # a third of all requests, evenly from 0 to 1000 ms
    assert p["p90"] == pytest.approx(700, abs=150)
    assert (run.service.percentiles_ms["p50"] or 0) < 50
    assert run.scheduled == 900
    slow = [part for part in run.timeline if (part.max_ms or 0) > 400]
    assert len(slow) == pytest.approx(12, abs=4)  # the stall is where it was, in parts of 50 ms
    assert run.slowest[0].request_id.startswith("r-")


def test_a_closed_loop_hides_it_and_its_correction_does_not(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    run = stalled(misbehaving(good), body, Load(concurrency=2, duration_s=3.0, warmup_s=0.3))
    assert (run.latency.percentiles_ms["p99"] or 0) < 200
    assert (run.latency.max_ms or 0) > 900
    assert run.corrected is not None
    assert (run.corrected.percentiles_ms["p99"] or 0) > 700


@pytest.mark.slow
def test_a_capacity_that_is_known(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    """One answer at a time, 20 ms each: 50 a second, and no more."""

    def slow(number: int) -> bytes:
        time.sleep(0.02)
        return good(number)

    search = Search(objective=parse_objective("p90 <= 200ms"), load=1000.0, cores=2.0)
    report = bench(misbehaving(slow), body, Load(arrival="constant", rate=1.0, duration_s=1.0, warmup_s=0.1), search=search)
    assert report.capacity is not None
    assert report.sizing is not None
    assert 25 <= report.capacity.rate <= 56
    assert report.capacity.held == 3
    assert report.sizing.per_core == report.capacity.rate / 2
    assert report.sizing.replicas == -(-1000 // (report.capacity.rate * 0.7))


def test_errors_by_kind(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    answers = {
        3: b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
        5: b"",
        7: b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n" + b'{"answer": 2}',
        9: b"nonsense\r\n\r\n",
    }
    server = misbehaving(
        lambda number: good(number) if number < 100 else answers.get(number % 10) or (b"" if number % 10 == 5 else good(number))
    )
    load = Load(rate=200.0, duration_s=2.0, warmup_s=0.6, connections=4)
    report = bench(server, body, load, wanted=Wanted(body=body, expect="alone"), gates=(parse_gate("errors <= 1%"),))
    run = report.runs[0]
    assert set(run.errors) == {"status 503", "connection lost", "wrong answer", "not HTTP"}
    assert run.details["wrong answer"] == "$.answer is 2, expected 1"
    assert run.details["status 503"] == "busy"
    assert run.error_share == pytest.approx(0.4, abs=0.1)
    assert run.reconnects > 0
    assert not report.verdicts[0].passed
    assert not report.passed


def test_a_server_that_never_answers_times_out_and_is_in_the_percentiles(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    server = misbehaving(lambda number: good(number) if number % 10 else b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf")
    server.asked = 1
    run = bench(server, body, Load(rate=100.0, duration_s=1.5, warmup_s=0.1, timeout_s=0.4, connections=16)).runs[0]
    assert run.errors["timeout"] == pytest.approx(15, abs=10)
    assert (run.latency.percentiles_ms["p99"] or 0) >= 400
    assert not run.holds(parse_objective("p99 <= 10s"))


def test_a_server_that_goes_away_is_not_waited_for(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    server = misbehaving(good)
    threading.Timer(1.0, server.end).start()
    began = time.monotonic()
    try:
        run = bench(server, body, Load(rate=100.0, duration_s=2.0, warmup_s=0.2, timeout_s=1.0)).runs[0]
    finally:
        server.end = lambda: None  # type: ignore[method-assign]  # it has ended
    assert time.monotonic() - began < 6
    assert "connect" in run.errors
    assert run.errors["connect"] > 50


def test_a_refused_first_request_is_no_test(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    server = misbehaving(lambda number: b"HTTP/1.1 422 No\r\ncontent-length: 21\r\n\r\n" + b'{"detail": "no rows"}')
    with pytest.raises(InvalidInput, match="422: no rows"):
        bench(server, body, OPEN)
    assert server.asked == 1


def test_a_first_request_without_an_answer(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    with pytest.raises(Unavailable, match="connection lost"):
        bench(misbehaving(lambda number: b""), body, OPEN)
    with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 s"):
        bench(misbehaving(lambda number: b"HTTP/1.1 200 OK\r\n"), body, Load(rate=1.0, timeout_s=0.3))


def test_several_processes(misbehaving: Callable[[Respond], Misbehaving], body: str) -> None:
    run = bench(
        misbehaving(good), body, Load(rate=100.0, arrival="constant", duration_s=1.0, warmup_s=0.2, processes=2, connections=4)
    ).runs[0]
    assert run.scheduled == 100
    assert (run.connections, run.failed) == (4, 0)

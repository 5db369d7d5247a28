"""B.3, 1 to 3: a worker that is killed, killed again and again, or stopped. What it held is answered, nobody else loses anything, and it is replaced."""

import contextlib
import json
import signal
import time

import pytest
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load, capacity
from tests.serving.kit import Answer, get, post
from tests.serving.served import Served
from tests.serving.trouble import MAGIC, TROUBLES
from tests.serving.workers import Faults, alive, children, kill, pids, status, template_of, until
from tests.threats.siege import Line

HELD_S = 5.0
HELD = json.dumps(
    {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [MAGIC, TROUBLES["sleep"], HELD_S, 0.0]}]}
).encode()
CONNECTIONS = 9
HANG_S = 0.8
"""The default of hang_timeout_s."""


def held(server: Served, stack: contextlib.ExitStack, path: str = "/v2/models/trouble/infer") -> list[Line]:
    """Connections with a request that takes seconds, on every worker."""
    lines = [stack.enter_context(Line(server)) for _ in range(CONNECTIONS)]
    for line in lines:
        line.send(post(path, HELD))
    time.sleep(0.3)
    return lines


def answered(lines: list[Line], within_s: float) -> dict[Line, Answer]:
    """What came on those connections on which something came in that time."""
    until_s, found = time.monotonic() + within_s, dict[Line, Answer]()
    for line in lines:
        with contextlib.suppress(TimeoutError):
            line.read_until(lambda line=line: bool(line.got), max(0.01, until_s - time.monotonic()))
        if line.got:
            found[line] = line.receive()
    return found


def test_01_what_a_killed_worker_held_is_answered_503_and_the_others_lose_nothing(start: Start) -> None:
    server = start("linear", "trouble", "--workers", "3")
    rate = min(400.0, capacity(server, seconds=1) / 2)
    leaks = Leaks(server)
    with contextlib.ExitStack() as stack, Load(server, rate=rate) as load:
        until(lambda: load.right > rate / 2)
        lines = held(server, stack)
        victim = pids(server)[0]
        kill(victim)
        killed = time.monotonic()
        told = answered(lines, 1.0)
        ready = [server.get("/ready") for _ in range(20)]
        back = until(lambda: len(pids(server)) == 3 and victim not in pids(server))
        until(lambda: load.right > rate * 3)
    assert {(answer.status, answer.headers["retry-after"], answer.headers["connection"]) for answer in told.values()} == {
        (503, "1", "close")
    }
    assert {json.loads(answer.body)["code"] for answer in told.values()} == {"child-died"}
    assert 1 <= len(told) < CONNECTIONS, "its own, and nobody else's"
    assert not any(line.closed for line in lines if line not in told)
    assert set(ready) == {b"ready\n"}
    assert back < 5
    assert len(load.lost) <= 3, load.told()  # what it was just answering
    assert b"aweigh_worker_deaths_total 1\n" in server.get("/metrics")
    assert all(each.status == "503" and each.retry_after and each.ended < killed + 1 for each in load.lost), load.told()
    assert sorted(worker["restarts"] for worker in status(server)["workers"]) == [0, 0, 1]
    leaks.check(memory=0.1)
    assert server.end() == 0


def test_01_clients_that_ask_without_pause_lose_only_what_the_worker_held(start: Start) -> None:
    server = start("linear", "--workers", "2")
    before = pids(server)
    leaks = Leaks(server)
    with Load(server, users=8) as load:
        until(lambda: load.right > 200)
        kill(before[1])
        until(lambda: len(pids(server)) == 2 and before[1] not in pids(server))
        until(lambda: load.right > 1000)
    assert len(load.lost) <= 4, load.told()  # one on each of its connections at most, and those are shared out evenly
    assert not load.of("wrong"), load.told()
    assert "killed by SIGKILL" in {worker["last_end"] for worker in status(server)["workers"]}
    leaks.check(memory=0.1)


def test_01_grpc_clients_of_a_killed_worker_see_unavailable_and_go_on(start: Start) -> None:
    server = start("linear", "--workers", "2")
    victim = pids(server)[0]
    with Load(server, rate=100, protocol="grpc") as load:
        until(lambda: load.right > 50)
        kill(victim)
        until(lambda: load.right > 300)
    assert {each.kind for each in load.lost} <= {"closed", "reset", "unprocessed"}, load.told()  # UNAVAILABLE, as gRPC's clients say it
    assert len(load.lost) <= 10, load.told()


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_02_workers_that_are_all_killed_again_and_again_are_paused_and_someone_answers_meanwhile(start: Start, seconds: int) -> None:
    server = start("linear", "--workers", "2")
    leaks = Leaks(server)
    answers: set[int] = set()
    states: set[str] = set()
    template = template_of(server)
    with Load(server, rate=50, timeout_s=5) as load:
        end, pause_s = time.monotonic() + seconds, 2.0 if seconds > 10 else 0.3
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                found = status(server)["workers"]
                states |= {worker["state"] for worker in found}
            for pid in children(template):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)
            until_s = time.monotonic() + pause_s
            while time.monotonic() < until_s:
                answers |= {health(server, "/live"), health(server, "/ready")}
                time.sleep(0.05)
    assert server.process.poll() is None
    assert answers <= {0, 200, 503}  # 0: it was being answered by a worker that was killed
    assert {200, 503} <= answers
    assert "a worker dies again and again: a pause" in "".join(server.log)
    assert not load.of("wrong"), load.told()
    assert not load.of("timeout"), load.told()
    until(lambda: len(pids(server)) == 2, 30)
    assert health(server, "/ready") == 200
    leaks.check(memory=0.1)


def health(server: Served, path: str) -> int:
    """The status; 0 without an answer."""
    try:
        with Line(server) as line:
            line.send(get(path, "Connection: close"))
            return line.receive(5).status
    except (OSError, AssertionError):
        return 0


@pytest.mark.parametrize("how", ["stopped", "interpreter lock held"])
def test_03_and_04_a_worker_that_hangs_is_seen_within_a_second_its_callers_told_504_and_it_is_replaced(
    start: Start, orders: Faults, how: str
) -> None:
    server = start("linear", "trouble", "--workers", "2")
    leaks = Leaks(server)
    with contextlib.ExitStack() as stack, Load(server, rate=100) as load:
        until(lambda: load.right > 50)
        lines = held(server, stack)
        victim, other = pids(server)
        began = time.monotonic()
        if how == "stopped":
            kill(victim, signal.SIGSTOP)
        else:
            orders.hold(victim, 30)
        health_s = [timed(server) for _ in range(4)]
        until(lambda: not alive(victim), 5)
        took = time.monotonic() - began
        told = answered(lines, 1.0)
        until(lambda: victim not in pids(server) and len(pids(server)) == 2)
        until(lambda: load.right > 400)
    assert {(answer.status, json.loads(answer.body)["code"]) for answer in told.values()} == {(504, "deadline-exceeded")}
    assert 1 <= len(told) < CONNECTIONS
    assert took < 2 * HANG_S, "within twice the time that a worker may stand still"
    assert min(health_s) < 0.1, "the other worker answers all the while"
    assert {each.status for each in load.lost} <= {"504"}, load.told()
    assert len(load.lost) <= 2, load.told()  # what it was just answering; what it had not read, the other one answers
    assert other in pids(server)
    assert any("stood still" in worker["last_end"] for worker in status(server)["workers"])
    leaks.check(memory=0.1)


def timed(server: Served) -> float:
    """How long health takes, on a connection of its own; 2 s where it takes longer."""
    began = time.monotonic()
    with contextlib.suppress(TimeoutError), Line(server) as line:
        line.send(get("/live"))
        line.read_until(lambda: bool(line.got), 2)
    return time.monotonic() - began


def test_03_other_workers_answer_while_one_is_stopped_and_then_for_it(start: Start) -> None:
    server = start("linear", "--workers", "2", "--hang-timeout-s", "20")
    with contextlib.ExitStack() as stack:
        lines: list[Line] = []

        def opened_on_both() -> bool:
            lines.append(stack.enter_context(Line(server)))
            lines[-1].send(get("/live"))
            assert lines[-1].receive().body == b"live\n"
            return min(worker["connections"] for worker in status(server)["workers"]) >= 3  # one may be that of this look

        until(opened_on_both)
        stopped = pids(server)[0]
        kill(stopped, signal.SIGSTOP)
        for line in lines:
            line.send(post("/v2/models/linear/infer"))
        others = answered(lines, 1.5)
        waiting = [line for line in lines if line not in others]
        assert min(len(others), len(waiting)) >= 2, "connections are shared out"
        kill(stopped)
        found = answered(waiting, 3)
    assert len(found) == len(waiting), "it had not read them: the other one answers them"
    assert {answer.status for answer in [*others.values(), *found.values()]} == {200}

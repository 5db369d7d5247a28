"""B.3, 8 to 11: a server that is told to end, once or twice, under load, while it loads or unloads; and one whose parent process is killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from tests.faults.asking import Asking
from tests.faults.conftest import Start
from tests.faults.leaks import family
from tests.faults.load import Load
from tests.serving.kit import INFER, Answer, get, infer_message, post
from tests.serving.served import AWEIGH, Served
from tests.serving.trouble import MAGIC, TROUBLES
from tests.serving.workers import alive, kill, until
from tests.threats.siege import Frames, Line

DEAR = "/v2/models/dear/infer"
ONE = ("--workers", "1")
TWO = ("--workers", "2")
SLACK_S = 1.0
"""How much later than its grace a server may end (B.3, 9), and half as much again for a machine that has other things to do."""
BUSY = 1.5


def asleep(seconds: float) -> bytes:
    """A request of `trouble` that takes so long."""
    row = [MAGIC, TROUBLES["sleep"], seconds, 0.0]
    return json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": row}]}).encode()


def in_flight(server: Served, model: str) -> int:
    text = server.get("/metrics").decode()
    return sum(
        int(line.split()[-1]) for line in text.splitlines() if line.startswith("aweigh_requests_in_flight{") and f'"{model}"' in line
    )


def sent(server: Served, stack: contextlib.ExitStack, count: int, request: bytes) -> list[Line]:
    """Connections with one request each."""
    lines = [stack.enter_context(Line(server)) for _ in range(count)]
    for line in lines:
        line.send(request)
    return lines


def statuses(server: Served, *paths: str) -> list[int]:
    """On a connection of its own each."""
    found = []
    for path in paths:
        with Line(server) as line:
            line.send(get(path, "Connection: close"))
            found.append(line.receive().status)
    return found


def ends_within(server: Served, seconds: float) -> int:
    began = time.monotonic()
    code = server.process.wait(15)
    assert time.monotonic() - began < seconds, "".join(server.log[-5:])
    return code


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_08_sigterm_with_a_hundred_in_flight_and_new_arrivals_loses_nothing(start: Start, how: tuple[str, ...]) -> None:
    server = start(
        "dear",
        "linear",
        *how,
        "--batching",
        "off",
        "--executor",
        "thread",
        "--threads",
        "1",
        "--max-queue",
        "1000",
        "--drain-delay-s",
        "1.5",
    )
    own = [pid for pid in family(server.process.pid) if pid != server.process.pid]
    with contextlib.ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(server.target))
        call = channel.unary_unary(INFER)
        calls = [call.future(infer_message(name="dear").SerializeToString(), timeout=20) for _ in range(30)]
        lines = sent(server, stack, 70, post(DEAR))
        half, idle, frames = stack.enter_context(Line(server)), stack.enter_context(Line(server)), stack.enter_context(Frames(server))
        half.send(post(DEAR)[:-10])
        frames.call(1)
        assert frames.status(1) == 0
        with Load(server, rate=50) as load:
            until(lambda: load.right > 10)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: "draining" in "".join(server.log), 2)
            time.sleep(0.1)  # until every worker has heard it
            assert statuses(server, "/live", "/ready", "/v2/health/ready", "/v2/health/live") == [200, 503, 400, 200]  # 400 is V2's own
            with Line(server) as arriving:
                arriving.send(post(DEAR))
                assert arriving.receive().status == 200
            time.sleep(0.5)
        half.send(post(DEAR)[-10:])
        found = [line.receive() for line in [*lines, half]]
        assert {each.status for each in found} == {200}
        assert all(future.result(20) for future in calls)
        frames.wait_for(lambda: any(kind == 7 for kind, *_ in frames.frames))
        assert idle.rest() == b""
        assert not load.lost, load.told()
        assert server.process.wait(15) == 0
    assert not any(map(alive, own))


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_08_clients_that_keep_asking_lose_nothing(start: Start, how: tuple[str, ...]) -> None:
    server = start("linear", *how, "--drain-delay-s", "1")
    with Load(server, users=4) as load, Load(server, rate=100, protocol="grpc") as calls:
        until(lambda: load.right > 50 and calls.right > 20)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: statuses(server, "/ready") == [503], 3)  # a load balancer asks no more then
        for each in (load, calls):
            each._clients.stopping.set()
    assert not load.lost, load.told()
    assert {each.kind for each in calls.lost} <= {"unprocessed"}, calls.told()
    assert server.process.wait(15) == 0


def test_08_a_call_that_runs_in_a_process_is_finished(start: Start) -> None:
    server = start("trouble")
    own = [pid for pid in family(server.process.pid) if pid != server.process.pid]
    with contextlib.ExitStack() as stack:
        [line] = sent(server, stack, 1, post("/v2/models/trouble/infer", asleep(0.6)))
        time.sleep(0.2)
        for pid in (server.process.pid, *own):  # as a service manager does it
            kill(pid, signal.SIGTERM)
        assert line.receive().status == 200
    assert server.process.wait(15) == 0
    assert not any(map(alive, own))


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_09_what_exceeds_the_grace_is_answered_503_at_its_end(start: Start, how: tuple[str, ...]) -> None:
    grace_s = 1.0
    server = start("trouble", *how, "--drain-timeout-s", str(grace_s))
    own = [pid for pid in family(server.process.pid) if pid != server.process.pid]
    with contextlib.ExitStack() as stack:
        lines = sent(server, stack, 4, post("/v2/models/trouble/infer", asleep(20)))
        frames = stack.enter_context(Frames(server))
        asked = infer_message((MAGIC, TROUBLES["sleep"], 20.0, 0.0), name="trouble").SerializeToString()
        frames.call(1, b"\0" + len(asked).to_bytes(4, "big") + asked)
        until(lambda: in_flight(server, "trouble") >= 3)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        found: list[Answer] = [line.receive() for line in lines]
        told_s = time.monotonic() - began
        assert frames.status(1) == 14
        assert server.process.wait(15) == 0
        assert time.monotonic() - began < (grace_s + SLACK_S) * BUSY
    assert {(each.status, each.headers["retry-after"]) for each in found} == {(503, "1")}
    assert grace_s * 0.9 < told_s < grace_s * BUSY + 0.5
    assert not any(map(alive, own))


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_09_a_call_that_native_code_keeps_ends_with_the_grace_too(start: Start, how: tuple[str, ...]) -> None:
    server = start("lasting", *how, "--executor", "thread", "--batching", "off", "--drain-timeout-s", "0.5")
    body = json.dumps({"inputs": [{"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [7777.0]}]}).encode()
    with contextlib.ExitStack() as stack:
        [line] = sent(server, stack, 1, post("/v2/models/lasting/infer", body))
        until(lambda: in_flight(server, "lasting") == 1)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert line.receive().status == 503
        assert server.process.wait(15) == 0, "".join(server.log)
        assert time.monotonic() - began < (0.5 + SLACK_S) * BUSY


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_09_a_second_sigterm_is_obeyed_at_once(start: Start, how: tuple[str, ...]) -> None:
    server = start("trouble", *how, "--drain-delay-s", "30")
    own = [pid for pid in family(server.process.pid) if pid != server.process.pid]
    with contextlib.ExitStack() as stack:
        sent(server, stack, 2, post("/v2/models/trouble/infer", asleep(20)))
        until(lambda: in_flight(server, "trouble") == 2)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in "".join(server.log), 3)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 128 + signal.SIGTERM
        assert time.monotonic() - began < SLACK_S * BUSY
    until(lambda: not any(map(alive, own)), 2)


@pytest.mark.parametrize("how", [ONE, ("--workers", "3")], ids=["one-process", "three-workers"])
@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.3])
def test_10_sigterm_while_models_load_leaves_nothing_behind(home: Path, how: tuple[str, ...], after_s: float) -> None:
    words = [str(AWEIGH), "serve", "trouble", "linear", "--port", "0", *how]
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home)}
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    segments = set(Path("/dev/shm").iterdir())
    time.sleep(after_s)
    own = family(process.pid)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=15)
    assert process.returncode in {0, -signal.SIGTERM}, said  # before it has begun, as any program
    until(lambda: not any(map(alive, own)), 3)
    assert "Traceback" not in said, said
    assert set(Path("/dev/shm").iterdir()) <= segments


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_10_sigterm_during_a_load_or_unload_leaves_nothing_behind(start: Start, how: tuple[str, ...], verb: str) -> None:
    server = start("linear", "trouble", *how, "--drain-timeout-s", "3")
    own: list[int] = []
    with contextlib.ExitStack() as stack:
        if verb == "load":
            [first] = sent(server, stack, 1, post("/v2/repository/models/trouble/unload", b"{}"))
            assert first.receive().status == 200
        [line] = sent(server, stack, 1, post(f"/v2/repository/models/trouble/{verb}", b"{}"))
        time.sleep(0.15 if verb == "load" else 0.0)
        own = family(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError, TimeoutError):
            assert line.receive().status in {200, 503}
        assert server.process.wait(15) == 0, "".join(server.log)
    until(lambda: not any(map(alive, own)), 3)
    assert "Traceback" not in "".join(server.log)


def can_be_taken(port: int) -> bool:
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        return True


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one-process", "two-workers"])
def test_11_with_a_killed_parent_everything_dies_and_a_restart_serves_the_same(start: Start, how: tuple[str, ...]) -> None:
    server = start("linear", "trouble", *how, "--processes", "2")
    with Load(server, rate=50) as load, Load(server, Asking("trouble"), rate=5):
        until(lambda: load.right > 5 and len(family(server.process.pid)) > 2)
        own = family(server.process.pid)
        ours = set(own) - {server.process.pid}
        assert len(ours) >= 2
        assert os.getpgid(server.process.pid) not in map(os.getpgid, ours), "Ctrl-C at a terminal must not reach them"
        segments = set(Path("/dev/shm").iterdir())
        kill(server.process.pid)
        until(lambda: not any(map(alive, own)), 3)
    until(lambda: can_be_taken(server.port), 2)  # a process whose first thread has ended may still be closing its files
    assert server.process.wait(5) == -signal.SIGKILL
    assert set(Path("/dev/shm").iterdir()) <= segments
    again = start("linear", "trouble", *how)
    with Load(again, rate=50) as after:
        until(lambda: after.right > 20)
    assert after.versions().keys() == load.versions().keys() == {"1"}
    assert not after.lost, after.told()

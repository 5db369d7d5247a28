"""B.3, 2 and 4 to 7: model code that dies again and again, loops, crashes, takes all memory, or leaves. It costs its own request and its own process."""

import contextlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.asking import Asking
from tests.faults.leaks import Leaks
from tests.faults.load import Load, capacity
from tests.serving.models import WEIGHTS
from tests.serving.served import Served
from tests.serving.trouble import MAGIC, TROUBLES
from tests.serving.workers import kill, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LIMIT_S = 2.0
HEALTH_S = 0.1
"""Within which health is answered whatever a model does (B.3, 4); as a median, since the machine has other things to do."""
WORSE = 1.2
"""How much longer the neighbour's slowest requests may take while a model keeps dying (B.3, 2)."""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Served]:
    """One for all: each leaves it as it was, which each checks."""
    served = Served(home, "linear", "trouble", "--request-timeout-s", str(LIMIT_S), "--child-memory-bytes", str(1024 << 20))
    yield served
    assert served.end() == 0, served.log


class Reply:
    def __init__(self, status: int, headers: Any, body: bytes, took_s: float) -> None:
        self.status, self.headers, self.took_s = status, headers, took_s
        self.body = json.loads(body or b"{}")


def post(server: Served, name: str, row: list[float]) -> Reply:
    body = json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": row}]}).encode()
    request = urllib.request.Request(f"http://{server.target}/v2/models/{name}/infer", data=body)
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Reply(answer.status, answer.headers, answer.read(), time.monotonic() - started)
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read(), time.monotonic() - started)


def ask(server: Served, trouble: str) -> Reply:
    return post(server, "trouble", [MAGIC, TROUBLES[trouble], 0, 0])


def status(server: Served, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{server.target}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def facts(server: Served) -> dict[str, str]:
    parameters = json.loads(server.get("/v2/models/trouble/config"))["parameters"]
    return {name: value["string_value"] for name, value in parameters.items()}


def pids(server: Served) -> list[int]:
    return [int(pid) for pid in facts(server)["process_pids"].split()]


def answers_again(server: Served, within_s: float = 15) -> None:
    end = time.monotonic() + within_s
    while (reply := post(server, "trouble", [1, 2, 3, 4])).status != 200:
        assert time.monotonic() < end, reply.body
        assert reply.status in {503, 504}, "a machine that is busy takes its time to start a process"
        time.sleep(0.05)
    outputs = {output["name"]: output["data"] for output in reply.body["outputs"]}
    np.testing.assert_allclose(np.array(outputs["scores"]), np.array([1, 2, 3, 4]) @ WEIGHTS)


# status, and whether the process is replaced
EXPECTED = {
    "04-loop": ("loop", 504, True),
    "05-segfault": ("segfault", 503, True),
    "06-memory": ("memory", 503, True),
    "06-one-allocation": ("one-allocation", 503, True),
    "06-memory-error": ("memory-error", 503, True),
    "07-exit": ("exit", 503, True),
    "07-sys.exit": ("sys.exit", 500, False),
    "07-base": ("base", 500, False),
    "07-recursion": ("recursion", 500, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_04_to_07_whatever_a_model_does_costs_its_own_request_alone(server: Served, name: str) -> None:
    trouble, code, replaced = EXPECTED[name]
    answers_again(server)
    assert facts(server)["executor"] == "process"
    before = facts(server)
    leaks = Leaks(server)
    health: list[float] = []
    with Load(server, rate=50) as load:
        until(lambda: load.right)
        with Load(server, Asking("trouble", [MAGIC, TROUBLES[trouble], 0, 0]), users=1, timeout_s=LIMIT_S + 3) as asking:
            while not asking.all:
                health.append(timed_health(server))
        reply = asking.all[0]
        answers_again(server)
    assert reply.status == str(code), asking.told()
    assert reply.retry_after == (code == 503)
    assert reply.latency_s < LIMIT_S + 1.5
    assert reply.latency_s >= LIMIT_S or trouble != "loop"
    assert float(np.median(health)) < HEALTH_S, health
    assert not load.lost, load.told()
    assert status(server, "/live") == status(server, "/ready") == 200
    after = facts(server)
    assert (int(after["process_restarts"]) > int(before["process_restarts"])) == replaced
    assert "model 'trouble'" in after["process_last_death"] or not replaced
    [told] = [each for each in json.loads(server.get("/status"))["models"] if each["facts"]["name"] == "trouble"]
    assert told["processes"][0]["pids"] == pids(server)
    leaks.check()


def timed_health(server: Served) -> float:
    """How long health takes now."""
    began = time.monotonic()
    assert status(server, "/live") == 200
    return time.monotonic() - began


def test_07_a_recursion_without_end_is_answered(server: Served) -> None:
    answers_again(server)
    leaks = Leaks(server)
    assert ask(server, "deep-recursion").status in {500, 503, 504}, "the stack's end, or that of memory, or of time"
    answers_again(server)
    leaks.check()


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.soak)])
def test_02_a_model_that_is_killed_again_and_again_disturbs_nobody(server: Served, seconds: int) -> None:
    answers_again(server)
    rate = min(200.0, capacity(server, seconds=1) / 2)
    leaks = Leaks(server)
    calm, killing = [], []
    paused = unready = refused = 0
    with Load(server, rate=rate) as load:
        time.sleep(0.5)
        end = time.monotonic() + seconds
        while time.monotonic() < end or (len(calm) < 12 and ratio(load, calm, killing) > WORSE):
            calm.append(window(1.0))
            began = time.monotonic()
            while time.monotonic() < began + 1.0:
                for pid in pids(server):
                    kill_if_there(pid)
                time.sleep(0.1)
            killing.append((began, time.monotonic()))
            unready += status(server, "/v2/models/trouble/ready") != 200
            said = post(server, "trouble", [1, 2, 3, 4])
            refused += said.status == 503 and "died" in said.body["error"]
            paused += "times in a row and starts again in" in said.body.get("error", "")
            assert status(server, "/ready") == status(server, "/v2/models/linear/ready") == 200
            time.sleep(0.3)
    assert server.process.poll() is None
    assert min(unready, refused, paused) > 0, "it is marked, it is said, and it is paused longer each time"
    assert not load.lost, load.told()
    assert ratio(load, calm, killing) <= WORSE
    answers_again(server, within_s=45)  # the longest pause is 30 s
    assert status(server, "/v2/models/trouble/ready") == 200
    leaks.check()


def window(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def ratio(load: Load, calm: list[tuple[float, float]], killing: list[tuple[float, float]]) -> float:
    """Of the neighbour's 99th percentiles: the median over the windows in which processes were killed, to that of the others."""
    if not calm:
        return float("inf")
    before, during = (float(np.median([load.percentile_s(99, since=a, until=b) for a, b in windows])) for windows in (calm, killing))
    return during / before


def kill_if_there(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        kill(pid)

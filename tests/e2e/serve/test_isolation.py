"""Models that misbehave, in a real server: each costs its own request and its own process; everyone else is answered as if nothing had happened."""

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from tests.serving.models import WEIGHTS, linear
from tests.serving.served import Served
from tests.serving.trouble import HOOK, MAGIC, TROUBLES

import aweigh

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LIMIT_S = 2.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear`, and `trouble`: the same model behind a hook that misbehaves when asked to."""
    folder = tmp_path_factory.mktemp("isolation")
    (folder / "trouble_hook.py").write_text(HOOK)
    sys.path.insert(0, str(folder))
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    try:
        aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
        aweigh.pack(str(linear(folder)), "trouble", sample=sample, pre="trouble_hook:pre", home=str(folder / "home"))
    finally:
        sys.path.remove(str(folder))
    return folder / "home"


@pytest.fixture
def server(home: Path) -> Iterator[Served]:
    served = Served(home, "linear", "trouble", "--request-timeout-s", str(LIMIT_S), "--child-memory-bytes", str(1024 << 20))
    yield served
    served.end()


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


class Others:
    """Somebody who uses the other model all the while."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._use)
        self.took_s: list[float] = []
        self.failures: list[Reply] = []

    def _use(self) -> None:
        while not self._stop.is_set():
            reply = post(self._server, "linear", [1, 2, 3, 4])
            self.took_s.append(reply.took_s)
            if reply.status != 200:
                self.failures.append(reply)
            time.sleep(0.004)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.took_s, 99))


def open_files(server: Served) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def zombies(server: Served) -> list[str]:
    pid = server.process.pid
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            state = Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0]
            if state == "Z":
                found.append(child)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_whatever_a_model_does_costs_its_own_request_alone(server: Served) -> None:
    answers_again(server)
    told = facts(server)
    assert told["executor"] == "process"
    assert "code of its own" in told["executor_reason"]
    with Others(server) as before:
        time.sleep(1.0)
    files = open_files(server)
    expected = {
        "segfault": 503, "exit": 503, "memory": 503, "one-allocation": 503, "memory-error": 503,
        "loop": 504, "sys.exit": 500, "base": 500, "recursion": 500, "value": 400,
    }  # fmt: skip
    with Others(server) as during:
        for trouble, code in expected.items():
            reply = ask(server, trouble)
            assert (trouble, reply.status) == (trouble, code), reply.body
            assert (reply.headers["retry-after"] is not None) == (code == 503)
            assert reply.took_s < LIMIT_S + 1.5, trouble
            assert reply.took_s >= LIMIT_S or trouble != "loop"
            assert status(server, "/live") == status(server, "/ready") == 200
            answers_again(server)
        deep = ask(server, "deep-recursion")
        assert deep.status in {500, 503, 504}
        answers_again(server)
    assert not during.failures
    assert during.p99_s < max(5 * before.p99_s, 0.1), (before.p99_s, during.p99_s)
    assert int(facts(server)["process_restarts"]) >= 5
    [told_of] = [each for each in json.loads(server.get("/status"))["models"] if each["facts"]["name"] == "trouble"]
    assert told_of["processes"][0]["pids"] == pids(server)
    assert "model 'trouble'" in facts(server)["process_last_death"]
    assert zombies(server) == []
    assert abs(open_files(server) - files) <= 2


def test_a_model_that_keeps_dying_is_not_ready_and_the_server_is(server: Served) -> None:
    answers_again(server)
    end = time.monotonic() + 30
    while status(server, "/v2/models/trouble/ready") == 200:
        assert time.monotonic() < end
        assert ask(server, "exit").status == 503
    refused = post(server, "trouble", [1, 2, 3, 4])
    assert refused.status == 503
    assert "died" in refused.body["error"]
    assert refused.took_s < 0.5
    assert status(server, "/ready") == status(server, "/v2/models/linear/ready") == 200
    answers_again(server)
    assert status(server, "/v2/models/trouble/ready") == 200


def test_processes_end_with_their_server_however_it_ends(home: Path) -> None:
    server = Served(home, "trouble", "--processes", "2", "--executor", "process")
    answers_again(server)
    end = time.monotonic() + 15
    while len(children := pids(server)) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert all(os.getpgid(pid) != os.getpgid(server.process.pid) for pid in children), "Ctrl-C in a terminal must not reach them"
    segments = set(Path("/dev/shm").iterdir())
    server.end(signal.SIGKILL)
    end = time.monotonic() + 5
    while any(map(alive, children)):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert set(Path("/dev/shm").iterdir()) == segments


def test_a_drain_lets_a_running_call_finish(home: Path) -> None:
    server = Served(home, "trouble")
    answers_again(server)
    children = pids(server)
    replies: list[Reply] = []
    asking = threading.Thread(target=lambda: replies.append(ask(server, "slow")))
    asking.start()
    time.sleep(0.1)
    assert server.end() == 0, server.log
    asking.join()
    assert [reply.status for reply in replies] == [200]
    assert not any(map(alive, children))

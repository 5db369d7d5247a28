"""A model with another to fall back on: its process is killed, it fails, is too slow, has too much to do. The other answers, and nothing is lost.

Not in the numbered list of B.3: what S4 promises beside it, a fallback model per deployment for when the first choice is down or out of time.
"""

import http.client
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.faults.asking import ROW, SCORES, Asking
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.serving.served import AWEIGH, Served
from tests.serving.trouble import MAGIC, TROUBLES

FALLBACK = ("trouble", "linear", "--fallback", "trouble=linear")
SLOW = (MAGIC, float(TROUBLES["sleep"]), 1.0, 0.0)
DEADLY = (MAGIC, float(TROUBLES["exit"]), 0.0, 0.0)


def ask(server: Served, row: Sequence[float] = ROW, *, path: str = "/v2/models/trouble/infer") -> tuple[str, float]:
    """The model that answered, and the seconds that took."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    began = time.monotonic()
    tensor = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": list(row)}
    connection.request("POST", path, json.dumps({"inputs": [tensor]}))
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, said
    return said["model_name"], time.monotonic() - began


def fallback_of(server: Served) -> dict[str, Any]:
    return dict(json.loads(server.get("/status"))["fallbacks"][0])


def taken(server: Served) -> int:
    lines = server.get("/metrics").decode().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith('aweigh_fallback_total{model="trouble",fallback="linear"}')))


def kill_its_process(server: Served) -> None:
    """The process that the first choice runs in, if it has one now."""
    config = json.loads(server.get("/v2/models/trouble/config"))
    for pid in config["parameters"]["process_pids"]["string_value"].split():
        os.kill(int(pid), signal.SIGKILL)


def until(true: Any, within_s: float = 10.0) -> None:
    limit = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=pytest.mark.slow)])
def test_killed_again_and_again_nothing_is_lost(start: Start, protocol: str) -> None:
    server = start(*FALLBACK, "--fallback-after-ms", "50")
    assert ask(server)[0] == "trouble"
    leaks = Leaks(server)
    with Load(server, Asking("trouble", right=SCORES), users=4, protocol=protocol) as load:
        until(lambda: load.right > 50)
        for _ in range(4):
            kill_its_process(server)
            time.sleep(0.3)
    assert not load.lost, load.told()
    assert load.ends().keys() == {"ok 200" if protocol == "http" else "ok OK"}, load.told()
    assert taken(server) > 0
    until(lambda: ask(server)[0] == "trouble")
    leaks.check()


def test_too_slow_opens_the_circuit_and_a_probe_closes_it(start: Start) -> None:
    server = start(*FALLBACK, "--fallback-after-ms", "100", environment={"AWEIGH_FALLBACK_FAILURES": "2", "AWEIGH_FALLBACK_PAUSE_S": "1.5"})
    for number in range(2):
        model, seconds = ask(server, SLOW)
        assert (model, seconds < 0.9) == ("linear", True), (number, seconds)
    assert fallback_of(server) == {"name": "trouble", "other": "linear", "circuit": "open", "taken": 2}
    model, seconds = ask(server)
    assert (model, seconds < 0.1) == ("linear", True), "while the circuit is open nobody waits"
    time.sleep(1.6)
    assert ask(server)[0] == "trouble", "the probe"
    assert ask(server)[0] == "trouble"
    assert fallback_of(server)["circuit"] == "closed"
    shown = subprocess.run(
        [str(AWEIGH), "status"], env={"PATH": "/usr/bin:/bin", "AWEIGH_PORT": str(server.port)}, capture_output=True, text=True, timeout=30, check=True
    ).stdout  # fmt: skip
    assert "trouble falls back on linear: circuit closed, 3 requests so far" in shown


def test_a_probe_that_fails_opens_it_again(start: Start) -> None:
    server = start(*FALLBACK, "--fallback-after-ms", "100", environment={"AWEIGH_FALLBACK_FAILURES": "1", "AWEIGH_FALLBACK_PAUSE_S": "0.5"})
    assert ask(server, SLOW)[0] == "linear"
    time.sleep(1.1)  # the first choice is done with that, too
    assert ask(server, SLOW)[0] == "linear", "the probe is answered as well"
    model, seconds = ask(server)
    assert (model, seconds < 0.1) == ("linear", True)
    assert fallback_of(server)["circuit"] == "open"


def test_a_request_that_kills_its_model_is_answered_over_grpc(start: Start) -> None:
    server = start(*FALLBACK)
    with triton_grpc.InferenceServerClient(server.target) as client:
        given = triton_grpc.InferInput("X", [1, 4], "FP32")
        given.set_data_from_numpy(np.array([DEADLY], np.float32))
        answer = client.infer("trouble", [given])
    assert answer.get_response().model_name == "linear"


def test_overloaded_the_other_answers(start: Start) -> None:
    server = start(*FALLBACK, "--max-queue", "1")
    with ThreadPoolExecutor(8) as pool:
        answered = Counter(model for model, _ in pool.map(lambda _: ask(server, (*SLOW[:2], 0.4, 0.0)), range(8)))
    assert answered["trouble"] >= 1
    assert answered["linear"] >= 4
    assert sum(answered.values()) == 8


def test_a_mistake_of_the_caller_is_the_callers(start: Start) -> None:
    server = start(*FALLBACK)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    connection.request("POST", "/v2/models/trouble/infer", json.dumps({"inputs": [tensor]}))
    assert connection.getresponse().status == 400
    connection.close()
    assert taken(server) == 0
    assert ask(server, path="/v2/models/trouble/versions/1/infer")[0] == "trouble"


def test_several_workers_count_together(start: Start) -> None:
    server = start(*FALLBACK, "--fallback-after-ms", "50", "--workers", "2")
    with Load(server, Asking("trouble", right=SCORES), users=4) as load:
        until(lambda: load.right > 50)
        for _ in range(3):
            kill_its_process(server)
            time.sleep(0.3)
    assert not load.lost, load.told()
    counts = {taken(server) for _ in range(6)}  # whichever worker answers
    assert len(counts) == 1
    assert counts.pop() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trouble", "--fallback", "trouble=linear"), "setting 'fallback' names 'linear', which is not served"),
        (("trouble", "words", "--fallback", "trouble=words"), "'words' cannot stand in for 'trouble': it has no input 'X'"),
        (("linear", "dear", "--fallback", "linear=dear", "--workers", "2"), "'dear' cannot stand in for 'linear': it has no output 'best'"),
        (("linear", "--fallback", "linear"), "setting 'fallback' holds 'linear': that names one model"),
        (("linear", "--fallback", "linear=linear"), "lets 'linear' stand in for itself"),
    ],
)
def test_what_cannot_stand_in_is_refused_at_the_start(home: Path, words: tuple[str, ...], message: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "AWEIGH_HOME": str(home)}
    command = [str(AWEIGH), "serve", *words, "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert message in done.stderr

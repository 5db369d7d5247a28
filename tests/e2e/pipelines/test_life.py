"""Pipelines come and go while the server runs: nothing is lost, nothing stays behind, and those that share a session do not notice."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import AweighError

Serve = Callable[..., Served]


def post(server: Served, path: str, body: object = None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body or {}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """The processes below it that live."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def settled(pid: int, count: int) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if len(children(pid)) == count:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("words", [pytest.param((), marks=pytest.mark.slow), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_new_version_takes_over_under_load_and_the_old_one_leaves_nothing(
    serve: Serve, copied: Path, folder: Path, data: np.ndarray, expected: dict[str, np.ndarray], words: tuple[str, ...]
) -> None:
    server, wrong, done = serve("tree", "checkout:1", *words, store=copied), [], threading.Event()
    raw = data * np.float32(100)

    def ask() -> None:
        with aweigh.Client(server.url, retries=0) as client:
            at = 0
            while not done.is_set():
                at = (at + 1) % 100
                try:
                    found = client.infer("checkout", {"raw": raw[at : at + 1]})["label"]
                except AweighError as error:
                    wrong.append(error)
                    return
                if found.tolist() != expected["label"][at : at + 1].tolist():
                    wrong.append(at)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    before = len(children(server.process.pid))
    package = aweigh.pack(str(folder / "checkout.toml"), "checkout", sample=str(folder / "raw.npy"), trust=True, home=str(copied))
    for _ in range(2):
        post(server, "/v2/repository/models/checkout/load", {"parameters": {"version": str(package.reference.version)}})
    done.set()
    for asker in askers:
        asker.join()
    assert not wrong
    assert settled(server.process.pid, before), "the processes of the versions before are gone"
    post(server, "/v2/repository/models/checkout/unload")
    with aweigh.Client(server.url) as client:
        assert client.infer("tree", {"X": data[:3]})["label"].shape == (3,), "the session that they shared is still there"
    assert settled(server.process.pid, before - (2 if words else 1)), "the functions' processes went with the pipeline"


def test_the_log_tells_whose_requests_came_to_each_step(serve: Serve, data: np.ndarray) -> None:
    for words in ((), ("--functions", "server")):
        server = serve("checkout", "--log-level", "debug", *words)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        request = {"inputs": [{"name": "raw", "shape": [1, 6], "datatype": "FP32", "data": [float(each) for each in data[0]]}]}
        connection.request("POST", "/v2/models/checkout/infer", json.dumps(request), {"X-Request-Id": "who-asked"})
        answer = connection.getresponse()
        assert answer.read()
        told = answer.getheader("x-request-id") or "who-asked"
        connection.close()
        until, lines = time.monotonic() + 5, []
        while len(lines) < 3 and time.monotonic() < until:
            lines = [line for line in map(_read, list(server.log)) if line.get("event") == "step"]
            time.sleep(0.05)
        assert {"scale", "linear", "tree"} <= {line["step"] for line in lines}
        assert {line["request_id"] for line in lines} == {told}
        assert {line["pipeline"] for line in lines} == {"checkout"}


def _read(line: str) -> dict[str, str]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}

"""Several workers behave as one server: they are relieved when they grow, replaced on request, and load models for all or none. (Deaths: tests/faults.)"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.kit import BODY
from tests.serving.served import AWEIGH, Served
from tests.serving.workers import Counting, Faults, alive, kill, pids, status, until

import aweigh

Start = Callable[..., Served]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@pytest.fixture
def start(home: Path, faults: Faults) -> Iterator[Start]:
    """Starts servers whose processes do as `faults` says, and ends them."""
    started: list[Served] = []

    def begin(*words: str, where: Path = home) -> Served:
        started.append(Served(where, *words, environment=faults.environment))
        return started[-1]

    yield begin
    for server in started:
        server.end()


@pytest.mark.slow
def test_a_worker_beyond_its_memory_is_relieved_without_loss_and_far_beyond_it_killed(start: Start, faults: Faults) -> None:
    server = start("linear", "--workers", "2", "--worker-memory-bytes", str(200 * 2**20))
    before = pids(server)
    with Counting(server, 4) as clients:
        faults.grow(before[0], 170 * 2**20)
        until(lambda: before[0] not in pids(server) and len(pids(server)) == 2)
    assert (set(clients.statuses), clients.lost, clients.refused) == ({200}, 0, 0)
    until(lambda: not alive(before[0]))
    assert any("bytes of memory" in worker["last_end"] for worker in status(server)["workers"])
    began = time.monotonic()
    faults.grow(before[1], 400 * 2**20)
    until(lambda: not alive(before[1]))
    assert time.monotonic() - began < 2
    until(lambda: len(pids(server)) == 2)


@pytest.mark.slow
def test_sighup_replaces_every_worker_without_loss(start: Start) -> None:
    server = start("linear", "--workers", "2")
    before = pids(server)
    with Counting(server, 4) as clients:
        until(lambda: clients.answered > 50)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(pids(server)) == 2 and not set(before) & set(pids(server)), 20)
        until(lambda: not any(map(alive, before)))
    assert (set(clients.statuses), clients.lost, clients.refused) == ({200}, 0, 0)


@pytest.fixture
def shelf(home: Path, tmp_path: Path) -> Path:
    """A store of its own, to which versions are added."""
    shutil.copytree(home, tmp_path / "shelf")
    return tmp_path / "shelf"


def pack_again(home: Path, shelf: Path, seed: int) -> None:
    sample = np.random.default_rng(seed).normal(size=(9, 4)).astype("<f4")
    aweigh.pack(str(home.parent / "linear.onnx"), "linear", sample=sample, home=str(shelf))


def post(server: Served, path: str, body: bytes = b"{}") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def versions(server: Served, times: int = 12) -> set[str]:
    """What answers say that they come from, over connections that reach every worker."""
    return {json.loads(post(server, "/v2/models/linear/infer", BODY)[1])["model_version"] for _ in range(times)}


def test_a_load_reaches_all_workers_or_none(start: Start, home: Path, shelf: Path) -> None:
    server = start("linear", "--workers", "3", where=shelf)
    pack_again(home, shelf, 5)
    with Counting(server, 3) as clients:
        assert post(server, "/v2/repository/models/linear/load") == (200, b"")
        assert versions(server) == {"2"}
        pack_again(home, shelf, 6)
        for blob in (shelf / "store" / "blobs" / "sha256").iterdir():  # the golden set of the third version is damaged
            if blob.stat().st_mtime > time.time() - 2 and b"AWTENS" in blob.read_bytes()[:8]:
                blob.chmod(0o600)
                blob.write_bytes(b"AWTENS1\n" + bytes(100))
        code, said = post(server, "/v2/repository/models/linear/load")
        assert code >= 400, said
        assert versions(server) == {"2"}
        victim = pids(server)[0]
        held = next(worker["connections"] for worker in status(server)["workers"] if worker["pid"] == victim)
        kill(victim)  # its successor begins with what is desired now
        until(lambda: len(pids(server)) == 3)
        assert versions(server) == {"2"}
    assert set(clients.statuses) <= {200, 503}
    assert clients.lost + clients.statuses.get(503, 0) <= held  # one request in flight on each, which the dead worker held
    assert post(server, "/v2/repository/models/linear/unload") == (200, b"")
    assert {post(server, "/v2/models/linear/infer", BODY)[0] for _ in range(9)} == {404}
    assert post(server, "/v2/repository/models/linear/unload")[0] == 404
    assert post(server, "/v2/repository/models/linear/load", b'{"parameters":{"version":"1"}}') == (200, b"")
    assert versions(server) == {"1"}


def test_what_cannot_be_loaded_is_said_as_by_one_process(home: Path, shelf: Path) -> None:
    for blob in (shelf / "store" / "blobs" / "sha256").iterdir():
        if b"AWTENS" in blob.read_bytes()[:8]:
            blob.chmod(0o600)
            blob.write_bytes(b"AWTENS1\n" + bytes(100))
    said = []
    for workers in ("1", "2"):
        words = [str(AWEIGH), "serve", "linear", "--port", "0", "--workers", workers]
        env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(shelf)}
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, env=env, check=False)
        said.append((done.returncode, [line for line in done.stderr.splitlines() if line.startswith(("error", "hint"))]))
    assert said[0] == said[1]
    assert said[0][0] not in (0, 5)


def test_status_is_the_same_document_for_one_process_and_for_several(start: Start) -> None:
    one, several = start("linear"), start("linear", "dear", "--workers", "2")
    for server in (one, several):
        assert server.get("/v2/models/linear")
        done = subprocess.run(
            [str(AWEIGH), "status", "--url", f"http://127.0.0.1:{server.port}", "--json"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        told, asked = json.loads(done.stdout), status(server)
        assert told.keys() == asked.keys()
        assert told["ready"]
        assert told["models"][-1]["facts"]["executor"] == "inline"
        assert "inline_limit_us" in told["models"][-1]["facts"]["why"]
        assert all(worker["resident_bytes"] >= worker["proportional_bytes"] > worker["private_bytes"] / 2 > 0 for worker in told["workers"])
    assert (status(one)["supervisor_pid"], status(one)["workers"][0]["pid"]) == (0, one.process.pid)
    assert status(several)["supervisor_pid"] == several.process.pid
    drawn = subprocess.run(
        [str(AWEIGH), "status", "--port", str(several.port)], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert "supervisor" in drawn
    assert "dear:1" in drawn

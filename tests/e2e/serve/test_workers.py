"""Several workers behave as one server: whoever dies, hangs or grows is seen within a second and replaced, and nobody else's request is lost."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.kit import BODY
from tests.serving.served import AWEIGH, Served
from tests.serving.workers import Counting, Faults, alive, children, kill, pids, status, until

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


def test_a_killed_worker_is_replaced_and_the_others_answer_on(start: Start) -> None:
    server = start("linear", "--workers", "3")
    assert server.said["workers"] == 3
    before = pids(server)
    assert len(set(before)) == 3
    with Counting(server, 6) as clients:
        until(lambda: clients.answered > 100)
        kill(before[1])
        seen = until(lambda: before[1] not in [worker["pid"] for worker in status(server)["workers"]])
        assert server.get("/ready") == b"ready\n"
        back = until(lambda: len(pids(server)) == 3)
        until(lambda: clients.answered > 500)
    assert set(clients.statuses) == {200}
    assert clients.refused == 0
    assert clients.lost <= 6
    assert seen < 1
    assert back < 5
    found = status(server)
    assert sorted(worker["restarts"] for worker in found["workers"]) == [0, 0, 1]
    assert "killed by SIGKILL" in {worker["last_end"] for worker in found["workers"]}
    assert server.end() == 0


@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.slow), "interpreter lock held"])
def test_a_worker_that_hangs_is_seen_within_a_second_and_replaced(start: Start, faults: Faults, how: str) -> None:
    server = start("linear", "--workers", "2")
    before = pids(server)
    other = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    began = time.monotonic()
    if how == "stopped":
        kill(before[0], signal.SIGSTOP)
    else:
        faults.hold(before[0], 30)
    until(lambda: not alive(before[0]), 5)
    assert time.monotonic() - began < 1.5, "0.8 s without a beat, and half a second for a busy machine"
    until(lambda: before[0] not in pids(server) and len(pids(server)) == 2)
    assert before[1] in pids(server)
    assert any("stood still" in worker["last_end"] for worker in status(server)["workers"])
    other.close()


@pytest.mark.slow
def test_other_workers_answer_while_one_hangs(start: Start) -> None:
    server = start("linear", "--workers", "2", "--hang-timeout-s", "3")
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=2) for _ in range(8)]
    for connection in connections:
        connection.request("GET", "/live")
        assert connection.getresponse().read() == b"live\n"
    kill(pids(server)[0], signal.SIGSTOP)
    answered = 0
    for connection in connections:
        try:
            connection.request("POST", "/v2/models/linear/infer", BODY)
            answered += connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            pass
    assert answered == 4, "connections are shared out evenly, and half of them are the other worker's"
    for connection in connections:
        connection.close()


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


def can_be_taken(port: int) -> bool:
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        return True


def test_workers_die_with_a_killed_parent_and_the_port_is_free(start: Start, home: Path) -> None:
    server = start("linear", "--workers", "2")
    workers = pids(server)
    kill(server.process.pid)
    until(lambda: not any(map(alive, workers)), 3)
    until(lambda: can_be_taken(server.port), 2)  # a process whose first thread has ended may still be closing its files
    assert server.process.wait(5) == -signal.SIGKILL


def test_sigterm_under_load_loses_nothing_that_was_accepted(start: Start) -> None:
    server = start("dear", "--workers", "2", "--drain-delay-s", "0.3")
    with Counting(server, 8, path="/v2/models/dear/infer") as clients:
        until(lambda: clients.answered > 20)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
    assert (set(clients.statuses), clients.lost) == ({200}, 0)


def test_a_second_sigterm_ends_it_at_once(start: Start) -> None:
    server = start("linear", "--workers", "2", "--drain-delay-s", "30")
    workers = pids(server)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in "".join(server.log))
    began = time.monotonic()
    assert server.end() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2
    assert not any(map(alive, workers))


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


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_paused_and_someone_answers_meanwhile(start: Start) -> None:
    server = start("linear", "--workers", "2")
    answers: set[int] = set()
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:
        for pid in children(server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        for path in ("/ready", "/live"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                answers.add(answer.status)
            except (OSError, http.client.HTTPException):
                pass  # it was being answered by a worker that was killed
            connection.close()
        time.sleep(0.05)
    assert answers <= {200, 503}
    assert {200, 503} <= answers
    assert server.process.poll() is None
    assert "a worker dies again and again: a pause" in "".join(server.log)
    until(lambda: len(pids(server)) == 2, 15)


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
    assert set(clients.statuses) == {200}
    assert clients.lost <= held  # one request in flight on each
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


@pytest.mark.slow
def test_sigterm_while_workers_load_ends_them_all(home: Path) -> None:
    words = [str(AWEIGH), "serve", "linear", "--port", "0", "--workers", "3"]
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home)}
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(children(process.pid)) >= 3)
    workers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    until(lambda: not any(map(alive, workers)), 2)

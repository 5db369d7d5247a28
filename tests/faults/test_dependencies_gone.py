"""B.3 28: what a server or a command depends on is gone: the store's disk, a registry or bucket, who reads the figures. What can be answered is answered.

A log that nobody takes: test_disk_full.py. The circuit breaker: tests/unit/engine/test_circuit.py.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.asking import Asking
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks, family
from tests.faults.load import Load
from tests.faults.shelves import load, logged, metric, post, shelf_of
from tests.serving.served import AWEIGH
from tests.serving.workers import kill, pids, status, until


@contextlib.contextmanager
def away(home: Path) -> Iterator[None]:
    """As if its disk were not there."""
    home.rename(home.with_name("away"))
    try:
        yield
    finally:
        home.with_name("away").rename(home)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_28_serving_goes_on_without_the_store(start: Start, home: Path, tmp_path: Path, workers: str) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "dear", "--workers", workers, where=shelf)
    leaks = Leaks(server)
    with Load(server, rate=50) as clients:
        with away(shelf):
            code, said = load(server)
            assert code == 404, said
            assert "linear" in said["error"], said
            assert load(server, 1)[0] == 404
            assert "the store is empty" in said["hint"]
            assert metric(server, "aweigh_model_load_failures_total") > 0
            until(lambda: "model-not-found" in {line["code"] for line in logged(server, "was not loaded")})
            code, lines = post(server, "/v2/repository/index")
            assert code == 200
            assert {(line["name"], line["state"]) for line in lines} == {("linear", "READY"), ("dear", "READY")}
            assert server.get("/ready") == b"ready\n"
            assert status(server)["ready"]
        assert load(server) == (200, {})
        with away(shelf):
            shelf.write_text("not a folder")
            try:
                code, said = load(server)
                assert (code, "cannot read the index in the store" in said["error"]) == (503, True), said
            finally:
                shelf.unlink()
    assert not clients.lost, clients.told()
    leaks.check(threads=2 * int(workers))


def test_28_a_worker_that_dies_without_the_store_comes_back_with_it(start: Start, home: Path, tmp_path: Path) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "--workers", "2", where=shelf)
    leaks = Leaks(server)
    victim = pids(server)[0]
    with Load(server, rate=20, connections=4) as clients:
        time.sleep(0.5)
        with away(shelf):
            kill(victim)
            until(lambda: logged(server, "cannot load what is served") or logged(server, "dies again and again"))
            time.sleep(0.5)
        until(lambda: len(pids(server)) == 2, 30)
    assert len(clients.lost) <= 2, clients.told()  # what the dead one held
    assert clients.right > 20
    leaks.check(memory=0.25)


def test_28_a_model_process_that_dies_without_the_store_comes_back_with_it(start: Start, home: Path, tmp_path: Path) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "trouble", where=shelf)
    leaks = Leaks(server)
    asking = Asking("trouble", right={"scores": Asking()._right["scores"]})  # type: ignore[index]  # the same graph
    with Load(server, rate=20) as others, Load(server, asking, rate=20) as clients:
        until(lambda: clients.right > 5)
        with away(shelf):
            for pid in family(server.process.pid)[1:]:
                kill(pid)
            until(lambda: any(each.status == "503" for each in clients.all))
            time.sleep(0.5)
        before = clients.right
        until(lambda: clients.right > before + 20, 20)
    assert not others.lost, others.told()
    assert not clients.of("wrong"), clients.told()
    leaks.check(memory=0.25)


REGISTRY, BUCKET = "127.0.0.1:{}/models/linear", "s3://models/linear"


@pytest.mark.parametrize(
    ("address", "silent"),
    [(REGISTRY, False), pytest.param(REGISTRY, True, marks=pytest.mark.slow), (BUCKET, False), (BUCKET, True)],
    ids=["registry-closed", "registry-silent", "bucket-closed", "bucket-silent"],
)
def test_28_a_registry_or_bucket_that_is_gone_is_left_in_bounded_time(tmp_path: Path, address: str, silent: bool) -> None:
    with socket.socket() as peer:  # it is not there, or takes connections and says nothing
        peer.bind(("127.0.0.1", 0))
        if silent:
            peer.listen()
        port = peer.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"], "AWEIGH_HOME": str(tmp_path), "AWEIGH_TRANSFER_TIMEOUT_S": "1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "here",
        }  # fmt: skip
        began = time.monotonic()
        command = [str(AWEIGH), "pull", address.format(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert time.monotonic() - began < 20
    assert (done.returncode, "error: " in done.stderr, "hint: " in done.stderr) == (4, True, True), done.stderr


def test_28_who_asks_for_figures_and_never_reads_them_costs_nothing(start: Start) -> None:
    server = start("linear", "dear")
    leaks = Leaks(server)
    with contextlib.ExitStack() as stack, Load(server, rate=50) as clients:
        for _ in range(20):
            scraper = stack.enter_context(socket.socket())
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            scraper.connect(("127.0.0.1", server.port))
            with contextlib.suppress(BlockingIOError):
                scraper.setblocking(False)
                for _ in range(100):
                    scraper.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        began = time.monotonic()
        assert b"aweigh_ready 1" in server.get("/metrics")
        assert time.monotonic() - began < 1
    assert not clients.lost, clients.told()
    leaks.check(memory=0.25)

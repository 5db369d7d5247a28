"""B.3 18: a disk is full, or nobody takes the log. Publications fail cleanly, serving goes on, and the lines that were lost are counted and told of."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.asking import Asking
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.faults.shelves import load, metric, pack_next, shelf_of
from tests.serving.served import AWEIGH
from tests.serving.workers import until
from tests.stores.drafts import SAMPLE, small_draft
from tests.stores.killed import check

from aweigh.core.errors import StoreUnavailable
from aweigh.core.names import model_name
from aweigh.store import Store

DROPPED = "aweigh_log_lines_dropped_total"
WORDY = Asking(headers=[("x-request-id", "x" * 120)])
"""Requests with long lines in the access log."""


def test_18_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish(model_name("fraud"), small_draft())
    script = """
        import difflib, resource, sys  # difflib: what is imported late may be out of reach by then
        from pathlib import Path
        from tests.stores.drafts import small_draft
        from aweigh.core.errors import AweighError
        from aweigh.core.names import model_name
        from aweigh.store import Store

        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        for weights in (b"x" * 1_000_000, b"y"):
            try:
                print("done", Store(Path(sys.argv[1])).publish(model_name("fraud"), small_draft(weights)).reference)
            except AweighError as error:
                print(error.code, "|", error.message, "|", error.hint)
    """
    environment = {**os.environ, "PYTHONPATH": str(SAMPLE.parents[3])}
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.folder)]
    first, second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout.splitlines()
    assert first.startswith("store-unavailable | cannot write a blob in the store")
    assert "free space on that disk" in first
    assert second == "done fraud:2"
    assert check(store) == ["fraud:1", "fraud:2"]
    assert list(store.folder.glob("**/.tmp-*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """A command that mounts a small disk at `tmp_path/disk`, with the store on it, and becomes the rest of its words, whose log goes to that disk."""
    (tmp_path / "disk").mkdir()
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path / "disk")], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("needs leave to mount a disk in a namespace of its own")
    script = 'mount -t tmpfs -o size=8m none "$0" && cp -r "$1" "$0/home" && shift && exec "$@" 2>"$0/log"'
    return ("unshare", "-rm", "sh", "-c", script, str(tmp_path / "disk"), str(tmp_path / "shelf"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_18_a_full_disk_stops_publications_and_lines_and_nothing_else(
    start: Start, home: Path, tmp_path: Path, small_disk: tuple[str, ...], workers: str
) -> None:
    shelf_of(home, tmp_path)
    disk = tmp_path / "disk"
    server = start("linear", "--access-log", "--workers", workers, where=disk / "home", through=small_disk)
    inside = Path(f"/proc/{server.process.pid}/root{disk}")
    log = inside / "log"
    until(lambda: '"event":' in log.read_text())
    leaks = Leaks(server)
    fill(inside / "filler")
    with Load(server, WORDY, rate=200) as clients:
        until(lambda: metric(server, DROPPED) > 100)
        with pytest.raises(StoreUnavailable) as caught:
            Store(inside / "home/store").publish(model_name("linear"), small_draft(b"x" * 100_000))
        assert "free space on that disk" in caught.value.hint
        assert load(server) == (200, {}), "what is in the store is loaded without writing"
    assert not clients.lost, clients.told()
    assert [str(line.reference) for line in Store(inside / "home/store").list() if line.name == "linear"] == ["linear:1"]
    leaks.check(threads=int(workers))
    (inside / "filler").unlink()
    with Load(server, WORDY, rate=50):
        until(lambda: "log lines were dropped" in log.read_text())
    assert pack_next(inside / "home", tmp_path) == "linear:2"
    assert load(server) == (200, {})
    told = [json.loads(line) for line in log.read_text().splitlines() if "log lines were dropped" in line]
    own = 10  # lines of the supervisor, which are told of and not counted
    assert sum(line["lines"] for line in told) <= metric(server, DROPPED) + own * (workers != "1")


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


@pytest.fixture
def sink(kind: str) -> Iterator[int]:
    """Where a log goes and does not arrive: a device that is full, or a pipe that nobody reads."""
    if kind == "full":
        with Path("/dev/full").open("wb") as full:
            yield full.fileno()
        return
    read, write = os.pipe()
    yield write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("unread", "1"),
        ("full", "2"),
        pytest.param("unread", "2", marks=pytest.mark.slow),
        pytest.param("full", "1", marks=pytest.mark.slow),
    ],
)
def test_18_a_log_that_nobody_takes_costs_no_answer(start: Start, sink: int, workers: str) -> None:
    server = start("linear", "--access-log", "--workers", workers, errors=sink)
    with Load(server, WORDY, rate=20) as before:
        time.sleep(1)
    leaks = Leaks(server)
    with Load(server, WORDY, users=8) as crowd:
        until(lambda: metric(server, DROPPED) > 0, 30)
    assert not crowd.lost, crowd.told()
    with Load(server, WORDY, rate=20) as after:
        time.sleep(1)
    assert not before.lost + after.lost, (before.told(), after.told())
    assert after.percentile_s(90) < max(0.05, 5 * before.percentile_s(90))
    leaks.check(memory=0.25)  # lines that wait: a megabyte in each process
    began = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - began < 5


def test_18_an_answer_on_standard_output_that_is_full_is_said_and_a_server_serves(start: Start, home: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home)}
    for words in (["models"], ["models", "--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [str(AWEIGH), *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False, env=environment
            )
        assert done.returncode == 4
        assert done.stderr.startswith("error: cannot write to standard output: No space left on device"), done.stderr
    command = [str(AWEIGH), "serve", "linear", "--port", "0"]
    with Path("/dev/full").open("w") as full:
        server = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stderr is not None
    lines = []
    for line in server.stderr:
        lines.append(line)
        if "serves all the same" in line:
            break
    assert server.poll() is None, lines
    server.terminate()
    server.stderr.read()
    server.stderr.close()
    assert server.wait(15) == 0

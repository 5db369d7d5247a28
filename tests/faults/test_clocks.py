"""B.3 29: the wall clock jumps by an hour, forth and back, repeats a second, and stands in other time zones. It is only ever shown: nothing expires."""

import datetime as dt
import email.utils
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.faults.asking import Asking
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.faults.shelves import load, metric_of, pack_next, shelf_of
from tests.serving.served import AWEIGH, Served
from tests.serving.workers import pids, until
from tests.stores.drafts import small_draft

import aweigh
from aweigh.core.names import model_name
from aweigh.store import Store

HOUR = 3600
JUMPS = (HOUR, -HOUR, 1, 0)
"""Seconds that the clock is ahead, one after the other. The last step repeats a second, as a leap second does."""
SHOWN = {
    "engine/rollouts.py": "when a rollout began and ended",
    "serve/model_facts.py": "when a model answered last, in Triton's statistics",
    "serve/wire/listener.py": "the Date header",
}
"""Files of what serves that read the wall clock, and what for."""
TIMED = Asking(headers=[("x-request-timeout-ms", "5000"), ("grpc-timeout", "5S")])


class Clock:
    """The wall clock of the processes that are started with its environment. Time that only goes forward is left alone."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, ahead_s: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path, program: Callable[[str], str]) -> Clock:
    place = Path(program("faketime")).resolve().parents[1]
    library = next((place / "lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("needs faketime (Debian package faketime): its library is not where it should be")
    return Clock(tmp_path, library)


def ahead_s(server: Served) -> float:
    """By how much the server's clock is ahead of this one, as its answers say."""
    with urllib.request.urlopen(f"http://{server.target}/live", timeout=10) as answer:
        return email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_29_a_clock_that_jumps_ends_no_request_and_no_connection(start: Start, home: Path, clock: Clock, workers: str) -> None:
    server = start("linear", "dear", "trouble", "--workers", workers, environment=dict(clock.environment))
    before = pids(server)
    right = Asking()._right["scores"]  # type: ignore[index]
    askings = [TIMED, Asking("dear"), Asking("trouble", right={"scores": right})]
    loads = [Load(server, asking, rate=20) for asking in askings] + [Load(server, TIMED, rate=20, protocol="grpc")]
    idle = [urllib.request.http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in range(5)]
    for connection in idle:
        connection.request("GET", "/live")
        connection.getresponse().read()
    leaks = Leaks(server)
    with loads[0], loads[1], loads[2], loads[3]:
        for ahead in JUMPS:
            clock.set(ahead)
            until(lambda ahead=ahead: abs(ahead_s(server) - ahead) < 5)
        connections_lost = [each.connections_lost for each in loads]
    assert connections_lost == [0] * len(loads)
    for each in loads:
        assert each.right > 20
        assert not each.lost, each.told()
    for connection in idle:
        connection.request("GET", "/live")
        assert connection.getresponse().read() == b"live\n"
        connection.close()
    assert pids(server) == before
    assert metric_of(server, "aweigh_process_restarts_total") == 0
    leaks.check(memory=0.25, threads=2 * int(workers))  # lanes that are begun when they are needed


def test_29_a_load_and_a_drain_take_their_time_whatever_the_clock_says(start: Start, home: Path, tmp_path: Path, clock: Clock) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "dear", where=shelf, environment=dict(clock.environment))
    assert pack_next(shelf, tmp_path) == "linear:2"
    for ahead in (HOUR, -HOUR):
        clock.set(ahead)
        assert load(server, 1 if ahead < 0 else 2) == (200, {})
    with Load(server, Asking("dear"), users=4) as clients:
        until(lambda: clients.right > 10)
        clock.set(HOUR)
        assert server.end() == 0
    assert not [each for each in clients.lost if each.kind not in {"unconnected", "unprocessed", "closed"}], clients.told()


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_29_a_collection_at_the_wrong_hour_takes_nothing_that_is_wanted(home: Path, tmp_path: Path, clock: Clock, ahead: int) -> None:
    shelf = shelf_of(home, tmp_path)
    store = Store(shelf / "store")
    store.publish(model_name("fraud"), small_draft())
    under_way = shelf / "store/blobs/sha256/.tmp-1-0"
    under_way.write_bytes(b"half")
    clock.set(ahead)
    environment = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(shelf), **clock.environment}
    subprocess.run([str(AWEIGH), "collect"], check=True, timeout=30, env=environment, capture_output=True)
    assert under_way.exists()
    assert store.check().whole


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "Nowhere/Invalid"])
def test_29_times_are_told_in_universal_time_wherever_the_server_stands(start: Start, zone: str) -> None:
    server = start("linear", environment={"TZ": zone})
    assert abs(ahead_s(server)) < 5
    until(lambda: any('"model ready"' in line for line in server.log))
    told = dt.datetime.fromisoformat(json.loads(server.log[0])["time"])
    assert abs((dt.datetime.now(dt.UTC) - told).total_seconds()) < 30


def test_29_what_serves_reads_the_wall_clock_only_to_show_it() -> None:
    source = Path(aweigh.__file__).parent
    found = {
        str(file.relative_to(source))
        for folder in ("engine", "isolate", "serve")
        for file in (source / folder).rglob("*.py")
        if re.search(r"\btime\.time(_ns)?\(|datetime\.(now|utcnow|today)\(|from time import [^\n]*\btime\b", file.read_text())
    }
    assert found <= set(SHOWN), "deadlines, pauses and windows are of time.monotonic"

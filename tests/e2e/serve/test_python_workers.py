"""`aweigh.Server(workers=N)`: processes that this one supervises from a thread, and that leave nothing behind."""

import gc
import json
import os
import threading
import urllib.request
from pathlib import Path

import pytest
from tests.serving.workers import alive, children, descendants

import aweigh
from aweigh.core.errors import InvalidSetting, NotFound


def test_it_serves_from_processes_and_leaves_nothing_behind(home: Path) -> None:
    before, threads = (len(list(Path("/proc/self/fd").iterdir())), children(os.getpid())), threading.active_count()
    with aweigh.Server(home=str(home), port=0, workers=2).add("linear").add("words") as server:
        with urllib.request.urlopen(f"{server.url}/status", timeout=10) as answer:
            told = json.loads(answer.read())
        workers = [worker["pid"] for worker in told["workers"]]
        assert told["supervisor_pid"] == os.getpid()
        assert {each["facts"]["name"] for each in told["models"]} == {"linear", "words"}
        assert set(workers) <= set(descendants(os.getpid()))
    assert not any(map(alive, workers))
    gc.collect()  # the board's memory goes with the last who looks at it
    assert (len(list(Path("/proc/self/fd").iterdir())), children(os.getpid())) == before
    assert threading.active_count() <= threads  # those of the test before may have ended meanwhile


def test_what_workers_cannot_load_is_raised_by_start(home: Path) -> None:
    server = aweigh.Server(home=str(home), port=0, workers=2).add("linear", variant="nothing")
    with pytest.raises(NotFound, match="no variant 'nothing'"):
        server.start()
    server.stop()


def test_what_several_workers_cannot_do_is_refused(home: Path) -> None:
    server = aweigh.Server(home=str(home), port=0, workers=2, shared_memory=True).add("linear")
    with pytest.raises(InvalidSetting, match="needs one worker"):
        server.start()
    server.stop()

"""The load generator and the leak check themselves: what they must see, they see, before any fault is judged by them."""

import time

import numpy as np
import pytest
from tests.faults.asking import Asking
from tests.faults.conftest import Start
from tests.faults.leaks import Holdings, Leaks
from tests.faults.load import Load, capacity
from tests.serving.workers import pids, until


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_00_a_load_finds_right_answers_at_the_rate_that_was_asked_for(start: Start, protocol: str) -> None:
    server = start("linear")
    assert capacity(server, protocol=protocol, seconds=0.5) > 100
    leaks = Leaks(server)
    with Load(server, rate=200, protocol=protocol) as load:
        time.sleep(1.5)
    assert load.ends().keys() == {"ok OK" if protocol == "grpc" else "ok 200"}, load.told()
    assert load.versions().keys() == {"1"}
    assert 200 < load.right < 400
    assert 0 < load.percentile_s(50) <= load.percentile_s(99) < 1
    leaks.check()


def test_00_a_wrong_answer_a_refusal_and_a_dead_server_are_told_apart(start: Start) -> None:
    server = start("linear")
    with Load(server, Asking(right={"scores": np.array([9.0, 9.0, 9.0])}), rate=50) as load:
        until(lambda: load.of("wrong"))
    with Load(server, Asking("nobody"), rate=50) as load:
        until(lambda: "refused 404" in load.ends())
    assert not load.lost
    with Load(server, rate=100, timeout_s=1) as load:
        until(lambda: load.right)
        server.process.kill()
        until(lambda: load.of("unconnected"))
    assert load.lost


def test_00_what_a_server_holds_counts_its_family_and_a_leak_is_seen(start: Start) -> None:
    server = start("linear", "--workers", "2")
    whole = Holdings.of(server.process.pid)
    worker = Holdings.of(pids(server)[0])
    assert whole.processes >= 3
    assert whole.files > worker.files
    assert whole.memory_bytes > worker.memory_bytes
    leaks = Leaks(server)
    with Load(server, users=20) as load:
        until(lambda: load.right > 100)
        with pytest.raises(AssertionError, match="files"):
            leaks.check(within_s=0.3)
    leaks.check()

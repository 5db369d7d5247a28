"""Judging a worker: a late heartbeat, whose fault it is, memory, and how long to wait before another start."""

import time
from pathlib import Path

import pytest

from aweigh.engine.slab import CELLS, LOADING, PATIENT_UNTIL, SERVING, STARTING
from aweigh.serve import patience
from aweigh.serve.workers import watch
from aweigh.serve.workers.watch import BEAT_S, Backoff, Limits, Watch

LIMITS = Limits(hang_s=0.8, load_s=60.0, memory_bytes=1000)


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which the machine did not run the worker, as it would say."""
    seconds = [0.0]
    monkeypatch.setattr(watch, "queued_s", lambda _: seconds[0])
    return seconds


def look(worker: Watch, since: float, until: float, *, beats: int, state: int = SERVING) -> float | None:
    """Look every beat; when it was found late."""
    now = since
    while now < until:
        now += BEAT_S
        if worker.late(now, beats, state):
            return now
    return None


@pytest.mark.parametrize(("state", "found"), [(SERVING, 0.8), (LOADING, 60.0), (STARTING, 60.0)])
def test_a_worker_that_does_not_beat_is_late_after_its_limit(queued: list[float], state: int, found: float) -> None:
    worker = Watch(LIMITS, 1, 0.0)
    assert worker.late(0.0, 7, state) == 0
    assert look(worker, 0.0, 70.0, beats=7, state=state) == pytest.approx(found, abs=3 * BEAT_S)


def test_one_that_beats_is_never_late(queued: list[float]) -> None:
    worker = Watch(LIMITS, 1, 0.0)
    assert not any(worker.late(at * BEAT_S, at, SERVING) for at in range(1000))


def test_time_in_which_the_machine_did_not_run_it_does_not_count(queued: list[float]) -> None:
    worker = Watch(LIMITS, 1, 0.0)
    worker.late(0.0, 7, SERVING)
    now = 0.0
    while now < 5.0:
        now += BEAT_S
        queued[0] += BEAT_S
        assert worker.late(now, 7, SERVING) == 0
    assert look(worker, now, now + 2.0, beats=7) == pytest.approx(now + 0.4, abs=3 * BEAT_S)


def test_a_supervisor_that_stood_still_itself_blames_nobody(queued: list[float]) -> None:
    worker = Watch(LIMITS, 1, 0.0)
    worker.late(0.0, 7, SERVING)
    assert worker.late(30.0, 7, SERVING) == 0
    assert look(worker, 30.0, 32.0, beats=7) is not None


def test_no_limit_is_no_limit(queued: list[float]) -> None:
    worker = Watch(Limits(hang_s=0, load_s=0, memory_bytes=0), 1, 0.0)
    assert look(worker, 0.0, 50.0, beats=1) is None
    assert worker.memory(10**12) == ""


def test_memory_is_relieved_and_far_beyond_its_limit_killed() -> None:
    worker = Watch(LIMITS, 1, 0.0)
    assert [worker.memory(size) for size in (0, 1000, 1001, 1500, 1501)] == ["", "", "relieve", "relieve", "kill"]


def test_pauses_grow_to_a_limit_and_a_long_life_ends_them() -> None:
    backoff = Backoff()
    assert [backoff.died(0.5) for _ in range(9)] == [0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert backoff.unhealthy
    assert backoff.died(Backoff.LIVED_S) == 0
    assert not backoff.unhealthy


def test_the_machine_says_how_long_a_process_waited_for_it() -> None:
    assert watch.queued_s(2**22 + 1) == 0
    if Path("/proc/self/schedstat").exists():
        assert watch.queued_s(1) >= 0


def test_a_large_body_is_announced_and_waited_for(queued: list[float]) -> None:
    worker = Watch(LIMITS, 1, 0.0)
    worker.late(0.0, 7, SERVING)
    now = 0.0
    while now < 4.0:
        now += BEAT_S
        assert worker.late(now, 7, SERVING, 4.0) == 0
    assert look(worker, now, now + 2.0, beats=7) == pytest.approx(now + 0.8, abs=3 * BEAT_S)


def test_only_large_bodies_are_announced_and_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_cells", None)
    patience.expect(2**30)
    cells = [0] * CELLS
    patience.watched(cells)
    patience.expect(patience.LARGE)
    assert not any(cells)
    patience.expect(64 * 2**20)
    assert cells[PATIENT_UNTIL] / 1000 - time.monotonic() == pytest.approx(4.0, abs=0.5)

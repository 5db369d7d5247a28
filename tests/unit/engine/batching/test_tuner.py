"""The tuner: batches as large as they pay, as small as the objective needs; from costs that it sees, not from what it was told."""

import numpy as np
import pytest

from aweigh.core.objective import parse_objective
from aweigh.engine.batching import tuner as module
from aweigh.engine.batching.tuner import Tuner


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def feed(tuner: Tuner, clock: list[float], cost: tuple[float, float], *, latency_s: float = 0.0, rounds: int = 40) -> None:
    """Let batches of up to what is allowed run, costing `call + row * rows`."""
    for at in range(rounds):
        rows = 1 + at % tuner.max_rows
        for _ in range(20):
            tuner.answered(latency_s)
        clock[0] += 0.3
        tuner.ran(rows, cost[0] + cost[1] * rows)


def test_without_an_objective_a_batch_grows_while_that_pays() -> None:
    assert Tuner(limit_rows=64, call_s=1e-3, row_s=0.0).max_rows == 64
    assert 1 < Tuner(limit_rows=64, call_s=0.0, row_s=1e-3).max_rows < 32  # of one size alone it could not learn that larger ones pay
    between = Tuner(limit_rows=256, call_s=1e-3, row_s=1e-3)
    rows = between.max_rows
    assert 20 < rows < 64
    assert rows / (1 + rows) >= 0.98 * 256 / 257


def test_costs_are_learned(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=64, call_s=1e-3, row_s=0.0)
    feed(tuner, clock, (2e-3, 5e-4))
    assert tuner.decision.call_us == pytest.approx(2000, rel=0.05)
    assert tuner.decision.row_us == pytest.approx(500, rel=0.05)


def test_noise_does_not_lead_astray(clock: list[float]) -> None:
    random = np.random.default_rng(5)
    tuner = Tuner(limit_rows=64, call_s=1e-3, row_s=1e-4)
    for at in range(200):
        clock[0] += 0.3
        rows = 1 + at % 16
        tuner.ran(rows, (2e-3 + 5e-4 * rows) * random.lognormal(0, 0.1))
    assert tuner.decision.row_us == pytest.approx(500, rel=0.3)


def test_an_objective_keeps_batches_small_enough_to_wait_for_one_and_run_in_the_next(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 40ms"))
    assert tuner.max_rows == 16
    feed(tuner, clock, (4e-3, 1e-3), latency_s=0.035)
    assert tuner.max_rows == 16
    assert "p99 <= 40ms" in tuner.decision.why


def test_what_is_measured_corrects_the_estimate(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 40ms"))
    feed(tuner, clock, (4e-3, 1e-3), latency_s=0.08, rounds=6)
    small = tuner.max_rows
    assert small < 10
    assert tuner.decision.measured_ms == pytest.approx(80, rel=0.01)
    feed(tuner, clock, (4e-3, 1e-3), latency_s=0.01, rounds=200)
    assert tuner.max_rows > small


def test_an_objective_that_one_row_misses_says_so() -> None:
    tuner = Tuner(limit_rows=256, call_s=0.1, row_s=0.1, objective=parse_objective("p99 <= 20ms"))
    assert tuner.max_rows == 1
    assert "a call with one row takes 200ms" in tuner.decision.why
    assert tuner.late(0, 1) == "an answer is expected after 500ms, which p99 <= 20ms does not allow"


def test_without_an_objective_nothing_is_late() -> None:
    assert Tuner(limit_rows=4, call_s=9.0, row_s=9.0).late(1000, 1) == ""


def test_one_size_alone_does_not_let_forget_what_a_call_costs(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=2e-3, row_s=4e-3)
    before, random = tuner.max_rows, np.random.default_rng(3)
    for _ in range(400):
        clock[0] += 0.1
        tuner.ran(before, 2 * (2e-3 + 4e-3 * before) * random.lognormal(0, 0.2))
    assert before / 2 <= tuner.max_rows <= before * 2


def test_what_ran_while_a_lane_was_free_says_nothing_of_busy_times(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=2e-3, row_s=4e-3)
    before = tuner.max_rows
    for _ in range(100):
        clock[0] += 0.3
        tuner.ran(48, 48 * 2e-3, crowded=False)
    assert tuner.max_rows == before


def test_calls_slowed_by_a_flood_of_refusals_do_not_make_batches_small(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 40ms"))
    before = tuner.max_rows
    for _ in range(60):
        for _ in range(200):
            tuner.refused()
        for _ in range(before):
            tuner.answered(0.06)
        clock[0] += 0.3
        tuner.ran(before, 3 * (4e-3 + 1e-3 * before))
    assert tuner.max_rows == before
    assert tuner.late(0, 1)  # at that speed none would be on time: the queue is what is kept short


def test_a_queue_that_is_too_long_is_shortened_before_batches_are(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 100ms"))
    before = tuner.max_rows
    assert not tuner.late(0, 2)
    for _ in range(8):
        tuner.refused()
        for _ in range(40):
            tuner.answered(0.12)
        clock[0] += 0.3
        tuner.ran(before, 4e-3 + 1e-3 * before)
    assert tuner.max_rows == before
    assert tuner.late(0, 2)


def test_one_late_answer_of_a_few_is_no_percentile(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 40ms"))
    before = tuner.max_rows
    for at in range(10):
        for _ in range(20):
            tuner.answered(0.01)
        if at % 5 == 0:
            tuner.answered(0.2)
        clock[0] += 2.1
        tuner.ran(before, 4e-3 + 1e-3 * before)
    assert tuner.max_rows == before


def test_what_was_slow_some_seconds_ago_is_forgotten(clock: list[float]) -> None:
    tuner = Tuner(limit_rows=256, call_s=4e-3, row_s=1e-3, objective=parse_objective("p99 <= 100ms"))
    before = tuner.max_rows
    for latency_s, rounds in ((0.5, 8), (0.03, 200)):
        for _ in range(rounds):
            tuner.refused()
            for _ in range(20):
                tuner.answered(latency_s)
            clock[0] += 0.3
            tuner.ran(before, 4e-3 + 1e-3 * before)
        held_up = bool(tuner.late(0, 2))
        assert held_up == (latency_s == 0.5)


def test_one_batch_that_took_for_ever_says_little_of_the_next() -> None:
    tuner = Tuner(limit_rows=8, call_s=0.01, row_s=0.0)
    tuner.ran(1, 60.0)
    assert tuner.running_s(1) < 0.02


def test_what_was_learned_is_not_counted_as_slowness_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = Tuner(limit_rows=8, call_s=0.001, row_s=0.0)
    monkeypatch.setattr("aweigh.engine.batching.tuner._ROUND_S", 0.0)
    for _ in range(300):
        tuner.ran(1, 0.3)
    assert tuner.running_s(1) == pytest.approx(0.3, rel=0.2)

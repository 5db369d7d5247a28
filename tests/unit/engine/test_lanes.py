"""How cores are shared out between calls: by the settings, else by what was measured."""

import threading
import time

import numpy as np
import pytest

from aweigh.core.errors import InternalError
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine import lanes as module
from aweigh.engine.lanes import better_lanes, crowded_cost, first_lanes, in_turn, is_open, lane_rows, throughput
from aweigh.engine.placement import Cost
from aweigh.testing import FakeSession

ROWS = {"X": np.zeros((4, 2), dtype=np.float32)}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


def test_settings_that_say_something_are_followed() -> None:
    lanes = first_lanes(Settings(threads=3, session_threads=2))
    assert (lanes.calls, lanes.threads) == (3, 2)
    assert (first_lanes(Settings(session_threads=2)).calls, first_lanes(Settings()).calls) == (2, 4)
    assert not is_open(Settings(threads=1))
    assert not is_open(Settings(session_threads=1))
    assert is_open(Settings())


def test_workers_share_the_cores() -> None:
    assert first_lanes(Settings(workers=2)).calls == 2
    assert not is_open(Settings(workers=4))


def test_one_call_on_all_cores_is_preferred_where_it_answers_about_as_much() -> None:
    assert (better_lanes(100.0, 98.0, 4).calls, better_lanes(100.0, 98.0, 4).threads) == (1, 4)
    apart = better_lanes(100.0, 60.0, 4)
    assert (apart.calls, apart.threads) == (4, 1)
    assert apart.text == "4 at once with 1 thread each, measured: 60 rows/s in one call on 4 cores, 100 in a call per core"


def test_throughput_counts_the_rows_of_all_who_ask() -> None:
    together = threading.Barrier(3, timeout=5)

    def answer(inputs: Tensors) -> list[Tensor]:
        together.wait()
        time.sleep(0.01)
        return [inputs["X"]]

    assert throughput(FakeSession(answer), ROWS, calls=3, budget_s=0.0) <= 3 * 4 / 0.01


def test_a_session_that_fails_while_it_is_measured_says_so() -> None:
    def broken(_: Tensors) -> list[Tensor]:
        raise InternalError("no")

    with pytest.raises(InternalError):
        throughput(FakeSession(broken), ROWS, calls=2, budget_s=0.01)


def test_calls_to_measure_with_stay_short() -> None:
    assert lane_rows(Cost(call_us=2_000, row_us=100), 256) == 8
    assert lane_rows(Cost(call_us=40_000, row_us=20_000), 256) == 4
    assert lane_rows(Cost(call_us=400_000, row_us=400_000), 256) == 1
    assert lane_rows(Cost(call_us=2_000, row_us=0), 5) == 5


def test_the_cost_while_all_lanes_are_busy_is_measured_with_all_of_them() -> None:
    def run(inputs: Tensors) -> list[Tensor]:
        time.sleep(0.002 + 0.002 * len(inputs["X"]))
        return [inputs["X"]]

    lanes = first_lanes(Settings(threads=2))
    cost = crowded_cost(FakeSession(run), dict(ROWS), lanes, 4)
    assert 3_000 < cost.call_us < 12_000
    assert 1_500 < cost.row_us < 6_000


def test_a_moment_in_which_the_machine_was_busy_with_other_things_decides_nothing() -> None:
    calls = 0

    def held_up(inputs: Tensors) -> list[Tensor]:
        nonlocal calls
        calls += 1
        time.sleep(0.15 if calls == 1 else 0.001)
        return [inputs["X"]]

    def slower(inputs: Tensors) -> list[Tensor]:
        time.sleep(0.01)
        return [inputs["X"]]

    first, other = in_turn(FakeSession(held_up), FakeSession(slower), (ROWS, ROWS), (1, 1))
    assert first > other

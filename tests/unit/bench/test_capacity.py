"""The search against queues whose capacity is known by theory, and what follows from its answer."""

import math

import numpy as np
import pytest

from aweigh.bench.capacity import CapacitySearch, Outcome, Price, parse_price, size
from aweigh.core.errors import InvalidSetting
from aweigh.core.objective import Objective, parse_objective

SERVICE = 1000.0
OBJECTIVE = parse_objective("p99 <= 20ms")


def theory(objective: Objective, service: float = SERVICE) -> float:
    """M/M/1: the time in the system is exponential of rate (service - arrivals)."""
    return service + math.log(1 - objective.percentile / 100) / objective.limit_s


def run_queue(rate: float, random: np.random.Generator, *, requests: int = 40_000) -> np.ndarray:
    """Times in the system of an M/M/1 queue (Lindley's recursion)."""
    arrivals = np.cumsum(random.exponential(1 / rate, requests))
    services = random.exponential(1 / SERVICE, requests)
    waits = np.zeros(requests)
    wait = 0.0
    for at in range(1, requests):
        wait = max(0.0, wait + services[at - 1] - (arrivals[at] - arrivals[at - 1]))
        waits[at] = wait
    return waits + services


def search(start: float, judge: object, **options: float) -> CapacitySearch:
    seeking = CapacitySearch(start=start, max_rate=options.pop("max_rate", 1e6), **options)  # type: ignore[arg-type]
    for _ in range(60):
        rate = seeking.next_rate()
        if rate is None:
            return seeking
        seeking.record(judge(rate))  # type: ignore[operator]
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("start", [1.0, 50.0, 700.0, 5000.0, 1e6])
def test_a_queue_whose_capacity_theory_knows(start: float) -> None:
    random = np.random.default_rng(8)

    def judge(rate: float) -> Outcome:
        if rate >= SERVICE:
            return "failed"
        return "held" if np.percentile(run_queue(rate, random), OBJECTIVE.percentile) <= OBJECTIVE.limit_s else "failed"

    found = search(start, judge).result()
    assert found.rate == pytest.approx(theory(OBJECTIVE), rel=0.1)
    assert found.held >= 3
    assert found.failed_rate is not None
    assert found.rate < found.failed_rate <= found.rate * 1.06
    assert found.limited_by == "server"


def test_a_rate_that_held_by_luck_is_not_the_answer() -> None:
    """At the knee a run holds every other time: the confirmations must find out."""
    tried: dict[float, int] = {}

    def judge(rate: float) -> Outcome:
        tried[rate] = tried.get(rate, 0) + 1
        if rate > 1000:
            return "failed"
        return "held" if rate <= 700 or tried[rate] == 1 else "failed"

    found = search(10, judge).result()
    assert 600 <= found.rate <= 700
    assert found.held == 3


def test_one_bad_moment_does_not_decide() -> None:
    """The third run at the rate of the answer meets a hiccup of the machine."""
    tried: dict[float, int] = {}

    def judge(rate: float) -> Outcome:
        tried[rate] = tried.get(rate, 0) + 1
        return "held" if rate <= 700 and tried[rate] != 3 else "failed"

    found = search(10, judge).result()
    assert found.rate == pytest.approx(700, rel=0.06)
    assert (found.held, found.runs, found.steady) == (3, 4, True)


@pytest.mark.parametrize("at", range(1, 12))
@pytest.mark.parametrize("meets", ["failed", "generator"])
def test_a_bad_moment_of_any_one_run_does_not_decide(at: int, meets: Outcome) -> None:
    """The eleven first runs are those that double, narrow and confirm."""
    runs = 0

    def judge(rate: float) -> Outcome:
        nonlocal runs
        runs += 1
        return meets if runs == at else "held" if rate <= 700 else "failed"

    found = search(100, judge).result()
    assert found.rate == pytest.approx(700, rel=0.06)
    assert found.limited_by == "server"


def test_a_late_generator_is_asked_three_times() -> None:
    found = search(100, lambda rate: "held" if rate <= 150 else "generator").result()
    assert [trial.rate for trial in found.trials[1:4]] == [200, 200, 200]
    assert found.limited_by == "generator"


def test_a_search_that_finds_no_rest_is_broken_off() -> None:
    random = np.random.default_rng(1)
    found = search(10, lambda rate: "held" if random.random() < 0.45 else "failed").result()
    assert len(found.trials) <= 40


def test_a_generator_that_gives_out_is_told_from_a_server_that_does() -> None:
    found = search(100, lambda rate: "held" if rate <= 5000 else "generator").result()
    assert found.limited_by == "generator"
    assert found.rate == pytest.approx(5000, rel=0.06)


def test_an_objective_that_holds_at_no_rate() -> None:
    found = search(100, lambda rate: "failed").result()
    assert found.rate == 0
    assert found.held == 0


def test_the_most_that_may_be_tried() -> None:
    found = search(100, lambda rate: "held", max_rate=333.0).result()
    assert found.rate == 333
    assert found.limited_by == "nothing"
    assert found.failed_rate is None
    assert found.held == 3


def test_replicas_and_cost_of_a_load() -> None:
    sizing = size(9000.0, cores=2.0, cores_from="as stated", load=50_000, headroom=0.3, price=Price(amount=0.04, per="core"))
    assert sizing.per_core == 4500
    assert sizing.replicas == 8  # 50000 / 6300 = 7.94
    assert sizing.cost_per_hour == pytest.approx(8 * 2 * 0.04)
    assert sizing.cost_per_month == pytest.approx(0.64 * 730)
    assert sizing.cost_per_million == pytest.approx(0.64 / 180)


def test_what_is_not_known_is_not_made_up() -> None:
    sizing = size(9000.0, cores=None, cores_from="unknown", load=50_000, headroom=0.0, price=Price(amount=0.04, per="core"))
    assert (sizing.per_core, sizing.cost_per_hour) == (None, None)
    assert sizing.replicas == 6
    assert size(0.0, cores=1, cores_from="", load=50_000, headroom=0.3, price=None).replicas is None
    assert size(9000.0, cores=None, cores_from="", load=9000, headroom=0.0, price=parse_price("0.5/replica-hour")).cost_per_hour == 0.5


@pytest.mark.parametrize("text", ["", "0.04", "0.04/hour", "$0.04/core-hour", "-1/core-hour", "free", "0.04/core-hour/month"])
def test_prices_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSetting, match="is not a price"):
        parse_price(text)

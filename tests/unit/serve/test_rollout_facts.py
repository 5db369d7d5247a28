"""Rollouts and fallbacks as Prometheus reads them."""

from aweigh.core.rollout import Compared, Plan, Report
from aweigh.serve.overview import FallbackFacts
from aweigh.serve.rollout_facts import fallback_lines, rollout_lines

PLAN = Plan(name="m", candidate=2, canary=0.1, shadow=0.5)
RUNNING = Report(plan=PLAN, stable=1, state="running", began_at="", compared=Compared(rows=80, flips=3, max_abs=0.02))
ENDED = Report(plan=PLAN, stable=1, state="rolled back", began_at="", ended_at="2026-05-01T12:00:00+00:00")


def samples(text: str) -> set[str]:
    return {line for line in text.splitlines() if not line.startswith("#")}


def test_what_is_under_way_and_how_the_last_one_ended() -> None:
    assert samples("".join(rollout_lines([RUNNING, ENDED]))) == {
        'aweigh_rollout_info{model="m",stable="1",candidate="2",state="running"} 1',
        'aweigh_rollout_candidate_share{model="m",candidate="2"} 0.1',
        'aweigh_rollout_shadow_share{model="m",candidate="2"} 0.5',
        'aweigh_rollout_compared_rows{model="m",candidate="2"} 80',
        'aweigh_rollout_flips{model="m",candidate="2"} 3',
        'aweigh_rollout_max_difference{model="m",candidate="2"} 0.02',
        'aweigh_rollout_ended_timestamp_seconds{model="m",candidate="2",outcome="rolled back"} 1777636800',
    }


def test_nothing_is_told_of_nothing() -> None:
    assert "".join((*rollout_lines([]), *fallback_lines([]))) == ""


def test_fallbacks() -> None:
    facts = [FallbackFacts(name="m", other="n", circuit="half-open", taken=7)]
    text = "".join(fallback_lines(facts))
    assert "# TYPE aweigh_fallback_total counter" in text
    assert samples(text) == {'aweigh_fallback_total{model="m",fallback="n"} 7', 'aweigh_fallback_circuit_open{model="m"} 1'}

"""The judge of a rollout: percentiles read off histograms, and which counts end it."""

import pytest

from aweigh.core.errors import Kind
from aweigh.core.rollout import Bounds, Compared, Counted, Plan, Seen
from aweigh.engine.judge import counted, done_of, fault_of, percentile_s, share_above, since, version_of
from aweigh.engine.statistics import BOUNDS_S, BUCKETS, ModelStatistics


def took(seconds: float, count: int) -> tuple[int, ...]:
    """So many calls in the bucket that ends at `seconds`."""
    durations = [0] * BUCKETS
    durations[BOUNDS_S.index(seconds)] = count
    return tuple(durations)


def answered(count: int, *, failed: int = 0, seconds: float = 0.001) -> Counted:
    return Counted(answered=count, failed=failed, durations=took(seconds, count))


def canary(answers: int, failed: int, stable: Counted) -> Seen:
    """So many requests of the candidate were answered, and so many failed by it alone."""
    return Seen(stable=stable, candidate=answered(answers), failed=failed)


def judge(seen: Seen, **bounds: object) -> str:
    return fault_of(seen, Plan(name="m", candidate=2, canary=0.5, shadow=1, bounds=Bounds(**bounds)))  # type: ignore[arg-type]  # what each test says


def test_percentiles_lie_within_their_bucket() -> None:
    assert percentile_s([], 0.5) == 0.0
    assert percentile_s(took(0.001, 10), 0.5) == pytest.approx(0.00075)
    assert percentile_s(took(0.001, 10), 1.0) == pytest.approx(0.001)
    mixed = tuple(a + b for a, b in zip(took(0.001, 90), took(0.1, 10), strict=True))
    assert 0.05 < percentile_s(mixed, 0.95) <= 0.1
    assert percentile_s((*[0] * (BUCKETS - 1), 4), 0.5) > BOUNDS_S[-1]


def test_counts_are_those_since_the_beginning() -> None:
    before, now = answered(10, failed=1), answered(15, failed=3)
    assert since(now, before) == answered(5, failed=2)
    assert since(now, Counted()) == now
    assert version_of(7, since(now, before)).requests == 7


def test_what_a_caller_did_wrong_is_no_failure_of_the_version() -> None:
    done = ModelStatistics()
    for kind in (Kind.INVALID, Kind.TOO_LARGE, Kind.CANCELLED, Kind.OVERLOADED, Kind.INTERNAL, Kind.UNAVAILABLE, Kind.TIMEOUT):
        done.failure(kind)
    assert counted(done).failed == 3


def test_nothing_is_judged_too_early() -> None:
    assert judge(canary(9, 1, Counted()), requests=1000) == ""
    assert judge(Seen(candidate=answered(99, seconds=1.0), stable=answered(99))) == ""


def test_failures_beyond_the_bound_end_it() -> None:
    stable = answered(1000, failed=50)
    assert judge(canary(950, 50, stable)) == ""
    assert "failed 20.00% of 100 requests" in judge(canary(80, 20, answered(100)))
    assert judge(canary(80, 20, answered(100)), errors=None) == ""


def test_what_no_answer_could_mend_ends_it_before_it_is_due() -> None:
    assert "2 of its first 3 requests" in judge(canary(1, 2, answered(100)), requests=100)
    assert judge(canary(2, 1, answered(100)), requests=100) == ""


def test_slowness_is_a_ratio_of_percentiles_beyond_what_noise_could_be() -> None:
    assert "its p95 is" in judge(Seen(stable=answered(100), candidate=answered(100, seconds=0.05)))
    assert judge(Seen(stable=answered(100, seconds=0.00005), candidate=answered(100, seconds=0.00025))) == ""
    assert judge(Seen(stable=answered(100), candidate=answered(100, seconds=0.05)), latency=None) == ""


def test_a_hiccup_is_no_slowness() -> None:
    stable, hiccup = answered(1000), tuple(a + b for a, b in zip(took(0.001, 93), took(0.1, 7), strict=True))
    assert judge(Seen(stable=stable, candidate=Counted(answered=100, durations=hiccup))) == ""
    often = tuple(a + b for a, b in zip(took(0.001, 80), took(0.1, 20), strict=True))
    assert "its p95 is" in judge(Seen(stable=stable, candidate=Counted(answered=100, durations=often)))
    assert share_above(often, 0.001) == pytest.approx(0.2)
    assert share_above(often, 0.075) == pytest.approx(0.1)
    assert share_above([], 0.1) == 0.0


def test_a_difference_ends_it_at_once_and_labels_when_there_are_enough() -> None:
    one = Compared(calls=1, rows=1, flips=1, numbers=3, max_abs=0.2, sum_abs=0.3)
    assert judge(Seen(compared=one)) == ""
    assert judge(Seen(compared=one), difference=0.1) == "an answer differs by 0.2; allowed is 0.1"
    many = Compared(calls=100, rows=100, flips=6)
    assert judge(Seen(compared=many)) == "6 of 100 rows got another label; allowed are 5.00%"
    assert judge(Seen(compared=Compared(calls=98, failed=2, rows=98))) != ""


def test_it_promotes_by_itself_only_when_told_to() -> None:
    waiting = Plan(name="m", candidate=2, canary=0.5)
    assert not done_of(Seen(candidate=answered(10**6)), waiting)
    eager = Plan(name="m", candidate=2, canary=0.5, promote_after=10, bounds=Bounds(requests=20))
    assert not done_of(Seen(candidate=answered(19)), eager)
    assert done_of(Seen(candidate=answered(20)), eager)
    assert done_of(Seen(compared=Compared(rows=10)), Plan(name="m", candidate=2, shadow=1, promote_after=10))


def test_a_candidate_that_ends_workers_leaves_no_counts_and_is_found_out_all_the_same() -> None:
    assert judge(Seen(lost=2)) == ""
    assert judge(Seen(lost=3)).startswith("3 workers ended")

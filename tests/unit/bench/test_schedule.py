"""When requests are due, before anything is sent."""

import numpy as np
import pytest
from scipy import stats

from aweigh.bench.plan import Load
from aweigh.bench.schedule import due_times


def times(*, share: int = 0, seconds: float = 20.0, begin: float = 100.0, **load: object) -> np.ndarray:
    return np.array(list(due_times(Load(**load), share, begin, begin + seconds)))  # type: ignore[arg-type]  # fields by name


def test_constant_arrivals_are_evenly_spaced_and_never_drift() -> None:
    found = times(rate=1000.0, arrival="constant")
    assert len(found) == 20_000
    assert np.allclose(found, 100 + np.arange(20_000) / 1000, atol=1e-9)


def test_poisson_arrivals_have_exponential_gaps_of_the_right_mean() -> None:
    found = times(rate=2000.0, arrival="poisson", seed=5)
    gaps = np.diff(found)
    assert len(found) == pytest.approx(40_000, abs=5 * 200)  # five standard deviations of a Poisson count
    assert stats.kstest(gaps, "expon", args=(0, 1 / 2000)).pvalue > 0.001
    assert found.min() >= 100
    assert found.max() < 120


@pytest.mark.parametrize("arrival", ["poisson", "constant"])
def test_several_processes_together_have_the_whole_rate(arrival: str) -> None:
    parts = [times(share=share, rate=900.0, arrival=arrival, processes=3) for share in range(3)]
    assert sum(map(len, parts)) == pytest.approx(18_000, abs=0 if arrival == "constant" else 700)
    together = np.sort(np.concatenate(parts))
    assert len(np.unique(together)) == len(together)
    if arrival == "constant":
        assert np.allclose(np.diff(together), 1 / 900, atol=1e-9)
    else:
        assert stats.kstest(np.diff(together), "expon", args=(0, 1 / 900)).pvalue > 0.001


def test_a_seed_repeats_a_schedule_and_another_one_does_not() -> None:
    assert np.array_equal(times(rate=50.0, seed=1), times(rate=50.0, seed=1))
    assert not np.array_equal(times(rate=50.0, seed=1)[:10], times(rate=50.0, seed=2)[:10])


def test_a_rate_below_one_a_second() -> None:
    assert list(times(rate=0.1, arrival="constant", seconds=25.0)) == [100.0, 110.0, 120.0]

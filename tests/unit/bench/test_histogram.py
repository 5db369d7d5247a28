"""The histogram against numpy on distributions such as latencies have: every percentile within the stated error."""

import math

import msgspec
import numpy as np
import pytest

from aweigh.bench.histogram import HIGHEST_S, LOWEST_S, RELATIVE_ERROR, Histogram, Packed

RANDOM = np.random.default_rng(3)
DISTRIBUTIONS = {
    "exponential": RANDOM.exponential(0.004, 100_000),
    "lognormal": RANDOM.lognormal(-7, 1.2, 100_000),
    "bimodal": np.concatenate([RANDOM.normal(0.002, 0.0001, 95_000), RANDOM.normal(1.0, 0.05, 5_000)]).clip(1e-6),
    "uniform": RANDOM.uniform(1e-5, 0.1, 100_000),
    "one value": np.full(1000, 0.0123),
    "two": np.array([0.001, 5.0]),
    "one": np.array([0.5]),
    "pareto": (RANDOM.pareto(1.5, 100_000) + 1) * 1e-4,
}
PERCENTS = (0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100)


def of(values: np.ndarray) -> Histogram:
    made = Histogram()
    for part in np.array_split(values, 7):
        made.add(part)
    return made


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_percentile_is_within_the_stated_error(name: str) -> None:
    values = DISTRIBUTIONS[name]
    made = of(values)
    for percent in PERCENTS:
        exact = float(np.percentile(values, percent, method="inverted_cdf"))
        assert made.percentile(percent) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.000001), percent
    assert made.mean_s == pytest.approx(values.mean())
    assert (made.lowest_s, made.highest_s) == (values.min(), values.max())
    assert len(made) == values.size


def test_ends_of_the_range() -> None:
    made = of(np.array([0.0, -1e-9, LOWEST_S / 2, HIGHEST_S * 2]))
    assert len(made) == 4
    assert made.percentile(100) == pytest.approx(HIGHEST_S, rel=2 * RELATIVE_ERROR)
    assert made.percentile(50) <= LOWEST_S


def test_merging_adds_up() -> None:
    values = DISTRIBUTIONS["lognormal"]
    whole, parts = of(values), Histogram()
    for part in np.array_split(values, 3):
        parts.merge(of(part))
    assert np.array_equal(whole.counts, parts.counts)
    assert parts.mean_s == pytest.approx(whole.mean_s)


def test_it_crosses_between_processes() -> None:
    made = of(DISTRIBUTIONS["pareto"])
    carried = msgspec.msgpack.decode(msgspec.msgpack.encode(made.pack()), type=Packed)
    back = Histogram.unpack(carried)
    assert np.array_equal(back.counts, made.counts)
    assert (back.total_s, back.lowest_s, back.highest_s) == (made.total_s, made.lowest_s, made.highest_s)
    assert len(Histogram.unpack(Histogram().pack())) == 0


def test_an_empty_one_knows_nothing() -> None:
    empty = Histogram()
    assert math.isnan(empty.percentile(99))
    assert math.isnan(empty.mean_s)
    assert math.isnan(empty.share_within(1.0))


def test_what_was_never_answered_is_slower_than_all_that_was() -> None:
    made = of(np.full(98, 0.001))
    assert made.percentile(98, unanswered=2) == pytest.approx(0.001, rel=RELATIVE_ERROR)
    assert made.percentile(99, unanswered=2) == math.inf


@pytest.mark.parametrize("limit", [1e-4, 1e-3, 1e-2, 0.1, 10.0])
def test_the_share_within_a_limit(limit: float) -> None:
    values = DISTRIBUTIONS["lognormal"]
    found = of(values).share_within(limit)
    low, high = (float((values <= limit * (1 + sign * 2.1 * RELATIVE_ERROR)).mean()) for sign in (-1, 1))
    assert low <= found <= high


def test_correction_adds_the_requests_that_a_stall_kept_from_being_sent() -> None:
    """One user, 1 ms an answer, one stall of a second: 999 requests would have waited, evenly from 0 to 1 s."""
    made = of(np.concatenate([np.full(9000, 0.001), [1.0]]))
    corrected = made.corrected(0.001)
    assert len(corrected) == pytest.approx(9001 + 998, abs=3)
    assert made.percentile(99) < 0.002
    assert corrected.percentile(99) == pytest.approx(0.9, rel=0.02)
    assert len(made.corrected(0.0)) == len(made)

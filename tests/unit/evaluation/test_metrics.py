"""Every metric is what scikit-learn says it is; intervals are what scipy's bootstrap says they are, slices included."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn import calibration, metrics

from aweigh.evaluation.bootstrap import draws_of, figures, holm, mcnemar, p_value
from aweigh.evaluation.classification import ClassScores
from aweigh.evaluation.ranking import score_groups
from aweigh.evaluation.regression import ValueScores
from aweigh.evaluation.scores import Scores

RANDOM = np.random.default_rng(7)


def classifier(rows: int, labels: int, *, seed: int = 7) -> ClassScores:
    random = np.random.default_rng(seed)
    right = random.integers(0, labels, rows)
    scores = random.normal(size=(rows, labels)) + 1.5 * np.eye(labels)[right]
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    chances = np.round(chances, 2)  # equal ones, for the curve
    chances /= chances.sum(axis=1, keepdims=True)
    return ClassScores(labels=tuple(map(str, range(labels))), right=right, given=chances.argmax(axis=1), probabilities=chances)


def measured(scores: Scores) -> dict[str, float]:
    return scores.measure(np.ones(scores.units))


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("rows", [12, 400])
def test_classification(labels: int, rows: int) -> None:
    scores = classifier(rows, labels)
    right, given, chances = scores.right, scores.given, scores.probabilities
    assert chances is not None
    places = list(range(labels))
    expected: dict[str, float] = {
        "accuracy": metrics.accuracy_score(right, given),
        "balanced_accuracy": metrics.balanced_accuracy_score(right, given),
        "log_loss": metrics.log_loss(right, chances, labels=places),
        "roc_auc": metrics.roc_auc_score(right, chances[:, 1] if labels == 2 else chances, multi_class="ovr", labels=places),
        "brier": metrics.brier_score_loss(right, chances[:, 1])
        if labels == 2
        else float(((chances - np.eye(labels)[right]) ** 2).sum(axis=1).mean()),
    }
    for average, suffix in (("macro", ""), ("weighted", "_weighted")):
        for name in ("precision", "recall", "f1"):
            expected[name + suffix] = getattr(metrics, f"{name}_score")(right, given, average=average, zero_division=0)
    found = measured(scores)
    assert set(found) == {*expected, "calibration_error"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_classes_that_nobody_gives_or_has_count_as_in_scikit_learn() -> None:
    scores = ClassScores(labels=("a", "b", "c", "d"), right=np.array([0, 0, 1, 1]), given=np.array([0, 2, 1, 2]))
    found = measured(scores)
    assert found["f1"] == pytest.approx(metrics.f1_score(scores.right, scores.given, average="macro", zero_division=0))
    assert "log_loss" not in found
    of_classes = scores.of_classes(np.ones(4))
    report = metrics.precision_recall_fscore_support(scores.right, scores.given, labels=range(4), zero_division=0)
    assert [of_classes[f"f1[{label}]"] for label in "abcd"] == pytest.approx(report[2].tolist())
    assert scores.confusion() == tuple(map(tuple, metrics.confusion_matrix(scores.right, scores.given, labels=range(4)).tolist()))


def test_calibration_is_scikit_learns_curve() -> None:
    scores = classifier(600, 2)
    assert scores.probabilities is not None
    found, said = calibration.calibration_curve(scores.right, scores.probabilities[:, 1], n_bins=10)
    bins = scores.calibration()
    # scikit-learn puts a probability on a border into the bin below, we into the one above: compare away from borders
    apart = ~np.isclose(scores.probabilities[:, 1] * 10 % 1, 0)
    inner = scores.take(np.flatnonzero(apart)).calibration()
    found, said = calibration.calibration_curve(scores.right[apart], scores.probabilities[apart, 1], n_bins=10)
    assert [one.found for one in inner] == pytest.approx(found.tolist())
    assert [one.said for one in inner] == pytest.approx(said.tolist())
    gap = sum(one.rows * abs(one.said - one.found) for one in bins) / 600
    assert measured(scores)["calibration_error"] == pytest.approx(gap)


def test_regression() -> None:
    right = RANDOM.normal(10, 4, 300)
    given = right + RANDOM.normal(0.3, 1, 300)
    found = measured(ValueScores(right=right, given=given.reshape(-1, 1)))
    assert found == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(right, given),
            "rmse": metrics.root_mean_squared_error(right, given),
            "r2": metrics.r2_score(right, given),
            "mape": metrics.mean_absolute_percentage_error(right, given),
            "bias": float((given - right).mean()),
        },
        rel=1e-9,
    )


def test_quantiles() -> None:
    right = RANDOM.normal(size=500)
    given = np.column_stack([right + RANDOM.normal(shift, 1, 500) for shift in (-1.3, 0, 1.3)])
    given.sort(axis=1)
    found = measured(ValueScores(right=right, given=given, quantiles=(0.1, 0.5, 0.9)))
    pinball = np.mean([metrics.mean_pinball_loss(right, given[:, at], alpha=q) for at, q in enumerate((0.1, 0.5, 0.9))])
    assert found["pinball"] == pytest.approx(pinball)
    assert found["coverage[0.9]"] == pytest.approx((right <= given[:, 2]).mean())
    assert found["interval_coverage"] == pytest.approx(((right >= given[:, 0]) & (right <= given[:, 2])).mean())
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(right, given[:, 1]))


def test_ranking() -> None:
    relevance = RANDOM.integers(0, 4, 200).astype(np.float64)
    scores = np.round(RANDOM.normal(size=200) + relevance / 2, 1)  # equal scores
    groups = [np.arange(at, at + 20) for at in range(0, 200, 20)]
    found = measured(score_groups(groups, relevance, scores, (3, 10)))
    for name, cutoff in (("ndcg", None), ("ndcg@3", 3), ("ndcg@10", 10)):
        expected = np.mean([metrics.ndcg_score([relevance[rows]], [scores[rows]], k=cutoff) for rows in groups])
        assert found[name] == pytest.approx(expected)
    assert measured(score_groups([np.arange(3)], np.array([0.0, 0, 1]), np.array([3.0, 1, 1]), ()))["mrr"] == pytest.approx(1 / 3)


def f1_of_three(right: Any, given: Any) -> float:
    """Quick, and not ours."""
    table = np.histogram2d(right, given, bins=3, range=[[0, 3], [0, 3]])[0]
    return float(np.mean(2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))))


STATISTICS: list[tuple[str, Callable[[Any, Any], float]]] = [
    ("accuracy", lambda right, given: float((right == given).mean())),
    ("f1", f1_of_three),
]


@pytest.mark.parametrize(("name", "statistic"), STATISTICS, ids=[name for name, _ in STATISTICS])
@pytest.mark.parametrize("rows", [300, 60], ids=["all", "slice"])
def test_intervals_are_those_of_an_independent_bootstrap(name: str, statistic: Callable[[Any, Any], float], rows: int) -> None:
    scores = classifier(300, 3).take(np.arange(rows))
    draws = draws_of(scores.measure, scores.units, resamples=4000, seed=1)
    found = figures(measured(scores), draws, 0.95)[name]
    other = scipy.stats.bootstrap(
        (scores.right, scores.given), statistic, n_resamples=3000, paired=True, vectorized=False, method="percentile", rng=2
    ).confidence_interval
    assert found.low is not None
    assert found.high is not None
    width = other.high - other.low
    assert found.low == pytest.approx(other.low, abs=0.12 * width)
    assert found.high == pytest.approx(other.high, abs=0.12 * width)


def test_intervals_of_regression_too() -> None:
    right = RANDOM.normal(10, 4, 200)
    given = right + RANDOM.normal(0.3, 1, 200)
    scores = ValueScores(right=right, given=given.reshape(-1, 1))
    found = figures(measured(scores), draws_of(scores.measure, 200, resamples=4000, seed=1), 0.9)
    for name, statistic in (
        ("rmse", lambda a, b: np.sqrt(np.mean((a - b) ** 2))),
        ("r2", lambda a, b: 1 - np.mean((a - b) ** 2) / np.var(a)),
    ):
        other = scipy.stats.bootstrap(
            (right, given), statistic, n_resamples=3000, paired=True, vectorized=False, method="percentile", confidence_level=0.9, rng=3
        ).confidence_interval
        width = other.high - other.low
        assert (found[name].low, found[name].high) == pytest.approx((other.low, other.high), abs=0.12 * width)


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    scores = classifier(50, 2)
    one, two, other = (draws_of(scores.measure, 50, resamples=20, seed=seed)["f1"] for seed in (3, 3, 4))
    assert (one == two).all()
    assert (one != other).any()


def test_a_figure_without_a_value_has_none_and_no_interval() -> None:
    scores = classifier(20, 2).take(np.flatnonzero(classifier(20, 2).right == 1))
    found = figures(measured(scores), draws_of(scores.measure, scores.units, resamples=20, seed=0), 0.95)
    assert found["roc_auc"].value is None
    assert found["accuracy"].low is not None


@pytest.mark.parametrize(("one", "other"), [(0, 0), (5, 1), (30, 12), (4000, 3800), (7, 7)])
def test_mcnemar_is_the_binomial_test(one: int, other: int) -> None:
    expected = scipy.stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-6)


def test_p_values() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert p_value(np.full(999, 1.0)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(100)) == 1.0
    assert not math.isnan(p_value(np.array([np.nan, 1.0])))

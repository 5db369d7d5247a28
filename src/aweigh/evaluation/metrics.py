"""The metrics: their names, what they mean, and which way is better. Read by requirements, rankings, and the documentation."""

import math
from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import InvalidSetting
from aweigh.core.nearest import listed, nearest
from aweigh.core.signature import Task

HIGHER, LOWER, NEITHER = 1, -1, 0

METRICS: Final[dict[str, tuple[int, str]]] = {
    "accuracy": (HIGHER, "share of right labels"),
    "balanced_accuracy": (HIGHER, "mean recall of the classes"),
    "precision": (HIGHER, "mean of the classes; of one class: precision[CLASS]"),
    "recall": (HIGHER, "mean of the classes; of one class: recall[CLASS]"),
    "f1": (HIGHER, "mean of the classes; of one class: f1[CLASS]"),
    "precision_weighted": (HIGHER, "mean of the classes by their rows"),
    "recall_weighted": (HIGHER, "mean of the classes by their rows"),
    "f1_weighted": (HIGHER, "mean of the classes by their rows"),
    "log_loss": (LOWER, "mean of -log of the right class's probability"),
    "roc_auc": (HIGHER, "two classes: of the second; more: mean of each against the rest"),
    "brier": (LOWER, "squared error of the probabilities; two classes: of the second, more: summed over them"),
    "calibration_error": (LOWER, "mean gap between what is said and what is found, over ten bins of probability"),
    "mae": (LOWER, "mean absolute error"),
    "rmse": (LOWER, "root of the mean squared error"),
    "r2": (HIGHER, "share of the variance that is explained"),
    "mape": (LOWER, "mean absolute error as a share of the right value"),
    "bias": (NEITHER, "mean of prediction less right value"),
    "pinball": (LOWER, "mean quantile loss"),
    "coverage": (NEITHER, "of a quantile, coverage[0.9]: share of right values at or below it"),
    "interval_coverage": (NEITHER, "share of right values between the lowest and the highest quantile"),
    "ndcg": (HIGHER, "discounted gain of the order, of the best possible; the first K alone: ndcg@K"),
    "mrr": (HIGHER, "mean of 1 / place of the first relevant row"),
}

AT_MOST_ONE: Final = frozenset({
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "precision_weighted", "recall_weighted", "f1_weighted", "roc_auc",
    "calibration_error", "r2", "coverage", "interval_coverage", "ndcg", "mrr",
})  # fmt: skip
"""No figure of these exceeds 1."""
PRIMARY: Final = {Task.CLASSIFICATION: "f1", Task.REGRESSION: "rmse", Task.RANKING: "ndcg"}


def base(name: str) -> str:
    """`f1[yes]` and `ndcg@5` without what stands behind."""
    return name.partition("[")[0].partition("@")[0]


def better(name: str) -> int:
    """1 where more is better, -1 where less is, 0 where neither."""
    return METRICS[base(name)][0]


def bounded(name: str) -> bool:
    """Whether no figure of it exceeds 1."""
    return base(name) in AT_MOST_ONE


def worth(name: str, value: float | None, quantiles: Sequence[float] = ()) -> float:
    """A figure as something of which more is better; nothing is worth least. Coverage is worth most where it is what the quantiles say."""
    if value is None or math.isnan(value):
        return -math.inf
    return -abs(value - _meant(name, quantiles)) if better(name) == NEITHER else better(name) * value


def _meant(name: str, quantiles: Sequence[float]) -> float:
    """What a figure of which neither more nor less is better should be."""
    if name == "interval_coverage":
        return max(quantiles) - min(quantiles) if quantiles else 1.0
    return float(name.partition("[")[2].removesuffix("]")) if base(name) == "coverage" else 0.0


def known(name: str, among: object, *, place: str) -> str:
    """The name, if it is among those that were measured. Raises InvalidSetting with the nearest."""
    names = list(among)  # type: ignore[call-overload]  # any iterable of names
    if name in names:
        return name
    classes = [item[len(base(name)) + 1 : -1] for item in names if item.startswith(f"{base(name)}[") and "[" in name]
    if classes:
        raise InvalidSetting(f"{place}: there is no class of {name[:80]!r} here", hint=f"the classes are: {listed(classes)}")
    near = nearest(name, names)
    metrics = ", ".join(item for item in names if "[" not in item)
    raise InvalidSetting(
        f"{place}: there is no metric {name[:80]!r} here", hint=f"did you mean '{near}'?" if near else f"there are: {metrics}"
    )

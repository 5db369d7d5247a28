"""Metrics of classifiers, as scikit-learn defines them, from labels and (where there are some) probabilities."""

import dataclasses
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from aweigh.evaluation.result import Bin
from aweigh.evaluation.scores import Floats, Rows, Weights, mean, ratio

BINS: Final = 10
_MAX_RANKED: Final = 50_000_000
"""Rows times classes beyond which the area under the curve is left out."""
Codes = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScores:
    """`right` and `given` are positions in `labels`; `probabilities` [rows, the first labels] or None. A label may be one the model does not know:
    behind the first ones, of a probability of 0."""

    labels: tuple[str, ...]
    right: Codes
    given: Codes
    probabilities: Floats | None = None

    @property
    def units(self) -> int:
        return len(self.right)

    def take(self, units: Rows) -> Self:
        probabilities = None if self.probabilities is None else self.probabilities[units]
        return dataclasses.replace(self, right=self.right[units], given=self.given[units], probabilities=probabilities)

    def measure(self, weights: Weights) -> dict[str, float]:
        table = self._table(weights)
        present, support = table["present"], table["support"]
        found = {"accuracy": float(table["hits"].sum() / weights.sum()), "balanced_accuracy": float(table["recall"][support > 0].mean())}
        for name in ("precision", "recall", "f1"):
            found[name] = float(table[name][present].mean())
        for name in ("precision", "recall", "f1"):
            found[f"{name}_weighted"] = float(table[name] @ support / support.sum())
        if self.probabilities is not None:
            found |= {"log_loss": mean(self._log_losses, weights), "roc_auc": self._roc_auc(weights), "brier": mean(self._briers, weights)}
            found["calibration_error"] = self._calibration_error(weights)
        return found

    def of_classes(self, weights: Weights) -> dict[str, float]:
        """`precision[CLASS]`, `recall[CLASS]`, `f1[CLASS]` of every class; apart, because there may be thousands."""
        table = self._table(weights)
        return {
            f"{name}[{label}]": float(table[name][at]) for at, label in enumerate(self.labels) for name in ("precision", "recall", "f1")
        }

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Rows by right answer, columns by answer given."""
        count = len(self.labels)
        table = np.bincount(self.right * count + self.given, minlength=count * count).reshape(count, count)
        return tuple(tuple(map(int, row)) for row in table)

    def calibration(self) -> tuple[Bin, ...]:
        """Ten bins of equal width that hold rows: what was said on average, and how often it was so."""
        if self.probabilities is None:
            return ()
        rows, said, found = self._bins(np.ones(self.units))
        return tuple(Bin(rows=int(n), said=float(s / n), found=float(f / n)) for n, s, f in zip(rows, said, found, strict=True) if n)

    def _table(self, weights: Weights) -> dict[str, Floats]:
        count, hit = len(self.labels), self.right == self.given
        support = np.bincount(self.right, weights, count)
        given = np.bincount(self.given, weights, count)
        hits = np.bincount(self.right[hit], weights[hit], count)
        precision, recall = ratio(hits, given), ratio(hits, support)
        f1 = ratio(2 * hits, given + support)
        return {"hits": hits, "support": support, "present": (support + given) > 0, "precision": precision, "recall": recall, "f1": f1}

    def _chances(self, labels: Codes | int) -> Floats:
        """Of each row, the probability of its label."""
        assert self.probabilities is not None  # noqa: S101  # callers have looked
        at, width = np.broadcast_to(labels, self.units), self.probabilities.shape[1]
        return np.where(at < width, self.probabilities[np.arange(self.units), np.minimum(at, width - 1)], 0.0)

    @cached_property
    def _log_losses(self) -> Floats:
        own = self._chances(self.right)
        smallest = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(own, smallest, 1 - smallest)))

    @cached_property
    def _briers(self) -> Floats:
        assert self.probabilities is not None  # noqa: S101  # callers have looked
        if len(self.labels) == 2:
            return np.asarray((self._chances(1) - (self.right == 1)) ** 2)
        hot, known = np.zeros_like(self.probabilities), self.right < self.probabilities.shape[1]
        hot[known, self.right[known]] = 1
        return np.asarray(((self.probabilities - hot) ** 2).sum(axis=1) + ~known)

    @cached_property
    def _said(self) -> tuple[Codes, Floats, NDArray[np.bool_]]:
        """Bin of each row, the probability it was put there for, and whether that came true: of two classes the second's, of more the label's own."""
        if len(self.labels) == 2:
            said, came = self._chances(1), self.right == 1
        else:
            said, came = self._chances(self.given), self.right == self.given
        return np.clip((said * BINS).astype(np.int64), 0, BINS - 1), said, came

    def _bins(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        at, said, came = self._said
        rows, chances, hits = (np.bincount(at, one, BINS).astype(np.float64) for one in (weights, weights * said, weights * came))
        return rows, chances, hits

    def _calibration_error(self, weights: Weights) -> float:
        _, said, found = self._bins(weights)
        return float(np.abs(said - found).sum() / weights.sum())

    @cached_property
    def _ranks(self) -> list[tuple[int, Codes]]:
        """Of each class that is ranked: its position, and the places of all rows by its probability, equal ones on one place."""
        assert self.probabilities is not None  # noqa: S101  # callers have looked
        if self.units * len(self.labels) > _MAX_RANKED:
            return []
        ranked = [1] if len(self.labels) == 2 else range(len(self.labels))
        width, nowhere = self.probabilities.shape[1], np.zeros(self.units, dtype=np.int64)
        return [
            (at, np.unique(self.probabilities[:, at], return_inverse=True)[1].astype(np.int64) if at < width else nowhere) for at in ranked
        ]

    def _roc_auc(self, weights: Weights) -> float:
        areas = [_area(places, self.right == at, weights) for at, places in self._ranks]
        return float(np.mean(areas)) if areas else float("nan")


def _area(places: Codes, positive: NDArray[np.bool_], weights: Weights) -> float:
    """Share of pairs (one of the class, one not) that stand in the right order; equal ones count half. NaN without such pairs."""
    ups = np.bincount(places, weights * positive)
    downs = np.bincount(places, weights * ~positive)
    pairs = ups.sum() * downs.sum()
    return float(ups @ (np.cumsum(downs) - downs / 2) / pairs) if pairs else float("nan")

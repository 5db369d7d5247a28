"""Metrics of rankers, one figure a group of rows, averaged over groups. NDCG is scikit-learn's: gains as they are, equal scores share their places."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np

from aweigh.evaluation.scores import Floats, Rows, Weights, mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupScores:
    """Per group, in the order of the groups' first rows: the figure of each metric."""

    figures: dict[str, Floats]

    @property
    def units(self) -> int:
        return len(next(iter(self.figures.values())))

    def take(self, units: Rows) -> Self:
        return dataclasses.replace(self, figures={name: values[units] for name, values in self.figures.items()})

    def measure(self, weights: Weights) -> dict[str, float]:
        return {name: mean(values, weights) for name, values in self.figures.items()}


def score_groups(groups: Sequence[Rows], relevance: Floats, scores: Floats, cutoffs: Sequence[int]) -> GroupScores:
    """The figures of every group of rows."""
    pairs = [(relevance[rows], scores[rows]) for rows in groups]
    figures = {"ndcg": np.array([_ndcg(right, given, None) for right, given in pairs])}
    figures |= {f"ndcg@{cutoff}": np.array([_ndcg(right, given, cutoff) for right, given in pairs]) for cutoff in cutoffs}
    figures["mrr"] = np.array([_reciprocal(right, given) for right, given in pairs])
    return GroupScores(figures=figures)


def _ndcg(relevance: Floats, scores: Floats, cutoff: int | None) -> float:
    best = _gain(relevance, relevance, cutoff)
    return _gain(relevance, scores, cutoff) / best if best > 0 else 0.0


def _gain(relevance: Floats, scores: Floats, cutoff: int | None) -> float:
    """Discounted gain; rows of equal score share the mean gain of their places."""
    discount = 1 / np.log2(np.arange(len(scores)) + 2)
    discount[len(scores) if cutoff is None else cutoff :] = 0
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(place, relevance) / counts
    ends = np.cumsum(discount)[np.cumsum(counts) - 1]
    return float(gains @ np.diff(ends, prepend=0.0))


def _reciprocal(relevance: Floats, scores: Floats) -> float:
    """1 / place of the best relevant row, behind every other of the same score; 0 without one."""
    relevant = relevance > 0
    if not relevant.any():
        return 0.0
    return 1 / (1 + int((scores[~relevant] >= scores[relevant].max()).sum()))

"""Intervals and tests by drawing the rows anew: percentile bootstrap, seeded; the same draws for every candidate, so that differences are paired."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aweigh.evaluation.result import Figure
from aweigh.evaluation.scores import Weights

Measure = Callable[[Weights], dict[str, float]]
Draws = dict[str, NDArray[np.float64]]
"""Of each metric, its figure in every draw."""


def draws_of(measure: Measure, units: int, *, resamples: int, seed: int) -> Draws:
    """Measure every draw. Equal seeds and units draw equal rows, whatever is measured."""
    found: dict[str, list[float]] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for weights in _weights(units, resamples, seed):
            for name, value in measure(weights).items():
                found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def _weights(units: int, resamples: int, seed: int) -> Iterator[Weights]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(0, units, units), minlength=units).astype(np.float64)


def figures(values: dict[str, float], draws: Draws, confidence: float) -> dict[str, Figure]:
    """Each value with its percentile interval. Draws without a value are left out; there is no interval where they are the half of all."""
    return {name: interval(value, draws.get(name), confidence) for name, value in values.items()}


def interval(value: float, draws: NDArray[np.float64] | None, confidence: float) -> Figure:
    """One value with its percentile interval."""
    if not math.isfinite(value):
        return Figure(value=None)
    known = draws[np.isfinite(draws)] if draws is not None else np.empty(0)
    if draws is None or not len(draws) or len(known) * 2 <= len(draws):
        return Figure(value=value)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Figure(value=value, low=float(low), high=float(high))


def p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided: twice the share of draws on the rarer side of zero, at least one draw in all."""
    known = differences[np.isfinite(differences)]
    below, above = int((known <= 0).sum()), int((known >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(known) + 1))


def mcnemar(only_one: int, only_other: int) -> float:
    """Exact two-sided McNemar test: how likely a split as uneven as this one is, if both were as good."""
    count, fewer = only_one + only_other, min(only_one, only_other)
    if not count:
        return 1.0
    logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for their number, after Holm."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, values[at] * (len(values) - place)))
        adjusted[at] = largest
    return adjusted

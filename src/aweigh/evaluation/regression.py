"""Metrics of regressors, as scikit-learn defines them; of quantile regressors also how often the right value lies below each quantile."""

import dataclasses
from functools import cached_property
from typing import Self

import numpy as np

from aweigh.evaluation.scores import Floats, Rows, Weights, mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueScores:
    """`right` [rows]; `given` [rows, 1], or [rows, quantiles] where the model answers quantiles, in ascending order."""

    right: Floats
    given: Floats
    quantiles: tuple[float, ...] = ()

    @property
    def units(self) -> int:
        return len(self.right)

    def take(self, units: Rows) -> Self:
        return dataclasses.replace(self, right=self.right[units], given=self.given[units])

    @property
    def point(self) -> Floats:
        """The one number of each row: the quantile nearest to the median, where there are several."""
        at = int(np.argmin([abs(q - 0.5) for q in self.quantiles])) if self.quantiles else 0
        return np.asarray(self.given[:, at])

    @cached_property
    def _rows(self) -> dict[str, Floats]:
        """What is averaged over rows."""
        error = self.point - self.right
        with np.errstate(divide="ignore"):
            share = np.abs(error) / np.maximum(np.abs(self.right), np.finfo(np.float64).eps)
        found = {"mae": np.abs(error), "mse": error**2, "mape": share, "bias": error}
        losses = []
        for at, q in enumerate(self.quantiles):
            over = self.right - self.given[:, at]
            losses.append(np.maximum(q * over, (q - 1) * over))
            found[f"coverage[{q:g}]"] = (over <= 0).astype(np.float64)
        if self.quantiles:
            found["pinball"] = np.mean(losses, axis=0)
            found["interval_coverage"] = ((self.right >= self.given[:, 0]) & (self.right <= self.given[:, -1])).astype(np.float64)
        return found

    @cached_property
    def _centred(self) -> Floats:
        return np.asarray(self.right - self.right.mean())

    def measure(self, weights: Weights) -> dict[str, float]:
        found = {name: mean(values, weights) for name, values in self._rows.items()}
        squared = found.pop("mse")
        around = mean(self._centred**2, weights) - mean(self._centred, weights) ** 2
        return {"rmse": float(np.sqrt(squared)), "r2": 1 - squared / around if around > 0 else float("nan"), **found}

"""What a candidate answered beside what is right, ready to be measured under any weights of the rows. The bootstrap is nothing but other weights.

`Scores` is what the three tasks have in common: `units` that are drawn (rows, or groups of rows), `measure`, and `take` for a slice.
"""

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""How often each unit counts; all ones for the data as they are."""
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


class Scores(Protocol):
    """Answers and right answers of one candidate."""

    @property
    def units(self) -> int: ...

    def measure(self, weights: Weights) -> dict[str, float]:
        """The headline metrics; NaN where one has no value."""
        ...

    def take(self, units: Rows) -> Self: ...


def ratio(part: Any, whole: Any) -> Any:
    """Part by whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, dtype=np.float64)), where=np.asarray(whole) > 0)


def mean(values: Floats, weights: Weights) -> float:
    """The weighted mean."""
    total = weights.sum()
    return float(values @ weights / total) if total else float("nan")

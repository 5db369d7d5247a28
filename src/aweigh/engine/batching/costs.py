"""What batches cost while all lanes are busy: `call_s + row_s * rows`, begun with what was measured at load and corrected by the batches seen since.

Lives on the event loop; called by the tuner. Must not forget the difference between small and large batches while all are of one size.
"""

from collections import deque
from typing import Final

import numpy as np

_SAMPLES: Final = 128
_ANCHOR_ROWS: Final = (1.0, 32.0)
_ANCHOR_WEIGHT: Final = 8.0
"""What was known before counts as so many batches at each of these sizes."""
_MOST_OFF: Final = 3.0
"""A batch that took so many times the median of its like was held up by something else."""
_SLOW_SHARE: Final = 0.1
_LEAST_S: Final = 1e-9


class Costs:
    """Seconds of a call and of each row."""

    __slots__ = ("_samples", "call_s", "row_s", "slowdown")

    def __init__(self, call_s: float, row_s: float) -> None:
        self.call_s = call_s
        self.row_s = row_s
        self.slowdown = 1.0
        """How many times as long batches take at present, whatever is the reason."""
        self._samples: deque[tuple[int, float]] = deque(maxlen=_SAMPLES)

    def of(self, rows: int) -> float:
        """Seconds of a batch, as a rule."""
        return self.call_s + self.row_s * rows

    def add(self, rows: int, seconds: float) -> None:
        """A batch that shows what batches cost."""
        self._samples.append((rows, seconds))

    def now(self, rows: int, seconds: float) -> None:
        """Any batch: how long they take at present."""
        ratio = min(
            seconds / max(self.of(rows), _LEAST_S), _MOST_OFF * max(1.0, self.slowdown)
        )  # one that took for ever says little of the next
        self.slowdown += _SLOW_SHARE * (ratio - self.slowdown)

    def fit(self) -> None:
        """Least squares over the latest batches, and over what was known, at the speed of the latest."""
        if not self._samples:
            return
        rows, seconds = np.array(self._samples, dtype=np.float64).T
        known = np.maximum(self.call_s + self.row_s * rows, _LEAST_S)
        ratio = seconds / known
        like = ratio <= _MOST_OFF * np.median(ratio)
        rows, seconds, known = rows[like], seconds[like], known[like]
        scale = float(ratio[like].mean())
        self.slowdown /= scale  # what is learned here is no longer beside the rule
        anchors = np.array(_ANCHOR_ROWS)
        before = np.maximum(self.call_s + self.row_s * anchors, _LEAST_S)
        x, y = np.concatenate((rows, anchors)), np.concatenate((seconds, scale * before))
        weight = np.concatenate((np.ones(len(rows)), np.full(len(anchors), _ANCHOR_WEIGHT))) / np.concatenate((known, before)) ** 2
        spread = x - np.average(x, weights=weight)
        slope = float((weight * spread * y).sum() / (weight * spread**2).sum())
        self.row_s = min(max(slope, 0.0), float((weight * x * y).sum() / (weight * x**2).sum()))
        self.call_s = max(0.0, float(np.average(y - self.row_s * x, weights=weight)))

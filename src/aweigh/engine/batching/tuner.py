"""How many rows run together: chosen from what batches were seen to cost, and held to an objective such as `p99 <= 20ms` where one is stated.

A batch costs a call and its rows: `call_s + row_s * rows`, fitted to the latest batches. Without an objective a batch grows as long as that pays
in throughput. With one it holds no more rows than let a request wait for a batch, run in the next and still be on time; what was measured corrects
the estimate. Lives on the event loop; called by the batch queue.
"""

import dataclasses
from collections import deque
from time import monotonic
from typing import Final

import numpy as np

from aweigh.core.objective import Objective, duration_text

_SAMPLES: Final = 64
_WINDOW: Final = 2048
"""Answers that the measured percentile is taken of."""
_FEWEST: Final = 20
_ROUND_S: Final = 0.25
_WORTH: Final = 0.97
"""A batch need not be larger than what gives this share of the throughput of the largest."""
_MIN_MARGIN, _MAX_MARGIN = 1.0, 8.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, from what."""

    max_rows: int
    why: str
    call_us: float
    row_us: float
    measured_ms: float
    """The objective's percentile as measured; 0 where there is no objective or nothing was measured."""


class Tuner:
    """Starts from the costs measured at warm-up, in seconds."""

    def __init__(self, *, limit_rows: int, call_s: float, row_s: float, objective: Objective | None = None) -> None:
        self._limit_rows = max(1, limit_rows)
        self._objective = objective
        self._call_s = call_s
        self._row_s = row_s
        self._batches: deque[tuple[int, float]] = deque(maxlen=_SAMPLES)
        self._answers: deque[float] = deque(maxlen=_WINDOW)
        self._margin = _MIN_MARGIN
        self._measured_s = 0.0
        self._next_round = monotonic() + _ROUND_S
        self.max_rows = 1
        self._why = ""
        self._decide()

    @property
    def decision(self) -> Decision:
        return Decision(
            max_rows=self.max_rows,
            why=self._why,
            call_us=self._call_s * 1e6,
            row_us=self._row_s * 1e6,
            measured_ms=self._measured_s * 1e3,
        )

    def ran(self, rows: int, seconds: float) -> None:
        """One batch ran."""
        self._batches.append((rows, seconds))
        now = monotonic()
        if now >= self._next_round:
            self._next_round = now + _ROUND_S
            self._fit()
            self._correct()
            self._decide()

    def answered(self, seconds: float) -> None:
        """One request was answered, so long after it came."""
        self._answers.append(seconds)

    def late(self, rows_waiting: int, lanes: int) -> str:
        """Why a request that comes now would miss the objective, or nothing."""
        if self._objective is None:
            return ""
        batches = rows_waiting // self.max_rows + 1
        expected = (batches / lanes + 1) * self._cost(self.max_rows)
        if expected <= self._objective.limit_s:
            return ""
        return f"an answer is expected after {duration_text(expected)}, which {self._objective} does not allow"

    def _cost(self, rows: int) -> float:
        return self._call_s + self._row_s * rows

    def _fit(self) -> None:
        """Least squares over the latest batches; a slope needs batches of different sizes."""
        rows, seconds = np.array(self._batches, dtype=np.float64).T
        spread = rows - rows.mean()
        if len(rows) >= 4 and (spread**2).sum() > 0:
            slope = float((spread * (seconds - seconds.mean())).sum() / (spread**2).sum())
            self._row_s = min(max(slope, 0.0), float(np.median(seconds / rows)))
        self._call_s = max(0.0, float(np.median(seconds - self._row_s * rows)))

    def _correct(self) -> None:
        """What was measured knows better than the estimate how long a request waits."""
        if self._objective is None or len(self._answers) < _FEWEST:
            return
        self._measured_s = float(np.percentile(self._answers, self._objective.percentile))
        share = self._measured_s / self._objective.limit_s
        if share > 1:
            self._margin = min(_MAX_MARGIN, self._margin * 1.15)
            self._answers.clear()  # what was answered under the old decision says nothing of the new one
        elif share < 0.8:
            self._margin = max(_MIN_MARGIN, self._margin * 0.95)

    def _decide(self) -> None:
        best = self._worthwhile()
        if self._objective is None:
            self.max_rows = best
            self._why = f"{best} rows give {_WORTH:.0%} of the throughput of {self._limit_rows}"
            return
        budget = self._objective.limit_s / (2 * self._margin)
        fits = int((budget - self._call_s) / self._row_s) if self._row_s > 0 else self._limit_rows
        if self._cost(1) > budget:
            self.max_rows = 1
            self._why = f"a call with one row takes {duration_text(self._cost(1))}: more together would miss {self._objective}"
            return
        self.max_rows = max(1, min(best, fits))
        why = "no more are on time" if fits < best else f"more would not raise the throughput by {1 - _WORTH:.0%}"
        self._why = f"{self._objective}: {why}"

    def _worthwhile(self) -> int:
        """The smallest batch that is about as good as the largest: (rows / cost) >= WORTH * (limit / cost of limit)."""
        if self._row_s <= 0:
            return self._limit_rows
        best = self._limit_rows / self._cost(self._limit_rows)
        rows = _WORTH * best * self._call_s / (1 - _WORTH * best * self._row_s)
        return min(self._limit_rows, max(1, int(np.ceil(rows))))

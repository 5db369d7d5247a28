"""How many rows run together: chosen from what batches were seen to cost, and held to an objective such as `p99 <= 20ms` where one is stated.

Without an objective a batch grows as long as that pays in throughput. With one it holds no more rows than let a request wait for a batch, run in the
next and still be on time, and what would be late is not let in; what was measured corrects both. Lives on the event loop; called by the batch queue.
"""

import dataclasses
from collections import deque
from time import monotonic
from typing import Final

import numpy as np

from aweigh.core.objective import Objective, duration_text
from aweigh.engine.batching.costs import Costs

_WINDOW: Final = 2048
"""Answers that the measured percentile is taken of, at most; and those of the time that is past count once more, no longer."""
_FORGET_S: Final = 2.0
_FEWEST: Final = 20
_BY_CHANCE: Final = 1
"""So many late answers more than the objective allows are no proof: of few answers the slowest is no percentile."""
_WELL: Final = 0.8
"""Below this share of the limit there is room for larger batches and a longer queue."""
_ROUND_S: Final = 0.25
_WORTH: Final = 0.98
"""A batch need not be larger than what gives this share of the throughput of the largest."""
_MIN_MARGIN, _MAX_MARGIN = 1.0, 8.0
_FIRST_CAUTION, _MIN_CAUTION = 1.25, 1.15
"""At first, before anything was measured, and ever after: an objective is of the slowest answers, and what is expected of all."""
_FAIR: Final = 0.9
"""Batches of this share of the best throughput may be made where that keeps all lanes busy."""
_LEAST_CALL: Final = 0.5
"""Of a row, a call is taken to cost at least so much: batches that are too large cost nothing where each takes its share, those that are too
small cost throughput, and with one size alone nothing could be learned of others."""
_ROUNDING: Final = 1e-6
_REFUSAL_S: Final = 2e-4
"""About what it costs to refuse a request, on the cores that batches run on too."""
_LATER: Final = 1.5
"""What is expected is taken to last so many times as long, where a deadline depends on it."""
_FLOOD: Final = 0.05
"""From this share of a batch's time on, refusals are what slows it."""


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
        self._costs = Costs(call_s, row_s)
        self._answers: deque[float] = deque(maxlen=_WINDOW)
        self._answers_before: deque[float] = deque(maxlen=_WINDOW)
        self._forget_at = monotonic() + _FORGET_S
        self._margin = _MIN_MARGIN
        """What keeps batches small: an objective that is missed although nobody had to be refused."""
        self._caution = _FIRST_CAUTION
        """What keeps the queue short: an objective that is missed by those who were let in."""
        self._measured_s = 0.0
        self._next_round = monotonic() + _ROUND_S
        self._refused = self._refused_in_round = 0
        self.max_rows = self._fair_rows = 1
        self._why = ""
        self._decide()

    @property
    def decision(self) -> Decision:
        return Decision(
            max_rows=self.max_rows,
            why=self._why,
            call_us=self._costs.call_s * 1e6,
            row_us=self._costs.row_s * 1e6,
            measured_ms=self._measured_s * 1e3,
        )

    def ran(self, rows: int, seconds: float, *, crowded: bool = True) -> None:
        """One batch ran; `crowded`: all lanes were busy meanwhile, as they are when it matters what a batch costs."""
        flooded = self._refused * _REFUSAL_S > _FLOOD * seconds
        self._refused_in_round += self._refused
        self._refused = 0
        self._costs.now(rows, seconds)
        if crowded and not flooded:
            self._costs.add(rows, seconds)
        now = monotonic()
        if now >= self._next_round:
            self._next_round = now + _ROUND_S
            self._costs.fit()
            self._correct()
            self._forget(now)
            self._decide()

    def refused(self) -> None:
        """A request was not let in. Refusing takes time too: what batches cost meanwhile says nothing of batches."""
        self._refused += 1

    def batch_rows(self, rows: int, lanes: int) -> int:
        """The most that the next batch takes where so many rows wait or run: no more than its share, so that no lane runs out of work before
        those that were answered ask again. But small batches must not cost much more than large ones."""
        share = -(-rows // (2 * lanes))
        return min(self.max_rows, max(share, self._fair_rows))

    def answered(self, seconds: float) -> None:
        """One request was answered, so long after it came."""
        self._answers.append(seconds)

    def late(self, rows_waiting: int, lanes: int) -> str:
        """Why a request that comes now would miss the objective, or nothing."""
        if self._objective is None:
            return ""
        batches = rows_waiting // self.max_rows + 1
        expected = (batches / lanes + 1) * self._costs.of(self.max_rows) * max(1.0, self._costs.slowdown) * self._caution
        if expected <= self._objective.limit_s:
            return ""
        return f"an answer is expected after {duration_text(expected)}, which {self._objective} does not allow"

    def running_s(self, rows: int) -> float:
        """How long a batch of so many rows takes at present."""
        return self._costs.of(rows) * max(1.0, self._costs.slowdown)

    def expected_s(self, rows: int, lanes: int) -> float:
        """How long so many rows take from when a lane is free, in batches as large as they may be: late rather than early."""
        full, rest = divmod(rows, self.max_rows)
        last_s = self.running_s(rest or self.max_rows)
        before = full if rest else full - 1
        return _LATER * (before * self.running_s(self.max_rows) / lanes + last_s)

    def _correct(self) -> None:
        """What was measured knows better than the estimate how long a request waits."""
        answers, limit = [*self._answers_before, *self._answers], self._objective
        if limit is None or len(answers) < _FEWEST:
            return
        self._measured_s = float(np.percentile(answers, limit.percentile))
        refused, self._refused_in_round = self._refused_in_round, 0
        late = sum(answer > limit.limit_s for answer in answers)
        if late > len(answers) * (1 - limit.percentile / 100) + _BY_CHANCE:
            if refused:
                self._caution = min(_MAX_MARGIN, self._caution * 1.15)
            else:
                self._margin = min(_MAX_MARGIN, self._margin * 1.15)
            self._answers.clear()  # what was answered under the old decision says nothing of the new one
            self._answers_before.clear()
        elif self._measured_s < _WELL * limit.limit_s:
            self._margin = max(_MIN_MARGIN, self._margin * 0.95)
            self._caution = max(_MIN_CAUTION, self._caution * 0.95)

    def _forget(self, now: float) -> None:
        """Answers of some seconds ago say nothing of now."""
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_S
            self._answers_before, self._answers = self._answers, deque(maxlen=_WINDOW)

    def _decide(self) -> None:
        best = self._worthwhile(_WORTH)
        self._fair_rows = self._worthwhile(_FAIR)
        if self._objective is None:
            self.max_rows = best
            self._why = f"{best} rows give {_WORTH:.0%} of the throughput of {self._limit_rows}"
            return
        budget = self._objective.limit_s / (2 * self._margin)
        fits = int((budget - self._costs.call_s) / self._costs.row_s + _ROUNDING) if self._costs.row_s > 0 else self._limit_rows
        if self._costs.of(1) > budget:
            self.max_rows = 1
            self._why = f"a call with one row takes {duration_text(self._costs.of(1))}: more together would miss {self._objective}"
            return
        self.max_rows = max(1, min(best, fits))
        why = "no more are on time" if fits < best else f"more would not raise the throughput by {1 - _WORTH:.0%}"
        self._why = f"{self._objective}: {why}"

    def _worthwhile(self, share: float) -> int:
        """The smallest batch that is about as good as the largest: (rows / cost) >= share * (limit / cost of limit)."""
        if self._costs.row_s <= 0:
            return self._limit_rows
        row_s = self._costs.row_s
        call_s = max(self._costs.call_s, _LEAST_CALL * row_s)
        best = self._limit_rows / (call_s + row_s * self._limit_rows)
        rows = share * best * call_s / (1 - share * best * row_s)
        return min(self._limit_rows, max(1, int(np.ceil(rows))))

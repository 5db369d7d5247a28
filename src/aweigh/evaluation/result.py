"""What an evaluation says: plain data, which the terminal, JSON and the page of HTML show. None stands for a figure that there is not."""

import msgspec

from aweigh.core.signature import Task


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric on some rows, with its interval from the bootstrap."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose probability fell into one tenth: what was said, and how often it was so."""

    rows: int
    said: float
    found: float


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one value (or range) of one column."""

    column: str
    value: str
    rows: int
    metrics: dict[str, Figure]
    worse: bool = False
    """Whether its whole interval lies on the wrong side of the figure of all rows."""


class CandidateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One package on the rows of the evaluation."""

    model: str
    digest: str
    variant: str
    metrics: dict[str, Figure]
    classes: dict[str, dict[str, Figure]] = {}
    """Precision, recall and F1 of each class."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows by right answer, columns by answer given, both in the order of `Evaluation.labels`."""
    calibration: tuple[Bin, ...] = ()
    slices: tuple[Slice, ...] = ()
    """The worst first."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate beside the best one, on the same rows."""

    best: str
    other: str
    metric: str
    difference: Figure
    """The best one's figure less the other's."""
    p_value: float
    """Of the difference, two-sided, from the paired bootstrap, adjusted after Holm for the number of comparisons."""
    mcnemar_p: float | None = None
    """Of the rows that only one of them answers right (exact McNemar), adjusted likewise; for classifiers."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a requirement said of one candidate."""

    requirement: str
    model: str
    passed: bool
    found: float | None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `candidates` stand in order, the best first."""

    task: Task
    data: str
    rows: int
    by: str
    """The metric that ranks candidates and slices."""
    candidates: tuple[CandidateResult, ...]
    labels: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    method: str = ""
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> dict[str, tuple[Figure, ...]]:
        """Of each metric that any candidate has, the figures of all in their order; of one that lacks it a figure without a value."""
        names = dict.fromkeys(name for one in self.candidates for name in one.metrics)
        return {name: tuple(one.metrics.get(name, Figure(value=None)) for one in self.candidates) for name in names}

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

"""How far numbers stray, for people and plots: counted by powers of ten, with the inputs on which they stray furthest. Gates nothing; the limits are parity's."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.evidence import Check, WorstInput
from aweigh.core.replay import describe_row, describe_value
from aweigh.core.signature import Signature
from aweigh.verify.parity import CaseRun

ERRORS: Final = "errors"
_POWERS: Final = (-16, 9)
_WORST: Final = 3


def errors(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Figures are named `OUTPUT 0` for values that are equal and `OUTPUT 1e-07` for those that differ by that much and less than ten times it."""
    figures: dict[str, float | None] = {}
    worst: list[tuple[float, WorstInput]] = []
    for at, spec in enumerate(signature.outputs):
        if not spec.datatype.is_float:
            continue
        gaps = []
        for run in runs:
            gap = _gap(run, at)
            if gap is not None and gap.size:
                gaps.append(gap.ravel())
                worst.append(_furthest(signature, run, at, gap))
        figures |= _counts(spec.name, np.concatenate([*gaps, np.zeros(0)]))
    shown = [item for gap, item in sorted(worst, key=lambda pair: -pair[0])[:_WORST] if gap > 0]
    return Check(name=ERRORS, passed=True, figures=figures, worst=tuple(shown))


def _gap(run: CaseRun, at: int) -> NDArray[np.float64] | None:
    """Absolute differences of one output, 0 where both are the same infinity or not a number; None where there is no answer of that shape."""
    if run.actual is None or run.case.outputs[at].shape != run.actual[at].shape:
        return None
    expected, actual = run.case.outputs[at].astype(np.float64), run.actual[at].astype(np.float64)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    with np.errstate(all="ignore"):
        gap = np.where(same, 0.0, np.abs(expected - actual))
    return np.where(np.isnan(gap), np.inf, gap)


def _furthest(signature: Signature, run: CaseRun, at: int, gap: NDArray[np.float64]) -> tuple[float, WorstInput]:
    rows = gap.reshape(len(gap), -1).max(axis=1, initial=0.0) if gap.ndim else gap.reshape(1)
    row = int(rows.argmax())
    actual = run.actual or []
    return float(rows[row]), WorstInput(
        case=run.case.name,
        row=row,
        output=signature.outputs[at].name,
        inputs=describe_row(signature, run.case.inputs, row),
        expected=describe_value(run.case.outputs[at], row),
        actual=describe_value(actual[at], row),
    )


def _counts(name: str, gap: NDArray[np.float64]) -> dict[str, float | None]:
    powers = np.clip(np.floor(np.log10(gap[gap > 0])), *_POWERS).astype(np.int64)
    found = zip(*np.unique(powers, return_counts=True), strict=True)
    return {f"{name} 0": float((gap == 0).sum()), **{f"{name} 1e{int(power):+03d}": float(count) for power, count in found}}

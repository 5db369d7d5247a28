"""The gating checks: does the variant say what the source said? Runs every golden case once and judges it output by output."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.compare import Difference, OutputDifference
from aweigh.core.errors import AweighError
from aweigh.core.evidence import Check, WorstInput
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Session
from aweigh.core.replay import describe_row, describe_value, difference_of
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.core.tolerances import tolerance_of

_MAX_WORST: Final = 5
MAX_SHIFT: Final = 0.005
"""Of probabilities: half a percentage point."""
_PARTS: Final = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CaseRun:
    """One golden case, run: answers and how they differ, or the error in their place."""

    case: GoldenAnswers
    actual: list[Tensor] | None
    difference: Difference | None
    error: str = ""


def run_cases(session: Session, signature: Signature, golden: Sequence[GoldenAnswers]) -> list[CaseRun]:
    """Run every case; what the session raises is kept, because the source did answer."""
    return [_run_case(session, signature, case) for case in golden]


def _run_case(session: Session, signature: Signature, case: GoldenAnswers) -> CaseRun:
    try:
        actual = session.run(case.inputs)
        return CaseRun(case=case, actual=actual, difference=difference_of(signature, case, actual))
    except AweighError as error:
        return CaseRun(case=case, actual=None, difference=None, error=f"{type(error).__name__}: {error}")


def parity(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Every output of every case within its datatype's tolerance, or equal where it is no float; with the inputs that fared worst."""
    figures: dict[str, float | None] = {"cases": float(len(runs)), "rows": float(sum(run.case.rows for run in runs))}
    limits: dict[str, float] = {}
    mismatches = 0
    for at, spec in enumerate(signature.outputs):
        found = [run.difference.outputs[at] for run in runs if run.difference is not None]
        mismatches += sum(output.mismatches for output in found)
        figures[f"{spec.name}.mismatches"] = float(sum(output.mismatches for output in found))
        if spec.datatype.is_float:
            figures |= _float_figures(spec.name, found)
            bound = tolerance_of(spec)
            limits |= {f"{spec.name}.{part}": value for part in ("atol", "rtol", "scale") if (value := getattr(bound, part))}
    given = [spec.name for spec in signature.outputs if spec.tolerance is not None]
    errors = [f"case '{run.case.name}' ({run.case.why}) raised {run.error}" for run in runs if run.error]
    return Check(
        name="parity",
        passed=bool(runs) and not mismatches and not errors,
        figures=figures,
        limits=limits,
        note="; ".join([*errors[:_MAX_WORST], *([f"bounds given when packed: {', '.join(given)}"] if given else [])])
        if runs
        else "there is no golden set to hold it against",
        worst=_worst(signature, runs),
    )


def flips(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """No label (no output that is compared exactly) changed."""
    count = sum(run.difference.flips for run in runs if run.difference is not None)
    exact = sum(not spec.datatype.is_float for spec in signature.outputs)
    note = "" if exact else "no output is a label: nothing can flip"
    return Check(name="flips", passed=count == 0, figures={"flips": float(count)}, limits={"flips": 0.0}, note=note)


def ties(runs: Sequence[CaseRun]) -> Check:
    """Rows whose answer is one of several equally right ones: how many there are, and in how many the variant took another. Never a failure."""
    tied = [run for run in runs if run.case.ties]
    rows = sum(run.case.rows for run in tied)
    other = sum(len(run.difference.bad_rows) if run.difference is not None else run.case.rows for run in tied)
    note = "neighbours that are equally far: which of them counts is left to the implementation"
    return Check(name="ties", passed=True, figures={"rows": float(rows), "answered otherwise": float(other)}, note=note)


def calibration(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Probabilities are not shifted as a whole: in every tenth of the source's probabilities of a class, the variant's mean is the source's."""
    shift, rows = 0.0, 0
    for at, spec in enumerate(signature.outputs):
        if spec.role != "probability":
            continue
        pairs = [
            (_by_class(run.case.outputs[at]), _by_class(run.actual[at]))
            for run in runs
            if run.actual is not None and run.case.outputs[at].shape == run.actual[at].shape
        ]
        if pairs:
            expected, actual = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            for one, other in zip(expected.T, actual.T, strict=True):
                known = np.isfinite(one) & np.isfinite(other)
                shift, rows = max(shift, _shift(one[known], other[known])), rows + int(known.sum())
    limits = {"shift": MAX_SHIFT}
    return Check(name="calibration", passed=shift <= MAX_SHIFT, figures={"shift": shift, "probabilities": float(rows)}, limits=limits)


def _by_class(chances: Tensor) -> NDArray[np.float64]:
    """One row a row, one column a class: what is taken from one class is given to another, so that their shifts must not be added up."""
    wide = np.asarray(chances, dtype=np.float64)
    return wide.reshape(-1, wide.shape[-1]) if wide.ndim > 1 else wide.reshape(-1, 1)


def _shift(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """The largest difference of means over ten equal parts of the probabilities from 0 to 1."""
    part = np.clip((expected * _PARTS).astype(np.int64), 0, _PARTS - 1)
    counts = np.maximum(np.bincount(part, minlength=_PARTS), 1)
    return float(np.abs(np.bincount(part, weights=actual - expected, minlength=_PARTS) / counts).max())


def shapes(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Every size of the open axes that the golden set holds is answered."""
    sizes: dict[str, set[int]] = {}
    for run in runs:
        for spec in signature.inputs:
            for axis, size in zip(spec.shape, run.case.inputs[spec.name].shape, strict=False):
                if isinstance(axis, str):
                    sizes.setdefault(axis, set()).add(size)
    failed = [run.case.name for run in runs if run.difference is None or any(output.problem for output in run.difference.outputs)]
    note = f"no answer, or one of another shape, in: {', '.join(failed)}" if failed else ""
    return Check(
        name="shapes", passed=not failed, figures={f"sizes of {axis}": float(len(found)) for axis, found in sizes.items()}, note=note
    )


def not_numbers(runs: Sequence[CaseRun]) -> Check:
    """The cases that hold NaN, infinity or a missing element agree; they are parity's too, but a person looks for them by name."""
    odd = [run for run in runs if any(_is_odd(tensor) for tensor in (*run.case.inputs.values(), *run.case.outputs))]
    failed = [run.case.name for run in odd if run.difference is None or not run.difference.agrees]
    note = f"differs in: {', '.join(failed)}" if failed else "" if odd else "no golden case holds NaN, infinity or a missing element"
    return Check(name="nan", passed=not failed, figures={"cases": float(len(odd)), "failed": float(len(failed))}, note=note)


def order(runs: Sequence[CaseRun]) -> Check:
    """A ranker's rows stand in the same order in every case, equal scores included: each row keeps its rank among all others."""
    moved = 0
    for run in runs:
        if run.actual is not None:
            expected, actual = (np.unique(scores[0].ravel(), return_inverse=True)[1] for scores in (run.case.outputs, run.actual))
            moved += int((expected != actual).sum()) if expected.shape == actual.shape else run.case.rows
    return Check(name="order", passed=moved == 0, figures={"moved": float(moved)}, limits={"moved": 0.0})


def determinism(session: Session, signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """The largest case once more: the same within tolerance; `bit_equal` says whether it is the same to the bit."""
    ran = [run for run in runs if run.actual is not None]
    if not ran:
        return Check(name="determinism", passed=True, note="no case could be run")
    run = max(ran, key=lambda one: one.case.rows)
    again = _run_case(session, signature, dataclasses.replace(run.case, outputs=run.actual or []))
    if again.difference is None or again.actual is None:
        return Check(name="determinism", passed=False, note=f"case '{run.case.name}' raised when run again: {again.error}")
    bit_equal = all(_same(one, two) for one, two in zip(run.actual or [], again.actual, strict=True))
    max_abs = max((output.max_abs for output in again.difference.outputs), default=0.0)
    return Check(name="determinism", passed=again.difference.agrees, figures={"bit_equal": float(bit_equal), "max_abs": finite(max_abs)})


def finite(value: float) -> float | None:
    """A figure as evidence holds it: None where it is not a finite number."""
    return float(value) if math.isfinite(value) else None


def _float_figures(name: str, found: Sequence[OutputDifference]) -> dict[str, float | None]:
    return {
        f"{name}.{what}": finite(max((getattr(output, what) for output in found), default=0.0))
        for what in ("max_abs", "max_rel", "max_ulp", "max_of_row")
    }


def _worst(signature: Signature, runs: Sequence[CaseRun]) -> tuple[WorstInput, ...]:
    """The first bad rows of each case and output in turn, worst first, so that one bad case does not hide the others."""
    found: list[tuple[int, WorstInput]] = []
    for run in runs:
        if run.difference is None or run.actual is None:
            found.append((0, WorstInput(
                case=run.case.name, row=0, output="", inputs=describe_row(signature, run.case.inputs, 0), expected="an answer", actual=run.error[:400],
            )))  # fmt: skip
            continue
        for at, output in enumerate(run.difference.outputs):
            for place, row in enumerate(output.bad_rows[:_MAX_WORST]):
                found.append((place, WorstInput(
                    case=run.case.name,
                    row=row,
                    output=output.name,
                    inputs=describe_row(signature, run.case.inputs, row),
                    expected=describe_value(run.case.outputs[at], row),
                    actual=output.problem or describe_value(run.actual[at], row),
                )))  # fmt: skip
    return tuple(worst for _, worst in sorted(found, key=lambda pair: pair[0])[:_MAX_WORST])


def _is_odd(tensor: Tensor) -> bool:
    if tensor.dtype == object:
        return any(item is None for item in tensor.ravel().tolist())
    return tensor.dtype.kind == "f" and not bool(np.isfinite(tensor).all())


def _same(one: Tensor, two: Tensor) -> bool:
    return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")

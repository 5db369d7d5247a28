"""The gating checks: does the variant say what the source said? Runs every golden case once and judges it output by output."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from aweigh.core.compare import TOLERANCES, Difference, OutputDifference
from aweigh.core.errors import AweighError
from aweigh.core.evidence import Check, WorstInput
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Session
from aweigh.core.replay import describe_row, describe_value, difference_of
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor

_MAX_WORST: Final = 5


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
            limits |= {f"{spec.name}.atol": TOLERANCES[spec.datatype].atol, f"{spec.name}.rtol": TOLERANCES[spec.datatype].rtol}
    errors = [f"case '{run.case.name}' ({run.case.why}) raised {run.error}" for run in runs if run.error]
    return Check(
        name="parity",
        passed=bool(runs) and not mismatches and not errors,
        figures=figures,
        limits=limits,
        note="; ".join(errors[:_MAX_WORST]) if runs else "there is no golden set to hold it against",
        worst=_worst(signature, runs),
    )


def flips(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """No label (no output that is compared exactly) changed."""
    count = sum(run.difference.flips for run in runs if run.difference is not None)
    exact = sum(not spec.datatype.is_float for spec in signature.outputs)
    note = "" if exact else "no output is a label: nothing can flip"
    return Check(name="flips", passed=count == 0, figures={"flips": float(count)}, limits={"flips": 0.0}, note=note)


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
        for what in ("max_abs", "max_rel", "max_ulp")
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

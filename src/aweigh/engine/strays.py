"""How two versions' answers to one call differ, added up over calls and workers. Pure: whoever has inputs and answers on disk gets the same figures."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

import numpy as np

from aweigh.core.agreement import compare_answers
from aweigh.core.compare import Difference
from aweigh.core.replay import describe_row, describe_value
from aweigh.core.rollout import ENDLESS, MAX_OFFENCES, Compared, Offence
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor, Tensors

_NUMBERS: Final = "iuf"


def compared(signature: Signature, inputs: Tensors, stable: Sequence[Tensor], candidate: Sequence[Tensor]) -> Compared:
    """One call. Raises ValueError, TypeError for answers that cannot be put side by side."""
    difference = compare_answers(signature, stable, candidate)
    flipped = _flipped_rows(signature, stable, candidate, difference)
    gaps = [_gap(a, b) for a, b in zip(stable, candidate, strict=True) if a.dtype.kind == "f" and a.shape == b.shape]
    strays: list[Offence] = []
    if flipped or not difference.agrees:
        rows = list(dict.fromkeys((*difference.bad_rows, *sorted(flipped))))[:MAX_OFFENCES]
        strays = [_offence(signature, inputs, stable, candidate, row, row in flipped) for row in rows]
    return Compared(
        calls=1,
        rows=len(stable[0]) if stable and stable[0].ndim else 1,
        flips=len(flipped),
        mismatches=sum(output.mismatches for output in difference.outputs),
        numbers=sum(gap.size for gap in gaps),
        max_abs=_finite(max((output.max_abs for output in difference.outputs), default=0.0)),
        sum_abs=_finite(float(sum(gap.sum() for gap in gaps))),
        offences=worst(strays),
    )


def not_answered(signature: Signature, inputs: Tensors, stable: Sequence[Tensor], why: str) -> Compared:
    """One call that the candidate failed, with its first row."""
    rows = len(stable[0]) if stable and stable[0].ndim else 1
    offence = Offence(
        inputs=describe_row(signature, inputs, 0) + (f" (first of {rows} rows)" if rows > 1 else ""),
        stable={spec.name: describe_value(tensor, 0) for spec, tensor in zip(signature.outputs, stable, strict=False)},
        candidate={"error": why},
        max_abs=0.0,
        failed=True,
    )
    return Compared(failed=1, offences=(offence,))


def added(parts: Iterable[Compared]) -> Compared:
    """Several calls', or several workers', as one."""
    total = Compared()
    for part in parts:
        total = Compared(
            calls=total.calls + part.calls,
            rows=total.rows + part.rows,
            flips=total.flips + part.flips,
            mismatches=total.mismatches + part.mismatches,
            numbers=total.numbers + part.numbers,
            max_abs=max(total.max_abs, part.max_abs),
            sum_abs=_finite(total.sum_abs + part.sum_abs),
            failed=total.failed + part.failed,
            skipped=total.skipped + part.skipped,
            stable_s=_sums(total.stable_s, part.stable_s),
            candidate_s=_sums(total.candidate_s, part.candidate_s),
            offences=worst((*total.offences, *part.offences)) if part.offences else total.offences,
        )
    return total


def worst(offences: Iterable[Offence]) -> tuple[Offence, ...]:
    """The few to show, equal inputs once: failures first, then other labels, then the largest differences."""
    in_order = sorted(offences, key=lambda each: (not each.failed, not each.flipped, -each.max_abs))
    return tuple({each.inputs: each for each in reversed(in_order)}.values())[::-1][:MAX_OFFENCES]


def _finite(difference: float) -> float:
    return min(float(difference), ENDLESS)


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


def _flipped_rows(signature: Signature, stable: Sequence[Tensor], candidate: Sequence[Tensor], difference: Difference) -> frozenset[int]:
    """Rows with another label; of a classifier that gives probabilities alone, with another most probable class."""
    exact = {row for output in difference.outputs if output.exact for row in output.bad_rows}
    if exact or signature.task is not Task.CLASSIFICATION or any(output.exact for output in difference.outputs):
        return frozenset(exact)
    for spec, a, b in zip(signature.outputs, stable, candidate, strict=True):
        if spec.role == "probability" and a.ndim == 2 and a.shape == b.shape and a.shape[1] > 1:
            return frozenset(np.flatnonzero(a.argmax(axis=1) != b.argmax(axis=1)).tolist())
    return frozenset()


def _gap(a: Tensor, b: Tensor) -> Tensor:
    """Absolute differences of numbers; 0 where both are the same infinity or none is a number, infinite where one is."""
    with np.errstate(all="ignore"):
        one, other = a.astype(np.float64), b.astype(np.float64)
        gap = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(one - other))
    whole: Tensor = np.where(np.isnan(gap), np.inf, gap)
    return whole


def _offence(
    signature: Signature,
    inputs: Tensors,
    stable: Sequence[Tensor],
    candidate: Sequence[Tensor],
    row: int,
    flipped: bool,  # a fact of the row
) -> Offence:
    specs = signature.outputs
    gaps = [
        _gap(a[row : row + 1] if a.ndim else a, b[row : row + 1] if b.ndim else b)
        for a, b in zip(stable, candidate, strict=True)
        if a.dtype.kind == "f" and a.shape == b.shape
    ]
    return Offence(
        inputs=describe_row(signature, inputs, row),
        stable={spec.name: describe_value(tensor, row) for spec, tensor in zip(specs, stable, strict=True)},
        candidate={spec.name: describe_value(tensor, row) for spec, tensor in zip(specs, candidate, strict=True)},
        max_abs=_finite(max((float(gap.max(initial=0.0)) for gap in gaps), default=0.0)),
        flipped=flipped,
    )

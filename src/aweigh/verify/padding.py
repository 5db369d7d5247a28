"""Padding invariance: does a row answer the same when it is filled up to run with longer ones? Does not gate; without it nothing is padded."""

import dataclasses
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import numpy as np

from aweigh.core.compare import Difference, compare
from aweigh.core.errors import AweighError
from aweigh.core.evidence import PADDING_INVARIANCE, Check
from aweigh.core.golden import GoldenAnswers
from aweigh.core.padding import check_padding, ragged_axes
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.batching.joined import Joiner, Work
from aweigh.verify.batches import gather_rows
from aweigh.verify.parity import finite

_ROWS: Final = 8
_OTHERS: Final = 3
_BUDGET_S: Final = 3.0
Sizes = tuple[Callable[[int], int], ...]
_LONGER: Final[Sizes] = (lambda size: size + 1, lambda size: size + 7, lambda size: 2 * size)
_SHORTER: Final[Sizes] = (lambda size: 3 * size // 4, lambda size: (size + 1) // 2)
"""Sizes that rows of the golden set are given beside their own: repeated from their beginning; or cut short, which may leave nothing that means
anything, where the model takes none that is longer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row, and what the model answers to it alone. `size` is of its first ragged axis."""

    inputs: dict[str, Tensor]
    alone: list[Tensor]
    size: int


def padding_invariance(session: Session, signature: Signature, golden: Sequence[GoldenAnswers]) -> Check:
    """Rows of the golden set joined with rows of other sizes, as the server joins them, against each alone."""
    try:
        check_padding(signature)
        rows = gather_rows(signature, golden) if signature.batched else {}
        if not rows:
            return Check(name=PADDING_INVARIANCE, passed=False, note="there is no row to try")
        return _check(session, signature, _families(session, signature, rows))
    except AweighError as error:
        return Check(name=PADDING_INVARIANCE, passed=False, note=f"{type(error).__name__}: {error}")


def _families(session: Session, signature: Signature, rows: dict[str, Tensor]) -> list[list[_Row]]:
    """Rows as they are; then some of them in every other size that the model takes alone."""
    began = monotonic()
    count = len(next(iter(rows.values())))
    chosen = np.unique(np.linspace(0, count - 1, _ROWS).astype(int)).tolist()
    own = [{name: tensor[at : at + 1] for name, tensor in rows.items()} for at in chosen]
    families = [[_answered(session, signature, row) for row in own]]
    for sized in (*_LONGER, *_SHORTER):
        if len(families) > 1 and (monotonic() - began > _BUDGET_S or sized is _SHORTER[0]):
            break
        others = [_resized(signature, row, sized) for row in own[:_OTHERS]]
        try:
            families.append([_answered(session, signature, row) for row in others])
        except AweighError:  # a size that the model does not take, or not of these rows: no request of that size is answered either
            continue
    return families


def _answered(session: Session, signature: Signature, inputs: dict[str, Tensor]) -> _Row:
    signature.check(inputs)
    sizes = [
        size
        for spec in signature.inputs
        for axis, size in zip(spec.shape, inputs[spec.name].shape, strict=True)
        if axis in ragged_axes(signature)
    ]
    return _Row(inputs=inputs, alone=session.run(inputs), size=sizes[0])


def _resized(signature: Signature, row: dict[str, Tensor], sized: Callable[[int], int]) -> dict[str, Tensor]:
    ragged = ragged_axes(signature)
    resized = dict(row)
    for spec in signature.inputs:
        for at, axis in enumerate(spec.shape):
            old = resized[spec.name].shape[at]
            if axis in ragged and old:
                resized[spec.name] = np.take(resized[spec.name], np.arange(max(1, sized(old))) % old, axis=at)
    return resized


def _check(session: Session, signature: Signature, families: list[list[_Row]]) -> Check:
    own, others = families[0], [family for family in families[1:] if family[0].size != families[0][0].size]
    if not others:
        return Check(name=PADDING_INVARIANCE, passed=False, note="the model answers rows of one size alone: there is nothing to fill up")
    joiner = Joiner(signature, padded=True)
    trials = [[*own, *family] for family in others] + [[row for family in families for row in reversed(family)]]
    max_abs, rows, failed = 0.0, 0, []
    for trial in trials:
        together = _together(session, joiner, trial)
        differences = [compare(signature.outputs, row.alone, answer) for row, answer in zip(trial, together, strict=True)]
        max_abs = max([max_abs, *(output.max_abs for difference in differences for output in difference.outputs)])
        rows += len(trial)
        wrong = [
            _note(signature, difference, row.size, trial)
            for row, difference in zip(trial, differences, strict=True)
            if not difference.agrees
        ]
        failed += wrong[:1]
    return Check(
        name=PADDING_INVARIANCE,
        passed=not failed,
        figures={"rows": float(rows), "sizes": float(len({row.size for family in families for row in family})), "max_abs": finite(max_abs)},
        note="; ".join(failed[:_OTHERS]),
    )


def _together(session: Session, joiner: Joiner, trial: list[_Row]) -> list[list[Tensor]]:
    """The answers of rows that ran as one batch."""
    works = [Work(inputs=row.inputs, rows=1, done=_unanswered) for row in trial]
    return list(joiner.cut(session.run(joiner.join([work.inputs for work in works])), works))


def _unanswered(outputs: list[Tensor] | None, error: AweighError | None) -> None:
    """Nobody waits for these."""


def _note(signature: Signature, difference: Difference, size: int, trial: list[_Row]) -> str:
    """What differs, in words."""
    at, output = next((at, output) for at, output in enumerate(difference.outputs) if output.mismatches)
    what = output.problem or ("another value" if output.exact else f"a difference of {output.max_abs:.3g}")
    spec = signature.outputs[at]
    uncut = [axis for axis in spec.shape[1:] if isinstance(axis, str) and axis not in ragged_axes(signature)]
    why = f" (axis '{uncut[0]}' is no axis of a padded input: it is not cut back)" if output.problem and uncut else ""
    return f"output '{output.name}' of a row of size {size} that ran with one of size {max(row.size for row in trial)}: {what}{why}"

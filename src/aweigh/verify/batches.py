"""Batch invariance: is f(batch)[i] what f(x_i) is, in every batch size and order? Does not gate; batching stays off without it."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

import numpy as np

from aweigh.core.agreement import compare_answers
from aweigh.core.errors import AweighError
from aweigh.core.evidence import BATCH_INVARIANCE, Check
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.verify.parity import finite

_MAX_ROWS: Final = 128
_SIZES: Final = (7, 13)
_BUDGET_S: Final = 3.0
_SEED: Final = 20240229


def batch_invariance(session: Session, signature: Signature, golden: Sequence[GoldenAnswers]) -> Check:
    """Rows of the golden set one by one, then together: in batches of 7 and 13, all at once, and all at once in another order."""
    if not signature.batched:
        return Check(name=BATCH_INVARIANCE, passed=False, note="the model has no batch axis that every input and output shares")
    rows = gather_rows(signature, golden)
    count = signature.batch_size(rows) if rows else 0
    if count < 2:
        return Check(name=BATCH_INVARIANCE, passed=False, note="fewer than two rows to try together")
    try:
        return _check(session, signature, rows, count)
    except AweighError as error:
        return Check(name=BATCH_INVARIANCE, passed=False, note=f"rows that run alone do not run together: {type(error).__name__}: {error}")


def gather_rows(signature: Signature, golden: Sequence[GoldenAnswers]) -> dict[str, Tensor]:
    """Rows of all cases whose shapes fit together (those of the most frequent shape), spread over the cases, 128 at most."""
    shapes = [tuple(case.inputs[spec.name].shape[1:] for spec in signature.inputs) for case in golden if case.rows]
    if not shapes:
        return {}
    common = max(set(shapes), key=lambda shape: (shapes.count(shape), str(shape)))
    cases = [case for case in golden if case.rows and tuple(case.inputs[spec.name].shape[1:] for spec in signature.inputs) == common]
    share = max(1, -(-_MAX_ROWS // len(cases)))
    return {spec.name: np.concatenate([case.inputs[spec.name][:share] for case in cases])[:_MAX_ROWS] for spec in signature.inputs}


def _check(session: Session, signature: Signature, rows: dict[str, Tensor], count: int) -> Check:
    count, alone = _one_by_one(session, rows, count)
    orders = [("all", np.arange(count), count), ("permuted", np.random.default_rng(_SEED).permutation(count), count)]
    orders += [(str(size), np.arange(count), size) for size in _SIZES if size < count]
    max_abs, flips, failed = 0.0, 0, []
    for what, order, size in orders:
        difference = compare_answers(signature, [output[order] for output in alone], _in_batches(session, rows, order, size))
        max_abs = max([max_abs, *(output.max_abs for output in difference.outputs)])
        flips += difference.flips
        if not difference.agrees:
            failed.append(what)
    return Check(
        name=BATCH_INVARIANCE,
        passed=not failed,
        figures={"rows": float(count), "max_abs": finite(max_abs), "flips": float(flips)},
        note=f"differs in batches: {', '.join(failed)}" if failed else "",
    )


def _one_by_one(session: Session, rows: dict[str, Tensor], count: int) -> tuple[int, list[Tensor]]:
    """Answers of single rows, and how many fitted into the time."""
    began = monotonic()
    answers: list[list[Tensor]] = []
    for at in range(count):
        answers.append(session.run({name: tensor[at : at + 1] for name, tensor in rows.items()}))
        if monotonic() - began > _BUDGET_S and at:
            break
    return len(answers), [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _in_batches(session: Session, rows: dict[str, Tensor], order: np.ndarray[tuple[int], np.dtype[np.intp]], size: int) -> list[Tensor]:
    starts = range(0, len(order), size)
    answers = [session.run({name: tensor[order[at : at + size]] for name, tensor in rows.items()}) for at in starts]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

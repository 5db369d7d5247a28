"""Checks that a task brings along: the order of a ranker's rows, of a recommender's first k, and the boxes of a detector. They gate."""

from collections.abc import Sequence
from typing import Final

from aweigh.core.agreement import LEAST_SHARED, boxes_of, matched
from aweigh.core.evidence import Check
from aweigh.core.signature import Signature, Task
from aweigh.verify.parity import CaseRun, finite, order

_BOXES_OUTPUTS: Final = 4


def of_task(signature: Signature, runs: Sequence[CaseRun]) -> list[Check]:
    """The checks of the signature's task; none for most."""
    if signature.task is Task.RANKING:
        return [order(runs)]
    if signature.task is Task.DETECTION and len(signature.outputs) == _BOXES_OUTPUTS:
        return [boxes(runs)]
    if signature.task is Task.RETRIEVAL:
        return [top_k(signature, runs)]
    return []


def boxes(runs: Sequence[CaseRun]) -> Check:
    """Every box is there, with its class, where it should be, and no other one is."""
    found = [
        matched(boxes_of(run.case.outputs, row), boxes_of(run.actual, row))
        for run in runs
        if run.actual is not None and [one.shape for one in run.actual] == [one.shape for one in run.case.outputs]
        for row in range(run.case.rows)
    ]
    missing, surplus = sum(len(each.missing) for each in found), sum(len(each.surplus) for each in found)
    pairs = sum(len(each.pairs) for each in found)
    return Check(
        name="boxes",
        passed=not missing and not surplus and len(found) == sum(run.case.rows for run in runs),
        figures={
            "images": float(len(found)), "boxes": float(pairs + missing), "missing": float(missing), "surplus": float(surplus),
            "least_shared": finite(min((each.least_shared for each in found), default=1.0)),
        },
        limits={"missing": 0.0, "surplus": 0.0, "least_shared": LEAST_SHARED},
        note="" if pairs + missing else "no image of the golden set shows anything: give a sample that does",
    )  # fmt: skip


def top_k(signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Items that stand in another place, and those of them whose scores are no tie."""
    item = next((at for at, spec in enumerate(signature.outputs) if spec.role == "item"), None)
    answered = [run for run in runs if run.actual is not None and run.difference is not None]
    if item is None:
        return Check(name="top-k", passed=True, note="no output is an item")
    moved = sum(
        int((run.case.outputs[item] != run.actual[item]).sum())
        for run in answered
        if run.actual is not None and run.actual[item].shape == run.case.outputs[item].shape
    )
    wrong = sum(run.difference.outputs[item].mismatches for run in answered if run.difference is not None)
    return Check(
        name="top-k", passed=wrong == 0, figures={"moved": float(moved), "out_of_order": float(wrong)}, limits={"out_of_order": 0.0},
        note="items of equal scores changed places" if moved and not wrong else "",
    )  # fmt: skip

"""Comparison of answers that are sets or orders, not numbers in fixed places: boxes of detectors, the first k of a recommender. Pure arithmetic.

`compare_answers` takes the comparison of the signature's task, and `compare` for all others. Boxes are matched by class and place, whatever order two that
are scored alike come in; items may change places where their scores are equal within the bound, and nowhere else.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.compare import Difference, OutputDifference, compare
from aweigh.core.signature import Signature, Task, Tolerance
from aweigh.core.tensors import Tensor
from aweigh.core.tolerances import tolerance_of

LEAST_SHARED: Final = 0.99
"""Of their union, what two boxes that are one must have in common."""
_SAME_PLACE: Final = 0.01
"""Pixels by which sides of one box may differ however small it is."""
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The boxes of one image, matched. Pairs are positions (expected, actual)."""

    pairs: tuple[tuple[int, int], ...]
    missing: tuple[int, ...]
    """Expected boxes that nothing answers to."""
    surplus: tuple[int, ...]
    least_shared: float
    """Of the worst pair; 1 without any."""


def compare_answers(signature: Signature, expected: Sequence[Tensor], actual: Sequence[Tensor]) -> Difference:
    """How answers differ, as the task has it."""
    shapes = all(one.shape == other.shape for one, other in zip(expected, actual, strict=True))
    special = _COMPARISONS.get(signature.task)
    if special is None or not shapes:
        return compare(signature.outputs, expected, actual)
    return special(signature, expected, actual)


def _compare_boxes(signature: Signature, expected: Sequence[Tensor], actual: Sequence[Tensor]) -> Difference:
    """Outputs in the order of a detector's package: boxes, scores, classes, count."""
    gaps: dict[str, list[tuple[int, float, int]]] = {spec.name: [] for spec in signature.outputs}
    boxes, scores, classes, count = (spec.name for spec in signature.outputs)
    bound = tolerance_of(signature.outputs[1])
    for row in range(len(expected[0])):
        found = matched(boxes_of(expected, row), boxes_of(actual, row))
        pairs = [(row, one, other) for one, other in found.pairs]
        gap = max([float(np.abs(expected[0][row, a] - actual[0][row, b]).max()) for _, a, b in pairs], default=0.0)
        score = [abs(float(expected[1][row, a]) - float(actual[1][row, b])) for _, a, b in pairs]
        beyond = sum(each > _allowed(float(expected[1][row, a]), bound) for each, (_, a, _) in zip(score, pairs, strict=True))
        kinds = sorted(expected[2][row].tolist()) != sorted(actual[2][row].tolist())
        gaps[boxes].append((row, gap, max(len(found.missing), len(found.surplus))))
        gaps[scores].append((row, max(score, default=0.0), beyond))
        gaps[classes].append((row, float(kinds), int(kinds)))
        gaps[count].append((row, 0.0, int(expected[3][row] != actual[3][row])))
    return Difference(outputs=tuple(_output(spec.name, gaps[spec.name], exact=not spec.datatype.is_float) for spec in signature.outputs))


Boxes = tuple[Floats, Floats, NDArray[np.int64]]
"""Boxes [n, 4], scores [n] and classes [n] of one image."""


def boxes_of(outputs: Sequence[Tensor], row: int) -> Boxes:
    """What a detector's package says of one image."""
    count = int(np.clip(int(outputs[3][row]), 0, outputs[1].shape[1]))
    boxes, scores = (np.asarray(outputs[at][row, :count], dtype=np.float64) for at in (0, 1))
    return boxes, scores, np.asarray(outputs[2][row, :count], dtype=np.int64)


def matched(expected: Boxes, actual: Boxes) -> Matched:
    """Each expected box, the best first, with the box of its class that lies most where it lies and is nobody's yet."""
    pairs: list[tuple[int, int]] = []
    missing: list[int] = []
    free = np.ones(len(actual[0]), dtype=np.bool_)
    least = 1.0
    for at, (box, kind) in enumerate(zip(expected[0], expected[2].tolist(), strict=True)):
        common = np.where(free & (actual[2] == kind), shared(box, actual[0]), -1.0)
        best = int(np.argmax(common)) if len(common) else -1
        if best < 0 or common[best] < LEAST_SHARED:
            missing.append(at)
            continue
        free[best] = False
        least = min(least, float(common[best]))
        pairs.append((at, best))
    return Matched(pairs=tuple(pairs), missing=tuple(missing), surplus=tuple(np.flatnonzero(free).tolist()), least_shared=least)


def shared(box: Floats, others: Floats) -> Floats:
    """The part of the union that a box (left, top, right, bottom) has in common with each of others; 1 where they are the same but for a hair."""
    wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    high = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    common = np.maximum(wide, 0.0) * np.maximum(high, 0.0)
    sizes = np.maximum(others[:, 2] - others[:, 0], 0.0) * np.maximum(others[:, 3] - others[:, 1], 0.0)
    union = max(float(box[2] - box[0]), 0.0) * max(float(box[3] - box[1]), 0.0) + sizes - common
    part = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    same = np.abs(others - box).max(axis=1, initial=0.0) <= _SAME_PLACE
    return np.asarray(np.where(same, 1.0, part))


def _compare_retrieval(signature: Signature, expected: Sequence[Tensor], actual: Sequence[Tensor]) -> Difference:
    """The first k of each row: scores within their bound, and items in their order but for ties."""
    plain = compare(signature.outputs, expected, actual)
    item = next((at for at, spec in enumerate(signature.outputs) if spec.role == "item"), None)
    score = next((at for at, spec in enumerate(signature.outputs) if spec.role == "score"), None)
    if item is None or score is None:
        return plain
    bound = tolerance_of(signature.outputs[score])
    rows = [
        (row, 0.0, _displaced(expected[item][row].tolist(), actual[item][row].tolist(), expected[score][row].tolist(), bound))
        for row in range(len(expected[item]))
    ]
    outputs = list(plain.outputs)
    outputs[item] = _output(signature.outputs[item].name, rows, exact=True)
    return Difference(outputs=tuple(outputs))


def _displaced(expected: list[object], actual: list[object], scores: list[float], bound: Tolerance) -> int:
    """How many places hold another item than they should, ties aside: those within the list, and those with the first item that was left out."""
    places = {item: at for at, item in enumerate(expected)}
    wrong = len(actual) - len(set(actual))  # an item that is there twice has taken another's place
    for at, item in enumerate(actual):
        if item != expected[at]:
            tied = scores[places.get(item, len(scores) - 1)]
            wrong += abs(scores[at] - tied) > _allowed(scores[at], bound)
    return wrong


def _allowed(score: float, bound: Tolerance) -> float:
    return bound.atol + bound.rtol * abs(score)


def _output(name: str, rows: Sequence[tuple[int, float, int]], *, exact: bool) -> OutputDifference:
    """Of rows of (position, gap, mismatches)."""
    bad = sorted((row for row in rows if row[2]), key=lambda row: -row[1])
    return OutputDifference(
        name=name,
        exact=exact,
        max_abs=0.0 if exact else max((gap for _, gap, _ in rows), default=0.0),
        max_rel=0.0,
        max_ulp=0.0,
        mismatches=sum(count for _, _, count in rows),
        bad_rows=tuple(row for row, _, _ in bad),
    )


_COMPARISONS: Final[dict[Task, Callable[[Signature, Sequence[Tensor], Sequence[Tensor]], Difference]]] = {
    Task.DETECTION: _compare_boxes,
    Task.RETRIEVAL: _compare_retrieval,
}

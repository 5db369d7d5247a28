"""Comparison of boxes and of first k: what may differ without being another answer, and what may not."""

from collections.abc import Sequence

import numpy as np
import pytest

from aweigh.core.agreement import compare_answers, shared
from aweigh.core.evidence import Check
from aweigh.core.frames import columns_of_outputs
from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.testing import FakeSession
from aweigh.verify.orders import of_task
from aweigh.verify.parity import run_cases

SHAPES = {
    "boxes": (Datatype.FP32, (BATCH, 4, 4)),
    "scores": (Datatype.FP32, (BATCH, 4)),
    "classes": (Datatype.INT64, (BATCH, 4)),
    "count": (Datatype.INT64, (BATCH,)),
}
FOUND = Signature(
    inputs=(TensorSpec(name="image", datatype=Datatype.BYTES, shape=(BATCH, 1)),),
    outputs=tuple(TensorSpec(name=name, datatype=of, shape=shape) for name, (of, shape) in SHAPES.items()),
    task=Task.DETECTION,
    labels=("cat", "dog"),
)
FIRST = Signature(
    inputs=(TensorSpec(name="user", datatype=Datatype.FP32, shape=(BATCH, 2)),),
    outputs=(
        TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 4), role="score"),
        TensorSpec(name="items", datatype=Datatype.INT64, shape=(BATCH, 4), role="item"),
    ),
    task=Task.RETRIEVAL,
)
Found = tuple[list[float], float, int]
CAT: Found = ([10, 10, 30, 30], 0.9, 0)
DOG: Found = ([40, 10, 60, 30], 0.9, 1)


def image(*found: Found) -> list[Tensor]:
    boxes, scores, classes = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4), np.float32), np.full((1, 4), -1, np.int64)
    for at, (box, score, kind) in enumerate(found):
        boxes[0, at], scores[0, at], classes[0, at] = box, score, kind
    return [boxes, scores, classes, np.array([len(found)])]


def moved(found: Found, by: float, score: float = 0.0, kind: int | None = None) -> Found:
    return [side + by for side in found[0]], found[1] + score, found[2] if kind is None else kind


@pytest.mark.parametrize(
    "actual",
    [(CAT, DOG), (DOG, CAT), (moved(CAT, 0.02), DOG), (moved(CAT, 0, 1e-5), DOG)],
    ids=["same", "order", "hair", "rounding"],
)
def test_the_same_boxes(actual: tuple[Found, ...]) -> None:
    assert compare_answers(FOUND, image(CAT, DOG), image(*actual)).agrees


@pytest.mark.parametrize(
    ("actual", "wrong"),
    [
        ((CAT,), {"boxes", "classes", "count"}),
        ((CAT, DOG, moved(CAT, 50)), {"boxes", "classes", "count"}),
        ((moved(CAT, 1), DOG), {"boxes"}),
        ((moved(CAT, 0, 0.01), DOG), {"scores"}),
        ((moved(CAT, 0, 0, 1), DOG), {"boxes", "classes"}),
        ((CAT, CAT), {"boxes", "classes"}),
    ],
    ids=["missing", "surplus", "place", "score", "class", "twice"],
)
def test_other_boxes(actual: tuple[Found, ...], wrong: set[str]) -> None:
    difference = compare_answers(FOUND, image(CAT, DOG), image(*actual))
    assert {output.name for output in difference.outputs if output.mismatches} == wrong
    assert difference.bad_rows == (0,)


def test_shared_parts() -> None:
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10.005]])
    np.testing.assert_allclose(shared(np.array([0.0, 0, 10, 10]), others), [1, 1 / 3, 0, 1])
    assert shared(np.zeros(4), np.zeros((1, 4))).tolist() == [1]


def first(scores: Sequence[float], items: Sequence[int]) -> list[Tensor]:
    return [np.array([scores], np.float32), np.array([items])]


@pytest.mark.parametrize(
    ("items", "agrees"),
    [([7, 3, 5, 1], True), ([7, 5, 3, 1], True), ([3, 7, 5, 1], False), ([7, 3, 5, 9], True), ([7, 3, 9, 1], False), ([7, 3, 3, 1], False)],
    ids=["same", "tie", "order", "tie at the end", "other item", "twice"],
)
def test_the_first_k(items: list[int], agrees: bool) -> None:
    scores = [0.9, 0.5, 0.5, 0.1]
    assert compare_answers(FIRST, first(scores, [7, 3, 5, 1]), first(scores, items)).agrees is agrees
    checks = checks_of(FIRST, first(scores, [7, 3, 5, 1]), first(scores, items), {"user": np.zeros((1, 2), np.float32)})
    assert [(check.name, check.passed) for check in checks] == [("top-k", agrees)]


def test_other_shapes_and_scores_disagree() -> None:
    assert not compare_answers(FIRST, first([1, 0.5], [1, 2]), first([1], [1])).agrees
    assert not compare_answers(FIRST, first([1, 0.5], [1, 2]), first([1, 0.6], [1, 2])).agrees
    assert not compare_answers(FOUND, image(CAT), [tensor[:0] for tensor in image(CAT)]).agrees


def checks_of(signature: Signature, expected: list[Tensor], actual: list[Tensor], inputs: dict[str, Tensor]) -> list[Check]:
    case = GoldenAnswers(name="one", why="", inputs=inputs, outputs=expected)
    return of_task(signature, run_cases(FakeSession(lambda _: actual), signature, [case]))


def test_evidence_of_boxes() -> None:
    row = {"image": np.array([[b"x"]], dtype=object)}
    (good,) = checks_of(FOUND, image(CAT, DOG), image(DOG, moved(CAT, 0.02)), row)
    assert good.passed
    assert good.figures["boxes"] == 2
    assert 0.99 < (good.figures["least_shared"] or 0) < 1
    (bad,) = checks_of(FOUND, image(CAT, DOG), image(CAT, moved(DOG, 9)), row)
    assert not bad.passed
    assert (bad.figures["missing"], bad.figures["surplus"]) == (1, 1)
    (empty,) = checks_of(FOUND, image(), image(), row)
    assert empty.passed
    assert "no image" in empty.note


def test_people_get_lists_of_boxes() -> None:
    columns = columns_of_outputs(FOUND, image(CAT, DOG))
    assert columns == {
        "detections": [
            [{"label": "cat", "score": pytest.approx(0.9), "box": CAT[0]}, {"label": "dog", "score": pytest.approx(0.9), "box": DOG[0]}]
        ]
    }

"""What is made of the outputs of a model of images or sounds: the likeliest label, or boxes in the pixels of the image that was sent. Called by `media.py`."""

import dataclasses
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from aweigh.core.agreement import shared
from aweigh.core.errors import InvalidFile
from aweigh.core.signature import Signature
from aweigh.core.steps import BoxesAnswer, BoxForm, LabelAnswer, MediaAnswer
from aweigh.core.tensors import Tensor

BOXES_OUTPUTS: Final = ("boxes", "scores", "classes", "count")
"""What a detector's package gives: [batch, most, 4], [batch, most] twice, [batch]; empty places hold 0, and -1 for a class."""
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where the model's picture lies in the image that was sent: x of the image = left + x of the picture * across, y likewise."""

    width: int
    height: int
    picture_width: int
    picture_height: int
    left: float = 0.0
    top: float = 0.0
    across: float = 1.0
    down: float = 1.0


class Answerer(Protocol):
    """Makes the package's outputs of the model's. `together`: they have a row for each of `placed`; else they are of one file."""

    def __call__(self, outputs: Sequence[Tensor], placed: Sequence[Placed | None], /, *, together: bool) -> list[Tensor]: ...


def answerer(answer: MediaAnswer | None, outer: Signature, inner: Signature) -> Answerer:
    """For a package of the signature `outer` around a model of `inner`. Raises InvalidFile where they do not go together."""
    names = [spec.name for spec in inner.outputs]
    if answer is None:
        if len(names) != len(outer.outputs):
            raise InvalidFile(f"the model gives {len(names)} outputs, the package {len(outer.outputs)}", hint="pack the model again")
        return _as_it_is
    if isinstance(answer, LabelAnswer):
        if len(names) != 1 or not outer.labels or len(outer.outputs) != 2:
            raise InvalidFile("an answer of labels needs a model of one output, and labels", hint="pack the model again")
        return _Labels([str(label) for label in outer.labels], softmax=answer.softmax)
    wanted = [name for name in (answer.boxes, answer.scores, answer.classes) if name]
    if not set(wanted) <= set(names) or tuple(spec.name for spec in outer.outputs) != BOXES_OUTPUTS:
        raise InvalidFile(f"an answer of boxes is not made of {', '.join(names)}", hint="pack the model again")
    return _Boxes(answer, names)


def _as_it_is(outputs: Sequence[Tensor], _placed: Sequence[Placed | None], *, together: bool) -> list[Tensor]:
    return [_rowed(output, together=together) for output in outputs]


def _rowed(output: Tensor, *, together: bool) -> Tensor:
    """An output with the files on its first axis."""
    return output if together or (output.ndim and output.shape[0] == 1) else output[None]


class _Labels:
    def __init__(self, labels: list[str], *, softmax: bool) -> None:
        self._labels = np.empty(len(labels), dtype=object)
        self._labels[:] = labels
        self._softmax = softmax

    def __call__(self, outputs: Sequence[Tensor], placed: Sequence[Placed | None], *, together: bool) -> list[Tensor]:
        scores = _rowed(outputs[0], together=together)
        chances = softmax(scores) if self._softmax else scores
        return [self._labels[np.argmax(chances, axis=1)], chances]


def softmax(scores: Tensor) -> Tensor:
    """Probabilities of each row, in float32."""
    wide = np.asarray(scores, dtype=np.float64)
    risen = np.exp(wide - wide.max(axis=-1, keepdims=True))
    found: Tensor = (risen / risen.sum(axis=-1, keepdims=True)).astype(np.float32)
    return found


class _Boxes:
    """Boxes of each image that are left over, best first, in its own pixels."""

    def __init__(self, answer: BoxesAnswer, names: Sequence[str]) -> None:
        self._answer = answer
        self._names = list(names)

    def __call__(self, outputs: Sequence[Tensor], placed: Sequence[Placed | None], *, together: bool) -> list[Tensor]:
        named = dict(zip(self._names, outputs, strict=True))
        return _stacked([self._of_image(named, one, at if together else None) for at, one in enumerate(placed)], self._answer.most)

    def _of_image(self, named: dict[str, Tensor], placed: Placed | None, at: int | None) -> tuple[Floats, Floats, NDArray[np.int64]]:
        boxes, scores, classes = self._candidates(named, at)
        good = np.isfinite(boxes).all(axis=1) & (scores >= self._answer.least_score)
        boxes, scores, classes = corners(boxes[good], self._answer.form), scores[good], classes[good]
        if placed is not None:
            boxes = _in_image(boxes, placed, unit=self._answer.unit)
        kept = suppressed(boxes, scores, classes, overlap=self._answer.overlap, most=self._answer.most)
        return boxes[kept], scores[kept], classes[kept]

    def _candidates(self, named: dict[str, Tensor], at: int | None) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Boxes [n, 4], scores [n] and classes [n] of one image."""
        answer = self._answer
        boxes = _one(named[answer.boxes], at, 2)
        boxes = boxes.T if answer.turned else boxes
        least = 4 if answer.scores else 5
        if boxes.ndim != 2 or (len(boxes) and boxes.shape[1] < least):
            raise _no_boxes(
                answer.boxes, boxes, f"{least} numbers or more a box are expected", hint="'turned' says that boxes stand on the last axis"
            )
        if not answer.scores:
            return _by_class(boxes, boxes[:, 4:])
        scores = _scores(_one(named[answer.scores], at, 2 if not answer.classes else 1), boxes, answer)
        if answer.classes:
            classes = _one(named[answer.classes], at, 1)
            for name, each in ((answer.scores, scores), (answer.classes, classes)):
                if each.size != len(boxes):
                    raise _no_boxes(name, each, f"one number for each of {len(boxes)} boxes is expected")
            return boxes[:, :4], scores.reshape(-1), classes.reshape(-1).astype(np.int64)
        if scores.ndim not in {1, 2} or len(scores) != len(boxes):
            raise _no_boxes(answer.scores, scores, f"a row for each of {len(boxes)} boxes is expected")
        return _by_class(boxes, scores)


def _by_class(boxes: Floats, scores: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The likeliest class of each box; of scores [n], the only one."""
    if scores.ndim == 1:
        return boxes[:, :4], scores, np.zeros(len(scores), dtype=np.int64)
    classes = np.argmax(scores, axis=1) if scores.size else np.zeros(len(scores), dtype=np.int64)
    return boxes[:, :4], scores[np.arange(len(scores)), classes] if scores.size else np.zeros(len(scores)), classes.astype(np.int64)


def _no_boxes(name: str, array: Floats, expected: str, *, hint: str = "say with --answer which outputs hold what") -> InvalidFile:
    return InvalidFile(f"output '{name}' gives {list(array.shape)} for an image: {expected}", hint=hint)


def _one(output: Tensor, at: int | None, rank: int) -> Floats:
    """What an output says of one image: the row `at`, or all of it, without an axis for a batch of one."""
    array = np.asarray(output, dtype=np.float64)
    if at is not None:
        return np.asarray(array[at])
    return np.asarray(array[0]) if array.ndim > rank and array.shape[0] == 1 else array


def _scores(scores: Floats, boxes: Floats, answer: BoxesAnswer) -> Floats:
    return scores.T if answer.turned and scores.ndim == 2 and len(scores) != len(boxes) else scores


def corners(boxes: Floats, form: BoxForm) -> Floats:
    """Boxes as left, top, right, bottom."""
    a, b, c, d = (boxes[:, at] for at in range(4))
    if form == "yxyx":
        return np.stack([b, a, d, c], axis=1)
    if form == "xywh":
        return np.stack([a, b, a + c, b + d], axis=1)
    if form == "cxcywh":
        return np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)
    return boxes


def _in_image(boxes: Floats, placed: Placed, *, unit: bool) -> Floats:
    """From the model's picture to the image that was sent, within its edges."""
    wide, high = (placed.picture_width, placed.picture_height) if unit else (1, 1)
    x = placed.left + boxes[:, [0, 2]] * wide * placed.across
    y = placed.top + boxes[:, [1, 3]] * high * placed.down
    x, y = np.clip(x, 0.0, placed.width), np.clip(y, 0.0, placed.height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def suppressed(boxes: Floats, scores: Floats, classes: NDArray[np.int64], *, overlap: float, most: int) -> NDArray[np.int64]:
    """Positions of the boxes that stay, best first: each takes away those of its class that share more than `overlap` of the union with it."""
    order = np.argsort(-scores, kind="stable")
    if overlap >= 1.0:
        return order[:most]
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[(classes[order] != classes[best]) | (shared(boxes[best], boxes[order]) <= overlap)]
    return np.array(kept, dtype=np.int64)


def _stacked(found: Sequence[tuple[Floats, Floats, NDArray[np.int64]]], most: int) -> list[Tensor]:
    boxes = np.zeros((len(found), most, 4), dtype=np.float32)
    scores = np.zeros((len(found), most), dtype=np.float32)
    classes = np.full((len(found), most), -1, dtype=np.int64)
    for row, (own, chances, kinds) in enumerate(found):
        boxes[row, : len(own)], scores[row, : len(own)], classes[row, : len(own)] = own, chances, kinds
    return [boxes, scores, classes, np.array([len(own) for own, _, _ in found], dtype=np.int64)]

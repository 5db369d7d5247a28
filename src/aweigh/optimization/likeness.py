"""How alike two sets of answers are, row by row, without right answers: agreement, nearest neighbours, cosine. Pure arithmetic.

A row agrees where its label is the same, and all is finite that is so at the source. Where a model has no labels: where the largest of the scores of classes stands in the same place, of several
choices a row (one for each token, say) in all of them; and where each other number lies within a hundredth of the spread that the source's answers have in its place, or within the signature's tolerance.

What a model's numbers are is read from its signature; where that does not say, from the source's answers. Numbers that cannot be told to be scores of classes are numbers, which is the stricter.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.agreement import compare_answers
from aweigh.core.signature import Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.core.tolerances import tolerance_of
from aweigh.optimization.budget import Figure

_WITHIN: Final = 0.01
_Z: Final = 1.959964
_BLOCK: Final = 1024
_OF_NUMBERS: Final = frozenset({Task.REGRESSION, Task.RANKING, Task.TRANSFORM})
"""Tasks whose outputs are no scores of classes, however many numbers a row has."""
_VECTORS: Final = ("embed", "hidden", "feature", "pool")
_SCORES: Final = ("logit", "score")
"""In names of outputs."""
_TOKENS: Final = 2
"""The axis of the scores where a row is a sequence."""
_ALIKE: Final = 1e-3
"""What a sum or a length that is 1 may lack of it."""

Rows = NDArray[np.bool_]
Index = NDArray[np.int64]


def likeness(metric: str, signature: Signature, source: Sequence[Tensor], answers: Sequence[Tensor], rows: Index | None = None) -> Figure:
    """The figure of a metric of `LIKENESS`, on those rows that count: all, without `rows`. Neighbours are looked for among all."""
    if metric == "neighbours":
        one, other = _vectors(signature, source), _vectors(signature, answers)
        kept = (nearest_of(one) == nearest_of(other)) & _as_finite(one, other)
        return share(kept if rows is None else kept[rows])
    if metric == "agreement":
        agree = agreeing(signature, source, answers)
        return share(agree if rows is None else agree[rows])
    if rows is not None:
        source, answers = [output[rows] for output in source], [output[rows] for output in answers]
    return _mean(cosines(_vectors(signature, source), _vectors(signature, answers)))


def agreeing(signature: Signature, source: Sequence[Tensor], answers: Sequence[Tensor]) -> Rows:
    """Of each row, whether the two agree. Shape [rows]."""
    if signature.task in {Task.DETECTION, Task.RETRIEVAL}:
        bad = set(compare_answers(signature, source, answers).bad_rows)
        return np.array([row not in bad for row in range(len(source[0]))], dtype=np.bool_)
    kept = np.ones(len(source[0]), dtype=np.bool_)
    for at in _deciding(signature):
        kept &= _agreeing(signature, signature.outputs[at], source[at], answers[at])
    for at, spec in enumerate(signature.outputs):
        if spec.datatype.is_float:
            kept &= _as_finite(source[at], answers[at])
    return kept


def _deciding(signature: Signature) -> Sequence[int]:
    """Which outputs a row is judged by: its labels or texts, else its probabilities, else all that there is."""
    outputs = list(enumerate(signature.outputs))
    exact = [at for at, spec in outputs if not spec.datatype.is_float]
    meant = [at for at in exact if signature.outputs[at].role or signature.outputs[at].datatype is Datatype.BYTES]
    if meant or (exact and signature.task is not Task.GENERAL):
        return exact
    return [at for at, spec in outputs if spec.role == "probability"] or range(len(outputs))


def _agreeing(signature: Signature, spec: TensorSpec, source: Tensor, answers: Tensor) -> Rows:
    rows = len(source)
    if source.shape != answers.shape:
        return np.zeros(rows, dtype=np.bool_)
    if not spec.datatype.is_float:
        one, other = source.reshape(rows, -1), answers.reshape(rows, -1)
        return np.array([a == b for a, b in zip(one.tolist(), other.tolist(), strict=True)], dtype=np.bool_)
    axis = _class_axis(signature, spec, source)
    if axis is None:
        return _near(spec, source, answers)
    return np.asarray((source.argmax(axis=axis) == answers.argmax(axis=axis)).reshape(rows, -1).all(axis=1))


def _class_axis(signature: Signature, spec: TensorSpec, source: Tensor) -> int | None:
    """Along which axis the scores of classes lie, of which the largest is chosen; None where each number stands for itself, or nothing tells that it does not."""
    last = source.ndim - 1
    if last < 1 or source[0].size < 2 or signature.task in _OF_NUMBERS or spec.role == "prediction":
        return None
    if signature.task is Task.CLASSIFICATION:
        return last
    known = source[np.isfinite(source).reshape(len(source), -1).all(axis=1)].astype(np.float64)
    chances = bool((known >= -_ALIKE).all() and (known <= 1 + _ALIKE).all())
    if chances:  # one choice where they add up to 1, else several that have nothing to do with each other
        return next((axis for axis in dict.fromkeys((last, 1)) if len(known) and _are_one(known.sum(axis=axis))), None)
    name = spec.name.lower()
    if any(word in name for word in _VECTORS):
        return None
    if last == 1:
        one_place = len(np.unique(known.argmax(axis=1))) < 2  # as of targets of which one is always the greatest
        return None if one_place or _are_one(np.linalg.norm(known, axis=1)) else 1
    if not any(word in name for word in _SCORES):
        return None
    return last if last == _TOKENS or source.shape[last] < source.shape[1] else 1  # of pictures there are more pixels than classes


def _are_one(values: NDArray[np.float64]) -> bool:
    return bool(np.allclose(values, 1.0, rtol=0.0, atol=_ALIKE))


def _near(spec: TensorSpec, source: Tensor, answers: Tensor) -> Rows:
    """Of each row, whether all of its numbers are near those of the source, each held against the others that stand in its place."""
    one, other = (tensor.reshape(len(source), -1).astype(np.float64) for tensor in (source, answers))
    finite = np.isfinite(one)
    bound = tolerance_of(spec)
    sizes = np.where(finite, np.abs(one), 0.0)
    with np.errstate(invalid="ignore"):
        allowed = np.maximum(
            _WITHIN * _spread(one, finite), bound.atol + bound.rtol * sizes + bound.scale * sizes.max(axis=1, keepdims=True, initial=0.0)
        )
        near = (np.abs(one - other) <= allowed) & finite
    return np.asarray((near | (one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1))


def _spread(values: NDArray[np.float64], finite: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The standard deviation of each column's finite values. Shape [columns]."""
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, values, 0.0).sum(axis=0) / count
    return np.asarray(np.sqrt((np.where(finite, values - mean, 0.0) ** 2).sum(axis=0) / count))


def _as_finite(source: Tensor, answers: Tensor) -> Rows:
    """Of each row, whether the answer is finite wherever the source's is: of NaN the largest stands in the first place, and a label is made of that."""
    if source.shape != answers.shape:
        return np.zeros(len(source), dtype=np.bool_)
    return np.asarray((np.isfinite(answers) | ~np.isfinite(source)).reshape(len(source), -1).all(axis=1))


def _vectors(signature: Signature, outputs: Sequence[Tensor]) -> NDArray[np.float64]:
    """The first output of floats, a vector a row."""
    at = next((at for at, spec in enumerate(signature.outputs) if spec.datatype.is_float), 0)
    return outputs[at].reshape(len(outputs[at]), -1).astype(np.float64)


def nearest_of(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each row, the other row with the greatest cosine; one that is not finite is near to none. Shape [rows]."""
    lost = ~np.asarray(np.isfinite(vectors).all(axis=1))
    vectors = np.where(lost[:, None], 0.0, vectors)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    found = np.empty(len(unit), dtype=np.int64)
    for start in range(0, len(unit), _BLOCK):
        likenesses = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(len(likenesses))
        likenesses[:, lost] = likenesses[rows, start + rows] = -np.inf
        found[start : start + _BLOCK] = likenesses.argmax(axis=1)
    return found


def cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, the cosine between the two; 0 where one has no direction. Shape [rows]."""
    lost = ~np.asarray(np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1))
    one, other = np.where(lost[:, None], 0.0, one), np.where(lost[:, None], 0.0, other)
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.divide((one * other).sum(axis=1), sizes, out=np.zeros(len(one)), where=sizes > 0))


def share(rows: Rows) -> Figure:
    """A share with its Wilson interval."""
    count, part = len(rows), float(rows.mean()) if len(rows) else 0.0
    if not count:
        return Figure(value=0.0)
    middle = (part + _Z * _Z / (2 * count)) / (1 + _Z * _Z / count)
    half = _Z * math.sqrt(part * (1 - part) / count + _Z * _Z / (4 * count * count)) / (1 + _Z * _Z / count)
    return Figure(value=part, low=max(0.0, middle - half), high=min(1.0, middle + half))


def _mean(values: NDArray[np.float64]) -> Figure:
    mean, half = float(values.mean()), _Z * float(values.std()) / math.sqrt(len(values))
    return Figure(value=mean, low=mean - half, high=mean + half)

"""How alike two sets of answers are, row by row, without right answers: agreement, nearest neighbours, cosine. Pure arithmetic.

A row agrees where its label is the same, and all is finite that is so at the source. Where a model has no labels: where its largest score stands in the same place (outputs of several numbers a row),
or where each number lies within a hundredth of the spread of the source's answers (one number a row).
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.agreement import compare_answers
from aweigh.core.signature import Signature, Task, TensorSpec
from aweigh.core.tensors import Tensor
from aweigh.optimization.budget import Figure

_WITHIN: Final = 0.01
_Z: Final = 1.959964
_BLOCK: Final = 1024

Rows = NDArray[np.bool_]
Index = NDArray[np.int64]


def likeness(metric: str, signature: Signature, source: Sequence[Tensor], answers: Sequence[Tensor], rows: Index | None = None) -> Figure:
    """The figure of a metric of `LIKENESS`, on those rows that count: all, without `rows`. Neighbours are looked for among all."""
    if metric == "neighbours":
        one, other = _vectors(signature, source), _vectors(signature, answers)
        kept = (nearest_of(one) == nearest_of(other)) & _as_finite(one, other)
        return share(kept if rows is None else kept[rows])
    if rows is not None:
        source, answers = [output[rows] for output in source], [output[rows] for output in answers]
    if metric == "agreement":
        return share(agreeing(signature, source, answers))
    return _mean(cosines(_vectors(signature, source), _vectors(signature, answers)))


def agreeing(signature: Signature, source: Sequence[Tensor], answers: Sequence[Tensor]) -> Rows:
    """Of each row, whether the two agree. Shape [rows]."""
    if signature.task in {Task.DETECTION, Task.RETRIEVAL}:
        bad = set(compare_answers(signature, source, answers).bad_rows)
        return np.array([row not in bad for row in range(len(source[0]))], dtype=np.bool_)
    exact = [at for at, spec in enumerate(signature.outputs) if not spec.datatype.is_float]
    deciding = exact or [at for at, spec in enumerate(signature.outputs) if spec.role == "probability"] or range(len(signature.outputs))
    kept = np.ones(len(source[0]), dtype=np.bool_)
    for at in deciding:
        kept &= _agreeing(signature.outputs[at], source[at], answers[at])
    for at, spec in enumerate(signature.outputs):
        if spec.datatype.is_float:
            kept &= _as_finite(source[at], answers[at])
    return kept


def _agreeing(spec: TensorSpec, source: Tensor, answers: Tensor) -> Rows:
    rows = len(source)
    one, other = source.reshape(rows, -1), answers.reshape(len(answers), -1)
    if one.shape != other.shape:
        return np.zeros(rows, dtype=np.bool_)
    if not spec.datatype.is_float:
        return np.array([a == b for a, b in zip(one.tolist(), other.tolist(), strict=True)], dtype=np.bool_)
    if one.shape[1] > 1:
        return np.asarray(one.argmax(axis=1) == other.argmax(axis=1))
    allowed = _WITHIN * float(np.nanstd(one.astype(np.float64)))
    return np.asarray(np.abs(one[:, 0].astype(np.float64) - other[:, 0].astype(np.float64)) <= allowed)


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

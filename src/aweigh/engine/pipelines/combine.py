"""The built-in steps and the choice of rows: arithmetic on whole tensors, nothing else. Called by a pipeline's plan."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InternalError
from aweigh.core.pipeline import Combine, Condition, Operator, Step
from aweigh.core.tensors import Tensor

_SMALL: Final = 64
Combination = Callable[[Sequence[Tensor]], Tensor]
_COMPARE: Final[dict[Operator, Callable[[Any, Any], Any]]] = {
    Operator.EQUAL: np.equal,
    Operator.DIFFERENT: np.not_equal,
    Operator.LESS: np.less,
    Operator.LESS_OR_EQUAL: np.less_equal,
    Operator.GREATER: np.greater,
    Operator.GREATER_OR_EQUAL: np.greater_equal,
}


def combination(step: Step) -> Combination:
    """What a combining step does with its tensors. JOIN is not among them: it needs to know whose rows they are."""
    if step.combine is Combine.WEIGHTED_MEAN:
        return partial(weighted_mean, step.weights)
    if step.combine is None or step.combine not in _PLAIN:
        raise InternalError(f"step '{step.name}' combines nothing")
    return _PLAIN[step.combine]


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Added in order, divided by their number, in the widest of their datatypes; whole numbers as FP64."""
    total: Any
    total, *others = _numbers(tensors)
    for tensor in others:
        total = total + tensor
    return np.asarray(total / total.dtype.type(len(tensors)))


def weighted_mean(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """Each times its weight, added in order, divided by the sum of the weights."""
    first, *others = _numbers(tensors)
    kind = first.dtype.type
    total = first * kind(weights[0])
    for weight, tensor in zip(weights[1:], others, strict=True):
        total = total + tensor * kind(weight)
    return np.asarray(total / kind(sum(weights)))


def vote(tensors: Sequence[Tensor]) -> Tensor:
    """What most of them say; of several that as many say, what the first of these in the order of the inputs says."""
    _check_alike(tensors)
    if tensors[0].size <= _SMALL:  # the array machinery would cost more than a loop
        chosen_labels = [max(said, key=said.count) for said in zip(*[tensor.ravel().tolist() for tensor in tensors], strict=True)]
        small: Tensor = np.empty(tensors[0].shape, dtype=tensors[0].dtype)
        small.reshape(-1)[:] = chosen_labels
        return small
    counts = np.stack([np.sum([np.equal(mine, other).astype(np.int64) for other in tensors], axis=0) for mine in tensors])
    chosen = counts.argmax(axis=0)
    answer = tensors[-1].copy()
    for at in range(len(tensors) - 2, -1, -1):
        answer[chosen == at] = tensors[at][chosen == at]
    return answer


def largest(tensors: Sequence[Tensor]) -> Tensor:
    """The largest of each element; NaN where one is."""
    _check_alike(tensors)
    return np.asarray(np.maximum.reduce(tuple(tensors)))


def side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """Along the last axis; tensors of one element a row become columns."""
    return np.concatenate([tensor if tensor.ndim > 1 else tensor.reshape(-1, 1) for tensor in tensors], axis=-1)


_PLAIN: Final[dict[Combine, Combination]] = {
    Combine.MEAN: mean,
    Combine.VOTE: vote,
    Combine.MAX: largest,
    Combine.CONCAT: side_by_side,
}


def join_rows(rows: int, parts: Sequence[tuple[Tensor, "Tensor | None"]]) -> Tensor:
    """One tensor of all rows. Each part comes with the positions of its rows, in order, None for all; of several that have a row the first counts."""
    for tensor, index in parts:
        if index is None or len(index) == rows:  # it has every row: nothing is copied
            return tensor
        if len(index):
            break
    present = [(tensor, index) for tensor, index in parts if len(tensor)]
    if not present:
        return parts[0][0]
    first = present[0][0]
    if any(tensor.shape[1:] != first.shape[1:] for tensor, _ in present):
        raise InternalError(f"branches gave rows of different shapes: {', '.join(str(list(tensor.shape)) for tensor, _ in present)}")
    answer: Tensor = np.empty((rows, *first.shape[1:]), dtype=first.dtype)
    for tensor, index in reversed(present):
        answer[slice(None) if index is None else index] = tensor
    return answer


def holds(condition: Condition, tensor: Tensor) -> Tensor:
    """For each row whether the condition holds: booleans. NaN and what is missing hold for nothing but `!=`."""
    tested: Any = tensor.reshape(len(tensor)) if condition.column is None else tensor[:, condition.column]
    if tested.dtype == object:
        return _text_holds(condition, tested)
    if condition.operator is Operator.IN:
        equal = [np.equal(tested, value) for value in condition.values]  # np.isin would compare in another datatype than `==` does
        return np.asarray(np.logical_or.reduce(equal))
    return np.asarray(_COMPARE[condition.operator](tested, condition.values[0]))


def _text_holds(condition: Condition, tested: Tensor) -> Tensor:
    """Texts may come as str or as UTF-8 bytes."""
    wanted = {form for value in condition.values for form in (value, str(value).encode())}
    found = np.fromiter((item in wanted for item in tested.tolist()), dtype=np.bool_, count=len(tested))
    return ~found if condition.operator is Operator.DIFFERENT else found


def _check_alike(tensors: Sequence[Tensor]) -> None:
    """Raises InternalError for different shapes, which numpy would stretch where it can."""
    first = tensors[0].shape
    if any(tensor.shape != first for tensor in tensors):
        raise InternalError(f"tensors of different shapes cannot be combined: {', '.join(str(list(tensor.shape)) for tensor in tensors)}")


def _numbers(tensors: Sequence[Tensor]) -> list[Any]:
    """In one datatype of floats; what has it already is not copied. Raises InternalError for different shapes."""
    _check_alike(tensors)
    first = tensors[0].dtype
    if first.kind == "f" and all(tensor.dtype == first for tensor in tensors):
        return list(tensors)
    kind = np.result_type(*tensors)
    wanted = kind if kind.kind == "f" else np.dtype(np.float64)
    return [tensor.astype(wanted, copy=False) for tensor in tensors]

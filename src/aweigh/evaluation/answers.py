"""Brings what candidates answered and what is right into one form: labels as positions, numbers as floats, groups as rows. Called by `evaluate`."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.frames import is_missing
from aweigh.core.nearest import listed
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor
from aweigh.evaluation.classification import ClassScores
from aweigh.evaluation.ranking import GroupScores, score_groups
from aweigh.evaluation.regression import ValueScores
from aweigh.evaluation.scores import Floats, Rows

Outputs = Sequence[Tensor]
_TRUTH: Final = {"true": "true", "1": "true", "false": "false", "0": "false"}
_FEW_STRANGE: Final = 10
"""Different right answers that no model knows: as many are always taken, and as many as there are known labels."""
_MANY_STRANGE: Final = 1000
"""Beyond this they are refused, however few rows have them."""


def task_of(signature: Signature, right: Sequence[Any]) -> Task:
    """The signature's task; of a model that does not say, classification where the right answers are not all numbers with fractions."""
    if signature.task in {Task.CLASSIFICATION, Task.REGRESSION, Task.RANKING}:
        return signature.task
    if signature.task is not Task.GENERAL:
        raise Unsupported(f"a model of task '{signature.task}' has no right answers to be held against", hint="give --task, if it does")
    numbers = _numbers(right)
    wide = any(len(spec.shape) == 2 and spec.shape[1] != 1 for spec in signature.outputs)
    if not wide and numbers is not None and signature.with_role("label") is None:
        return Task.REGRESSION
    return Task.CLASSIFICATION


def answered(values: Sequence[Any]) -> Rows:
    """The rows whose right answer is known."""
    return np.array([at for at, value in enumerate(values) if not (is_missing(value) or value == "")], dtype=np.int64)


def kind_of_labels(signatures: Sequence[Signature]) -> type:
    """As what the labels of all candidates are read: of their own kinds the one that sees most as equal, if it keeps each one's labels apart."""
    kinds = {_plain(signature) for signature in signatures}
    for kind in (bool, float):
        if kind in kinds and all(len(_keys(one, kind)) == len(_keys(one, _plain(one))) for one in signatures):
            return kind
    return str


def class_labels(signatures: Sequence[Signature], right: Sequence[Any], outputs: Sequence[Outputs], plain: type) -> tuple[str, ...]:
    """All labels: those that candidates name, in their order, then others that are right or given somewhere. Raises InvalidInput for right
    answers that are no labels."""
    named: dict[str, None] = {}
    given: set[str] = set()
    for signature, output in zip(signatures, outputs, strict=True):
        named |= dict.fromkeys(_known(signature, output, plain))
        spec = signature.with_role("label")
        if spec is not None:
            answers = output[signature.outputs.index(spec)].ravel()
            given |= {key_of(value, plain) for value in (set(answers.tolist()) if answers.dtype == object else np.unique(answers).tolist())}
    truth = [key_of(value, plain) for value in right]
    _check_known(truth, given.union(named), named=bool(named))
    return (*named, *sorted(given.union(truth).difference(named), key=_natural))


def _check_known(right: Sequence[str], known: Collection[str], *, named: bool) -> None:
    """A label may be one that no model knows, but a column of numbers of rows is none of labels, and would be as many classes as there are rows."""
    strange = [key for key in right if key not in known]
    different = sorted(set(strange), key=_natural)
    if len(different) <= max(_FEW_STRANGE, len(known)):
        return
    if len(different) > _MANY_STRANGE or (named and len(strange) * 2 > len(right)):
        raise InvalidInput(
            f"{len(strange)} of {len(right)} right answers are labels that no model here knows, {len(different)} different ones: {listed(different, 5)}",
            hint=f"check --labels: known are {listed(sorted(known, key=_natural), 10)}",
        )


def class_scores(signature: Signature, outputs: Outputs, right: Sequence[Any], labels: tuple[str, ...], plain: type) -> ClassScores:
    """A classifier's answers, as positions in `labels`. Raises Unsupported for a model that gives no labels, InvalidInput for labels of another kind."""
    place = {label: at for at, label in enumerate(labels)}
    known = _known(signature, outputs, plain)
    spec, chances = signature.with_role("label"), _probabilities(signature, outputs)
    if spec is not None:
        given = [key_of(value, plain) for value in _column(outputs[signature.outputs.index(spec)], spec.name).tolist()]
    else:
        given = [known[at] for at in _scores(signature, outputs).argmax(axis=1)]
    truth = [key_of(value, plain) for value in right]
    if known and not set(known) & set(truth):
        raise InvalidInput(f"none of the labels is one of the model's: {truth[0]!r} is not in {known[:10]}", hint="check --labels")
    ordered = None
    if chances is not None and len(known) == chances.shape[1]:
        columns = [place[key] for key in known]
        ordered = np.zeros((len(truth), max(columns) + 1))
        ordered[:, columns] = chances
    codes = (np.array([place[key] for key in keys], dtype=np.int64) for keys in (truth, given))
    return ClassScores(labels=labels, right=next(codes), given=next(codes), probabilities=ordered)


def value_scores(signature: Signature, outputs: Outputs, right: Sequence[Any], quantiles: tuple[float, ...]) -> ValueScores:
    """A regressor's answers. Raises InvalidInput for right answers that are no numbers, Unsupported for several values a row that are no quantiles."""
    given = _floats(signature, outputs)
    expected = max(1, len(quantiles))
    if given.shape[1] != expected:
        what = f"{given.shape[1]} values a row, {expected} are to be judged"
        raise Unsupported(what, hint="give --quantiles for a model that answers quantiles; else judge one value at a time")
    if not np.isfinite(given).all():
        raise InvalidInput(
            f"the model answers row {int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])} with a value that is not a finite number"
        )
    return ValueScores(right=_needed_numbers(right), given=given, quantiles=quantiles)


def group_rows(groups: Sequence[Any]) -> list[Rows]:
    """The rows of each group, in the order of their first rows."""
    found: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(str(group), []).append(row)
    return [np.array(rows, dtype=np.int64) for rows in found.values()]


def group_scores(
    signature: Signature, outputs: Outputs, right: Sequence[Any], groups: Sequence[Rows], cutoffs: Sequence[int]
) -> GroupScores:
    """A ranker's answers. Raises as `value_scores`."""
    found = value_scores(signature, outputs, right, ())
    if (found.right < 0).any():
        raise InvalidInput("a relevance is below 0", hint="labels of a ranking say how relevant a row is: 0, 1, 2, …")
    return score_groups(groups, found.right, found.point, cutoffs)


def key_of(value: Any, plain: type = str) -> str:
    """A label as text, the same for 1, 1.0 and "1" where labels are numbers, and for True and "true" where they are truths."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if plain is bool and (truth := _TRUTH.get(str(value).strip().lower().removesuffix(".0"))):
        return truth
    if plain is not str and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return str(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _plain(signature: Signature) -> type:
    """What the labels are: bool, float (also whole numbers) or str."""
    kinds = {type(label) for label in signature.labels}
    if not kinds:
        spec = signature.with_role("label")
        return str if spec is not None and spec.datatype.dtype.kind not in "iufb" else float
    return bool if kinds == {bool} else float if kinds <= {int, float} else str


def _keys(signature: Signature, plain: type) -> set[str]:
    return {key_of(label, plain) for label in signature.labels}


def _known(signature: Signature, outputs: Outputs, plain: type) -> list[str]:
    """The labels that a candidate names, or else the places of its scores; none of one that gives labels without having named them."""
    if signature.labels or signature.with_role("label") is not None:
        return [key_of(label, plain) for label in signature.labels]
    return [key_of(at, plain) for at in range(_scores(signature, outputs).shape[1])]


def _natural(key: str) -> tuple[int, float, str]:
    """Numbers by their size, before texts."""
    try:
        return 0, float(key), key
    except ValueError:
        return 1, 0.0, key


def _column(output: Tensor, name: str) -> Tensor:
    if output.ndim == 2 and output.shape[1] == 1:
        return output[:, 0]
    if output.ndim != 1:
        raise Unsupported(f"output '{name}' holds several labels a row", hint="one label a row can be judged")
    return output


def _probabilities(signature: Signature, outputs: Outputs) -> Floats | None:
    for spec, output in zip(signature.outputs, outputs, strict=True):
        if spec.role == "probability" and output.ndim == 2:
            return output.astype(np.float64)
    if signature.with_role("label") is None and signature.task is Task.GENERAL:
        scores = _scores(signature, outputs)
        if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
            return scores
    return None


def _scores(signature: Signature, outputs: Outputs) -> Floats:
    """One score for each class, of a model whose signature names no label."""
    for spec, output in zip(signature.outputs, outputs, strict=True):
        if spec.datatype.is_float and output.ndim == 2 and output.shape[1] > 1:
            return output.astype(np.float64)
    raise Unsupported("the model gives no label and no scores of classes", hint="give --task regression or --task ranking")


def _floats(signature: Signature, outputs: Outputs) -> Floats:
    for role in ("prediction", ""):
        for spec, output in zip(signature.outputs, outputs, strict=True):
            if spec.role == role and output.dtype.kind in "fiu" and output.ndim in (1, 2):
                return output.astype(np.float64).reshape(len(output), -1)
    raise Unsupported("the model gives no numbers of one row each", hint="give --task classification")


def _needed_numbers(values: Sequence[Any]) -> Floats:
    found = _numbers(values)
    if found is None or not np.isfinite(found).all():
        raise InvalidInput("the labels are not all finite numbers", hint="check --labels, or give --task classification")
    return found


def _numbers(values: Sequence[Any]) -> Floats | None:
    try:
        return np.array([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        return None

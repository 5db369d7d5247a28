"""Holds a classifier's labels against those that a person gives: are they the same words, and in the order of the model's scores? Called by frameworks.

A label order that was swapped in a model's settings answers confidently and wrong, and no comparison with the source can tell: the source is swapped too.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput, ProofFailed
from aweigh.core.tensors import Tensor, text_of

_SURE: Final = 4.0
"""Standard deviations by which another order must be right more often."""
_FEWEST: Final = 10
"""Rows that must be right in another order alone."""
_SHOWN: Final = 8
_CLASSES: Final = 100
_SETTINGS: Final = "mend the order of the labels in the model's settings (id2label and label2id of config.json), or the labels given"


def check_label_order(answers: Tensor, known: Tensor) -> None:
    """As `accuracy_in_order`, of labels as a model gives them out. Raises ProofFailed; labels of other names tell nothing."""
    answered, given = (np.asarray(labels).reshape(-1).astype(str).tolist() for labels in (answers, known))
    labels = sorted({*answered, *given})
    if len(labels) <= _CLASSES and len(answered) == len(given) and set(answered) & set(given):
        hint = "export the model with its classes in the order in which it was trained, or mend the labels given"
        accuracy_in_order(labels, np.array(given, dtype=object), answered, hint=hint)


def accuracy_in_order(labels: Sequence[str], given: Tensor, answered: Sequence[str], *, hint: str = _SETTINGS) -> float:
    """The part of rows that are answered as `given` says, by name or by number. Raises InvalidInput for labels that the model does not have, ProofFailed where
    the answers fit far better with the labels in another order."""
    right = _numbers(labels, given)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (right, [labels.index(answer) for answer in answered]), 1)
    order = _best(confusion)
    moved = [at for at in range(len(labels)) if order[at] != at]
    gained, lost = (
        sum(int(confusion[at, to]) for at, to in pairs) for pairs in ([(at, order[at]) for at in moved], [(at, at) for at in moved])
    )
    count = max(1, len(right))
    same = int(np.trace(confusion)) / count
    if gained >= _FEWEST and gained - lost > _SURE * math.sqrt(gained + lost):
        shown = ", ".join(f"'{labels[at]}' is answered '{labels[order[at]]}'" for at in moved[:_SHOWN])
        raise ProofFailed(
            f"the model's labels are in another order than those given: {shown}; {same:.0%} of {len(right)} rows are right, "
            f"{same + (gained - lost) / count:.0%} with the labels exchanged",
            hint=hint,
        )
    return same


def _numbers(labels: Sequence[str], given: Tensor) -> list[int]:
    """The place of each given label among the model's."""
    if given.dtype.kind in "iu":
        found = given.tolist()
        wrong = next((at for at in found if not 0 <= at < len(labels)), None)
        if wrong is not None:
            raise InvalidInput(
                f"the labels hold {wrong}, and the model has {len(labels)}", hint=f"0 to {len(labels) - 1}, or {_names(labels)}"
            )
        return [int(at) for at in found]
    texts = ["" if item is None else text_of(item) for item in given.tolist()]
    strange = sorted(set(texts) - set(labels))
    if strange:
        raise InvalidInput(
            f"the labels hold {', '.join(map(repr, strange[:_SHOWN]))}, which the model does not have: it has {_names(labels)}",
            hint="give the model's own labels, or name them in its settings (id2label and label2id of config.json)",
        )
    return [labels.index(text) for text in texts]


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (" …" if len(labels) > _SHOWN else "")


def _best(confusion: NDArray[Any]) -> list[int]:
    """For each label the answer that it fits best, each answer taken once, the most frequent pairs first; its own where nothing tells."""
    own = np.eye(len(confusion), dtype=np.int64)
    ranked = np.argsort(-(2 * confusion + own), axis=None, kind="stable").tolist()
    order, taken = [-1] * len(confusion), [False] * len(confusion)
    for cell in ranked:
        at, to = divmod(cell, len(confusion))
        if order[at] < 0 and not taken[to]:
            order[at], taken[to] = to, True
    return order

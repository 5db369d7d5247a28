"""The rows that a search judges by, and what they are measured by. Part of `app/optimize.py`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.app.rows import Rows, right_answers
from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Strength
from aweigh.core.golden import read_golden
from aweigh.core.protocols import PackageHandle
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor
from aweigh.evaluation import Candidate as Answering
from aweigh.evaluation import Question, evaluate
from aweigh.optimization.budget import LIKENESS, Budget, Figure
from aweigh.optimization.likeness import likeness
from aweigh.optimization.material import TELLING_ROWS, Index, Split, split
from aweigh.runtimes.finite import finite_rows

_RESAMPLES: Final = 200
_LEAST_ROWS: Final = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A person's rows, as the package takes them, with their right answers where there are some."""

    source: str
    tensors: Mapping[str, Tensor]
    right: Sequence[Any] | None
    split: Split
    strength: Strength
    finite: bool = True
    """Whether variants that depart from the source can be asked with them."""


def read_data(handle: PackageHandle, data: object, labels: object, *, calibration: bool) -> Data:
    """The rows of `data`; without any those of the golden set. Those that hold NaN or infinities are left out, where others remain. Raises what reading raises, and InvalidInput for too few."""
    signature = handle.manifest.session_signature
    if data is None:
        if labels is not None:
            raise InvalidInput("--labels are of rows that were not given", hint="give DATA too")
        golden = read_golden(handle.manifest, handle.path)
        if not golden:
            raise InvalidInput(f"{handle.reference} has no golden set", hint="give DATA")
        rows, right, source = golden[0].inputs, None, f"golden case '{golden[0].name}'"
    else:
        given = Rows.read(data, signature)
        rows, source = given.tensors(signature), given.source
        right = None if labels is None else right_answers(labels, given)
    count = signature.batch_size(rows) if signature.batched else 1
    if right is not None and len(right) != count:
        raise InvalidInput(f"{count} rows have {len(right)} labels", hint="one label for each row, in their order")
    if signature.batched and count < _LEAST_ROWS:
        raise InvalidInput(f"{source} has {count} row", hint="some hundred rows tell a good variant from a bad one; give DATA")
    kept = _whole_rows(signature, rows).nonzero()[0]
    lost = count - len(kept)
    if lost and len(kept) >= _LEAST_ROWS:
        rows, right = {name: tensor[kept] for name, tensor in rows.items()}, None if right is None else [right[int(row)] for row in kept]
        source += f", without {lost} {'row that holds' if lost == 1 else 'rows that hold'} NaN or infinities"
        count, lost = len(kept), 0
    parts = split(count, calibration=calibration) if signature.batched else _alone()
    strength = Strength.WEAK if data is None or len(parts.judged) < TELLING_ROWS else Strength.FULL
    return Data(source=source, tensors=rows, right=right, split=parts, strength=strength, finite=not lost)


def _whole_rows(signature: Signature, rows: Mapping[str, Tensor]) -> NDArray[np.bool_]:
    """Of each row, whether all of its floats are finite; of a model that takes one request at a time, of that."""
    floats = [spec.name for spec in signature.inputs if spec.datatype.is_float]
    return finite_rows(rows if signature.batched else {name: tensor[None] for name, tensor in rows.items()}, floats)


def _alone() -> Split:
    """Of a model that takes one request at a time: it is all of them."""
    only = np.zeros(1, dtype=np.int64)
    return Split(calibration=only, searched=only, unseen=only[:0])


def measure(
    signature: Signature, data: Data, budget: Budget, answers: Sequence[Tensor], source: Sequence[Tensor], rows: Index
) -> dict[str, Figure]:
    """The budget's metrics of answers to all rows, on those that count."""
    found = {}
    for metric in budget.metrics:
        if metric in LIKENESS:
            found[metric] = likeness(metric, signature, source, answers, rows if signature.batched else None)
    if data.right is not None and any(metric not in LIKENESS for metric in budget.metrics):
        found |= _metrics(signature, [output[rows] for output in answers], [data.right[row] for row in rows], budget)
    return found


def _metrics(signature: Signature, answers: Sequence[Tensor], right: Sequence[Any], budget: Budget) -> dict[str, Figure]:
    """Of all rows together, and those of single classes that the budget names."""
    candidate = Answering(model="", digest="", variant="", signature=signature, outputs=answers)
    measured = evaluate([candidate], Question(right=right, data="", resamples=_RESAMPLES)).candidates[0]
    of_classes = {f"{metric}[{label}]": figure for label, row in measured.classes.items() for metric, figure in row.items()}
    wanted = {**measured.metrics, **{name: figure for name, figure in of_classes.items() if name in budget.metrics}}
    return {
        name: Figure(value=figure.value, low=figure.low, high=figure.high) for name, figure in wanted.items() if figure.value is not None
    }


def default_budget(signature: Signature, right: Sequence[Any] | None) -> str:
    """Half a point of accuracy where right answers are known, else 99 of 100 rows that agree."""
    if right is None:
        return "agreement >= 99%"
    regression = signature.task is Task.REGRESSION
    return "rmse <= 101%" if regression else "accuracy within 0.5 points"

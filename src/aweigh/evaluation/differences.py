"""Two packages on the same rows: how far their numbers lie apart, which labels flip, which ranks change, on which inputs most. Called by `app`."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.compare import compare
from aweigh.core.errors import Unsupported
from aweigh.core.replay import describe_row, describe_value
from aweigh.core.signature import Signature, Task, TensorSpec
from aweigh.core.tensors import Tensor, Tensors

_MAX_WORST: Final = 10
_DECADES: Final = tuple(range(-9, 3))


class OutputDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One output of both. Figures of numbers are absolute differences; None where they are not finite, or where it is no number."""

    name: str
    datatype: str
    rows_changed: int
    """Rows beyond the tolerance of the datatype; of labels and texts, rows that are not equal."""
    max_abs: float | None = None
    max_rel: float | None = None
    mean_abs: float | None = None
    p50: float | None = None
    p99: float | None = None
    decades: dict[str, int] = {}
    """How many elements differ by how much, in powers of ten."""
    problem: str = ""


class WorstRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row on which they differ most."""

    case: str
    row: int
    output: str
    inputs: str
    first: str
    second: str
    gap: float | None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that was given, and whether it held."""

    name: str
    limit: float
    found: float | None
    passed: bool


class DiffReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found. `first` and `second` are name and version."""

    first: str
    second: str
    digests: tuple[str, str]
    data: str
    rows: int
    outputs: tuple[OutputDiff, ...]
    flips: int
    """Rows whose label changed; of a model that gives scores alone, whose largest score is another."""
    rank_changes: int | None
    """Rows of a ranker that stand elsewhere."""
    worst: tuple[WorstRow, ...]
    latency_us: dict[str, float] = {}
    """Median time of one row."""
    bounds: tuple[Bound, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(bound.passed for bound in self.bounds)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One set of rows that both were asked: a golden case, or the data."""

    case: str
    inputs: Tensors
    first: Sequence[Tensor]
    second: Sequence[Tensor]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """An output that both have."""

    spec: TensorSpec
    at: tuple[int, int]


def pair_outputs(first: Signature, second: Signature) -> tuple[list[_Pair], list[str]]:
    """Outputs of the same meaning, else of the same name; and what only one of them gives. Raises Unsupported where nothing is shared."""
    pairs, notes, taken = [], [], set()
    for at, spec in enumerate(first.outputs):
        same: list[Callable[[TensorSpec], bool]] = [
            lambda other, spec=spec: bool(spec.role) and other.role == spec.role,  # type: ignore[misc]  # the default binds it
            lambda other, spec=spec: other.name == spec.name,  # type: ignore[misc]  # as above
        ]
        place = next((to for is_same in same for to, other in enumerate(second.outputs) if to not in taken and is_same(other)), None)
        if place is None:
            notes.append(f"only the first gives '{spec.name}'")
            continue
        taken.add(place)
        pairs.append(_Pair(spec=spec, at=(at, place)))
    notes += [f"only the second gives '{spec.name}'" for to, spec in enumerate(second.outputs) if to not in taken]
    if not pairs:
        raise Unsupported("the two have no output in common", hint="compare packages of the same task")
    return pairs, notes


def outputs_diff(
    signatures: tuple[Signature, Signature], answers: Sequence[Answered]
) -> tuple[list[OutputDiff], list[WorstRow], int, int | None]:
    """Per output, the worst rows, flips, and rank changes (None unless it is a ranker)."""
    pairs, _ = pair_outputs(*signatures)
    answers = _in_one_order(signatures, pairs, answers)
    found: list[OutputDiff] = []
    worst: list[WorstRow] = []
    for pair in pairs:
        one, rows = _one_output(signatures[0], pair, answers)
        found.append(one)
        worst += rows
    worst.sort(key=lambda row: -math.inf if row.gap is None else -row.gap)
    moved = sum(_moved(answer, pairs[0]) for answer in answers) if signatures[0].task is Task.RANKING else None
    return found, worst[:_MAX_WORST], sum(_flips(pairs, answer) for answer in answers), moved


def bounds_of(report: DiffReport, *, max_difference: float | None, max_flips: float | None) -> tuple[Bound, ...]:
    """The bounds that were given, held against the report; what is not finite is beyond any."""
    found = []
    if max_difference is not None:
        numbers = [one for one in report.outputs if one.datatype.startswith(("FP", "BF"))]
        largest = max((math.inf if one.max_abs is None else one.max_abs for one in numbers), default=0.0)
        shown = largest if math.isfinite(largest) else None
        found.append(Bound(name="max-difference", limit=max_difference, found=shown, passed=largest <= max_difference))
    if max_flips is not None:
        share = report.flips / report.rows if report.rows else 0.0
        found.append(Bound(name="max-flips", limit=max_flips, found=share, passed=share <= max_flips))
    return tuple(found)


def _in_one_order(signatures: tuple[Signature, Signature], pairs: Sequence[_Pair], answers: Sequence[Answered]) -> Sequence[Answered]:
    """The second's probabilities in the order of the first's labels, where both name the same ones."""
    one, two = (signature.labels for signature in signatures)
    if one == two or set(one) != set(two) or len(one) != len(two):
        return answers
    order = [two.index(label) for label in one]
    places = {pair.at[1] for pair in pairs if pair.spec.role == "probability"}
    return [
        dataclasses.replace(
            answer,
            second=[
                tensor[:, order] if at in places and tensor.ndim == 2 and tensor.shape[1] == len(order) else tensor
                for at, tensor in enumerate(answer.second)
            ],
        )
        for answer in answers
    ]


def _one_output(signature: Signature, pair: _Pair, answers: Sequence[Answered]) -> tuple[OutputDiff, list[WorstRow]]:
    changed, problem, worst, gaps = 0, "", [], [np.empty(0)]
    largest, relative = 0.0, 0.0
    for answer in answers:
        first, second = answer.first[pair.at[0]], answer.second[pair.at[1]]
        difference = compare((pair.spec,), [first], [second]).outputs[0]
        changed, problem = changed + len(difference.bad_rows), problem or difference.problem
        largest, relative = max(largest, difference.max_abs), max(relative, difference.max_rel)
        if not difference.exact and not difference.problem:
            gaps.append(_gaps(first, second))
        worst += [_worst(signature, pair, answer, row, problem=difference.problem) for row in difference.bad_rows[:_MAX_WORST]]
    spec, all_gaps = pair.spec, np.concatenate(gaps)
    if not spec.datatype.is_float or not all_gaps.size:
        return OutputDiff(name=spec.name, datatype=spec.datatype.value, rows_changed=changed, problem=problem), worst
    known = all_gaps[np.isfinite(all_gaps)]
    quantiles = np.quantile(known, [0.5, 0.99]) if known.size else [math.nan, math.nan]
    mean = known.mean() if known.size else math.nan
    figures = {"max_abs": largest, "max_rel": relative, "mean_abs": mean, "p50": quantiles[0], "p99": quantiles[1]}
    plain = {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}
    return OutputDiff(
        name=spec.name, datatype=spec.datatype.value, rows_changed=changed, decades=_decades(all_gaps), problem=problem, **plain
    ), worst


def _gaps(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Absolute differences of all elements; 0 where both are the same infinity or NaN, infinite where one of them is."""
    one, two = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        gap = np.abs(one - two)
    gap[(one == two) | (np.isnan(one) & np.isnan(two))] = 0.0
    gap[np.isnan(gap)] = np.inf
    return np.asarray(gap)


def _decades(gaps: NDArray[np.float64]) -> dict[str, int]:
    with np.errstate(divide="ignore"):
        place = np.floor(np.log10(gaps))
    counts = {"equal": int((gaps == 0).sum())}
    for at, decade in enumerate(_DECADES):
        low = -np.inf if at == 0 else decade
        high = np.inf if decade == _DECADES[-1] else decade + 1
        counts[f"< 1e{decade + 1}" if math.isfinite(high) else f">= 1e{decade}"] = int(((place >= low) & (place < high) & (gaps > 0)).sum())
    counts[f">= 1e{_DECADES[-1]}"] += int(np.isinf(gaps).sum())
    return counts


def _worst(signature: Signature, pair: _Pair, answer: Answered, row: int, *, problem: str) -> WorstRow:
    first, second = answer.first[pair.at[0]], answer.second[pair.at[1]]
    gap = None
    if pair.spec.datatype.is_float and not problem:
        largest = float(np.max(_gaps(_row(first, row), _row(second, row)), initial=0.0))
        gap = largest if math.isfinite(largest) else None
    return WorstRow(
        case=answer.case,
        row=row,
        output=pair.spec.name,
        inputs=describe_row(signature, answer.inputs, row),
        first=describe_value(first, row),
        second=problem or describe_value(second, row),
        gap=gap,
    )


def _row(tensor: Tensor, row: int) -> Tensor:
    return np.asarray(tensor[row] if tensor.ndim else tensor)


def _flips(pairs: Sequence[_Pair], answer: Answered) -> int:
    """Rows of which any label changed; without labels, rows whose largest score is another."""
    changed: set[int] = set()
    labels = [pair for pair in pairs if not pair.spec.datatype.is_float]
    for pair in labels or pairs:
        first, second = answer.first[pair.at[0]], answer.second[pair.at[1]]
        if labels:
            changed |= set(compare((pair.spec,), [first], [second]).outputs[0].bad_rows)
        elif pair.spec.role != "prediction" and first.ndim == 2 and first.shape == second.shape and first.shape[1] > 1:
            changed |= set(np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1)).tolist())
    return len(changed)


def _moved(answer: Answered, pair: _Pair) -> int:
    """Rows whose place among all others is another."""
    scores: list[Any] = [answer.first[pair.at[0]], answer.second[pair.at[1]]]
    first, second = (np.unique(one.ravel(), return_inverse=True)[1] for one in scores)
    return int((first != second).sum()) if first.shape == second.shape else len(first)

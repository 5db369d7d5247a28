"""The verb of this stage: candidates that answered the same rows, measured, cut into slices, compared and ranked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InvalidInput, InvalidSetting, WrongUse
from aweigh.core.protocols import Progress, quiet
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor
from aweigh.evaluation import answers, bootstrap
from aweigh.evaluation.bootstrap import Draws
from aweigh.evaluation.classification import ClassScores
from aweigh.evaluation.gates import Requirement, judge
from aweigh.evaluation.metrics import HIGHER, LOWER, PRIMARY, better, known, worth
from aweigh.evaluation.result import CandidateResult, Comparison, Evaluation, Figure, Slice
from aweigh.evaluation.scores import Rows, Scores
from aweigh.evaluation.slices import cut

_MAX_DRAWN_CLASSES: Final = 50
"""More classes than this get no intervals of their own."""
_MAX_CONFUSION: Final = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A package, and its answers to all rows in the order of its signature's outputs."""

    model: str
    digest: str
    variant: str
    signature: Signature
    outputs: Sequence[Tensor]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is right, row by row, and what is asked."""

    right: Sequence[Any]
    data: str
    slices: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    groups: Sequence[Any] | None = None
    task: Task | None = None
    by: str = ""
    quantiles: tuple[float, ...] = ()
    cutoffs: tuple[int, ...] = (5, 10)
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    requirements: tuple[Requirement, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A candidate's scores, and the draws that its intervals came from."""

    result: CandidateResult
    scores: Scores
    draws: Draws


def evaluate(candidates: Sequence[Candidate], question: Question, progress: Progress = quiet) -> Evaluation:
    """Measure and rank. Raises InvalidInput, Unsupported, InvalidSetting (an unknown metric), WrongUse (a ranking without groups)."""
    rows, notes = _known_rows(question), []
    if len(rows) < len(question.right):
        notes.append(f"{len(question.right) - len(rows)} rows without a right answer are left out")
        candidates, question = _keep(candidates, question, rows)
    task = question.task or answers.task_of(candidates[0].signature, question.right)
    groups = _groups(question) if task is Task.RANKING else None
    labels, scores = _scores(candidates, question, task, groups)
    by = _by(question.by or PRIMARY[task], candidates, scores)
    cuts = {name: cut([values[rows[0]] for rows in groups] if groups else values) for name, values in question.slices.items()}
    measured = []
    for at, (candidate, score) in enumerate(zip(candidates, scores, strict=True)):
        progress(f"measuring {candidate.model}", at, len(candidates))
        measured.append(_measure(candidate, score, question, cuts, by))
    measured.sort(key=lambda one: -worth(by, one.result.metrics[by].value, question.quantiles))
    return Evaluation(
        task=task,
        data=question.data,
        rows=len(question.right),
        by=by,
        candidates=tuple(one.result for one in measured),
        labels=labels,
        comparisons=_compare(measured, question, by),
        verdicts=tuple(judge(requirement, one.result) for one in measured for requirement in question.requirements),
        confidence=question.confidence,
        resamples=question.resamples,
        seed=question.seed,
        method=f"percentile bootstrap of {'groups' if groups else 'rows'}: {question.resamples} draws, seed {question.seed}, {question.confidence:.0%} intervals",
        notes=tuple(notes),
    )


def _known_rows(question: Question) -> Rows:
    rows = answers.answered(question.right)
    if len(rows) < 2:
        raise InvalidInput(f"{len(rows)} rows have a right answer: at least two are needed", hint="check --labels")
    return rows


def _keep(candidates: Sequence[Candidate], question: Question, rows: Rows) -> tuple[list[Candidate], Question]:
    def some(values: Sequence[Any]) -> list[Any]:
        return [values[row] for row in rows]

    kept = dataclasses.replace(
        question,
        right=some(question.right),
        slices={name: some(values) for name, values in question.slices.items()},
        groups=None if question.groups is None else some(question.groups),
    )
    return [dataclasses.replace(one, outputs=[output[rows] for output in one.outputs]) for one in candidates], kept


def _groups(question: Question) -> list[Rows]:
    if question.groups is None:
        raise WrongUse("a ranking is judged group by group", hint="give --group COL: the column that says which rows were ranked together")
    return answers.group_rows(question.groups)


def _scores(
    candidates: Sequence[Candidate], question: Question, task: Task, groups: list[Rows] | None
) -> tuple[tuple[str, ...], list[Scores]]:
    if groups is not None:
        return (), [answers.group_scores(one.signature, one.outputs, question.right, groups, question.cutoffs) for one in candidates]
    if task is Task.REGRESSION:
        return (), [answers.value_scores(one.signature, one.outputs, question.right, question.quantiles) for one in candidates]
    signatures = [one.signature for one in candidates]
    plain = answers.kind_of_labels(signatures)
    labels = answers.class_labels(signatures, question.right, [one.outputs for one in candidates], plain)
    return labels, [answers.class_scores(one.signature, one.outputs, question.right, labels, plain) for one in candidates]


def _by(name: str, candidates: Sequence[Candidate], scores: Sequence[Scores]) -> str:
    """What ranks, if every candidate has it. Raises InvalidSetting, naming one that has not."""
    found = [score.measure(np.ones(score.units)) for score in scores]
    known(name, dict.fromkeys(metric for metrics in found for metric in metrics), place="--by")
    for candidate, metrics in zip(candidates, found, strict=True):
        if name not in metrics:
            shared = [metric for metric in metrics if all(metric in other for other in found)]
            raise InvalidSetting(f"--by {name!r}: {candidate.model} has no such figure", hint=f"all of them have: {', '.join(shared)}")
    return name


def _measure(candidate: Candidate, scores: Scores, question: Question, cuts: Mapping[str, list[tuple[str, Rows]]], by: str) -> _Measured:
    draws = _draws(scores, question)
    whole = bootstrap.figures(scores.measure(np.ones(scores.units)), draws, question.confidence)
    slices = []
    for column, parts in cuts.items():
        for value, rows in parts:
            part = scores.take(rows)
            metrics = bootstrap.figures(part.measure(np.ones(part.units)), _draws(part, question), question.confidence)
            slices.append(Slice(column=column, value=value, rows=len(rows), metrics=metrics, worse=_is_worse(by, metrics[by], whole[by])))
    slices.sort(key=lambda one: (not one.worse, worth(by, one.metrics[by].value, question.quantiles)))
    result = CandidateResult(
        model=candidate.model,
        digest=candidate.digest,
        variant=candidate.variant,
        metrics=whole,
        slices=tuple(slices),
        **_of_classes(scores, question),
    )
    return _Measured(result=result, scores=scores, draws=draws)


def _draws(scores: Scores, question: Question) -> Draws:
    return bootstrap.draws_of(scores.measure, scores.units, resamples=question.resamples, seed=question.seed)


def _of_classes(scores: Scores, question: Question) -> dict[str, Any]:
    """What only classifiers have: figures of each class, confusion, calibration."""
    if not isinstance(scores, ClassScores):
        return {}
    many = len(scores.labels) > _MAX_DRAWN_CLASSES
    draws = bootstrap.draws_of(scores.of_classes, scores.units, resamples=0 if many else question.resamples, seed=question.seed)
    found = bootstrap.figures(scores.of_classes(np.ones(scores.units)), draws, question.confidence)
    classes: dict[str, dict[str, Figure]] = {label: {} for label in scores.labels}
    for name, figure in found.items():
        metric, _, label = name.removesuffix("]").partition("[")
        classes[label][metric] = figure
    confusion = scores.confusion() if len(scores.labels) <= _MAX_CONFUSION else ()
    return {"classes": classes, "confusion": confusion, "calibration": scores.calibration()}


def _is_worse(by: str, part: Figure, whole: Figure) -> bool:
    """Whether the whole interval of a slice lies on the wrong side of the figure of all rows."""
    if part.low is None or part.high is None or whole.value is None:
        return False
    return {HIGHER: part.high < whole.value, LOWER: part.low > whole.value}.get(better(by), False)


def _compare(measured: Sequence[_Measured], question: Question, by: str) -> tuple[Comparison, ...]:
    """Every other candidate beside the best, on the same draws of the same rows."""
    best, others = measured[0], measured[1:]
    values = [bootstrap.p_value(best.draws[by] - other.draws[by]) for other in others]
    exact = [_mcnemar(best.scores, other.scores) for other in others]
    adjusted = bootstrap.holm(values)
    exactly = bootstrap.holm([p for p in exact if p is not None])
    found = []
    for at, other in enumerate(others):
        one, two = best.result.metrics[by].value, other.result.metrics[by].value
        gap = float("nan") if one is None or two is None else one - two
        found.append(Comparison(
            best=best.result.model,
            other=other.result.model,
            metric=by,
            difference=bootstrap.interval(gap, best.draws[by] - other.draws[by], question.confidence),
            p_value=adjusted[at],
            mcnemar_p=exactly[at] if exactly else None,
        ))  # fmt: skip
    return tuple(found)


def _mcnemar(one: Scores, two: Scores) -> float | None:
    if not isinstance(one, ClassScores) or not isinstance(two, ClassScores):
        return None
    first, second = one.right == one.given, two.right == two.given
    return bootstrap.mcnemar(int((first & ~second).sum()), int((~first & second).sum()))

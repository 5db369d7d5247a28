"""Evaluating: packages answer data in process, and the stage `evaluation` says how right they are. For `aweigh evaluate` and `aweigh.evaluate`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aweigh.app.models import model_to_load
from aweigh.app.predict import predict_tensors
from aweigh.app.rows import Rows, right_answers
from aweigh.app.tables import write_whole
from aweigh.core.errors import FileMissing, InvalidInput, Unsupported
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.core.signature import Task
from aweigh.engine.lifecycle import load_model
from aweigh.evaluation import Candidate, Question, evaluate
from aweigh.evaluation.gates import parse_requirement
from aweigh.evaluation.page import evaluation_page
from aweigh.evaluation.result import Evaluation

_MAX_RESAMPLES = 100_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """How to judge; `slices` and `group` name columns of the data."""

    labels: object
    slices: tuple[str, ...] = ()
    group: str = ""
    task: str = ""
    by: str = ""
    require: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    cutoffs: tuple[int, ...] = (5, 10)
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    variant: str = ""


def run_evaluation(
    settings: Settings, models: Sequence[str], data: object, options: EvaluateOptions, progress: Progress = quiet
) -> Evaluation:
    """Evaluate packages on the same rows. Raises what finding, loading and reading raise, and InvalidInput, InvalidSetting, Unsupported."""
    requirements = tuple(parse_requirement(text) for text in options.require)
    _check(options)
    handles = [model_to_load(settings, model, variant=options.variant) for model in models]
    if not handles:
        raise InvalidInput("there is no model to evaluate", hint="name at least one")
    rows = Rows.read(data, handles[0].manifest.signature)
    question = Question(
        right=right_answers(options.labels, rows),
        data=rows.source,
        slices={name: rows.column(name, option="--slice") for name in options.slices},
        groups=rows.column(options.group, option="--group") if options.group else None,
        task=Task(options.task) if options.task else None,
        by=options.by,
        quantiles=tuple(sorted(options.quantiles)),
        cutoffs=options.cutoffs,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
        requirements=requirements,
    )
    candidates = []
    for at, handle in enumerate(handles):
        progress(f"asking {handle.reference}", at, len(handles))
        candidates.append(
            _answer(settings, handle, rows if at == 0 else Rows.read(data, handle.manifest.signature), question, options.variant)
        )
    return evaluate(candidates, question, progress)


def _answer(settings: Settings, handle: PackageHandle, rows: Rows, question: Question, variant: str) -> Candidate:
    tensors = rows.tensors(handle.manifest.signature)
    model = load_model(handle, settings, variant=variant, purpose="batch")
    try:
        count = model.signature.batch_size(tensors)
        if not model.signature.batched or count != len(question.right):
            raise InvalidInput(
                f"{handle.reference} sees {count} rows, {len(question.right)} have labels", hint="one label for each row, in their order"
            )
        outputs = predict_tensors(model, tensors)
    finally:
        model.close()
    return Candidate(
        model=str(handle.reference), digest=handle.digest, variant=model.variant.name, signature=handle.manifest.signature, outputs=outputs
    )


def _check(options: EvaluateOptions) -> None:
    tasks = (Task.CLASSIFICATION, Task.REGRESSION, Task.RANKING)
    if options.task and options.task not in tasks:
        raise Unsupported(f"{options.task!r} is not a task with right answers", hint=f"use one of {', '.join(tasks)}")
    if not 10 <= options.resamples <= _MAX_RESAMPLES:
        raise InvalidInput(f"{options.resamples} resamples: expected 10 to {_MAX_RESAMPLES}")
    if not 0.5 <= options.confidence < 1:
        raise InvalidInput(f"a confidence of {options.confidence:g}: expected at least 0.5 and below 1", hint="0.95 is usual")
    if any(not 0 < quantile < 1 for quantile in options.quantiles):
        raise InvalidInput("a quantile lies between 0 and 1", hint="for example --quantiles 0.1,0.5,0.9")
    if any(cutoff < 1 for cutoff in options.cutoffs):
        raise InvalidInput("a cutoff is at least 1", hint="for example --cutoff 10")


def check_page(path: str) -> None:
    """Whether a page can be written there; asked before the work. Raises FileMissing for the folder."""
    if path and not Path(path).absolute().parent.is_dir():
        raise FileMissing(f"there is no folder {Path(path).absolute().parent}", hint="check --html")


def write_page(found: Evaluation, path: str) -> None:
    """Write the page of HTML. Raises StoreUnavailable."""
    write_whole(Path(path), evaluation_page(found).encode())

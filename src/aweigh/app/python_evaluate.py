"""The Python interface of judging: `aweigh.evaluate`, `aweigh.diff`."""

from collections.abc import Sequence
from typing import Final

from aweigh.app.diff import diff_models
from aweigh.app.evaluate import EvaluateOptions, run_evaluation
from aweigh.core.settings import read_settings
from aweigh.evaluation.differences import DiffReport
from aweigh.evaluation.result import Evaluation

_MORE: Final = ("quantiles", "cutoffs", "variant")


def evaluate(
    models: str | Sequence[str],
    data: object,
    *,
    labels: object,
    slices: Sequence[str] = (),
    require: Sequence[str] = (),
    group: str = "",
    by: str = "",
    task: str = "",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    **more: object,
) -> Evaluation:
    """Evaluate one package or several on rows with known answers. `data` is a DataFrame, arrays or a path; `labels` a column's name, an array or a path.

    Figures carry bootstrap intervals; `slices` name columns to cut by; several models are ranked by the metric `by` on the same rows, with
    paired tests. Nothing is raised for a requirement that fails: see `.passed` and `.verdicts`. Any setting, such as `home`, may be given too.

    Raises AweighError: ModelNotFound, InvalidInput, InvalidSetting, Unsupported, GoldenMismatch.

    >>> found = aweigh.evaluate("iris", X, labels=y)
    >>> found.candidates[0].metrics["accuracy"].value
    0.9733333333333334
    """
    chosen = {name: more.pop(name) for name in _MORE if name in more}
    options = EvaluateOptions(
        labels=labels, slices=tuple(slices), require=tuple(require), group=group, by=by, task=task, resamples=resamples,
        confidence=confidence, seed=seed, **chosen,  # type: ignore[arg-type]  # the three names above are its fields
    )  # fmt: skip
    return run_evaluation(
        read_settings(more, parameters=[*(evaluate.__kwdefaults__ or ()), *_MORE])[0],
        [models] if isinstance(models, str) else list(models),
        data,
        options,
    )


def diff(
    first: str, second: str, data: object = None, *, max_difference: float | None = None, max_flips: float | None = None, **settings: object
) -> DiffReport:
    """Compare what two packages answer on data (a DataFrame, arrays, a path), or without it on the golden sets of both.

    `max_difference` bounds the absolute difference of numbers, `max_flips` the share of rows whose label changes: see `.passed` and `.bounds`.

    Raises AweighError: ModelNotFound, InvalidInput, Unsupported (no inputs or outputs in common), GoldenMismatch.
    """
    return diff_models(
        read_settings(settings, parameters=diff.__kwdefaults__)[0], first, second, data, max_difference=max_difference, max_flips=max_flips
    )

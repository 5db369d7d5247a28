"""Asks the source: sample, signature and golden set of an estimator, whichever framework made it. Called by `sklearn.py` and `boosted_pack.py`.

What differs between the frameworks (how a sample is shaped, where the trees' thresholds lie) comes as `Source`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError, InvalidInput, ProofFailed
from aweigh.core.evidence import Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor
from aweigh.packing.edges import GoldenSet, make_golden
from aweigh.packing.frameworks import sklearn_load, sklearn_signature
from aweigh.packing.frameworks.sklearn_metrics import metrics_of
from aweigh.packing.frameworks.sklearn_ties import ties_apart
from aweigh.packing.job import Job
from aweigh.packing.label_order import check_label_order
from aweigh.packing.sample import Sample, read_labels, read_sample
from aweigh.runtimes.sklearn_estimator import answer

Options = dict[str, str | int | float | bool]
_CHECKED_ROWS: Final = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How one framework's estimators are approached."""

    made_sample: Callable[[Any], Sample]
    """Rows for an estimator that came without a sample."""
    shaped_sample: Callable[[Any, Sample], Sample]
    """The sample in the form that the estimator takes."""
    threshold_rows: Callable[[Any, Signature, Mapping[str, Tensor], Options], dict[str, Tensor] | None]
    """Rows at the thresholds of the estimator's trees."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The estimator with what is known of it."""

    estimator: Any
    signature: Signature
    options: Options
    golden: GoldenSet
    strength: Strength
    origin: str
    """What the golden set was made from, in words."""
    job: Job
    shaped: Sample
    """The sample as the estimator takes it."""
    given: Mapping[str, Tensor]
    """The sample as request tensors, before the `pre` hook."""
    labels: Tensor | None
    """The person's, one a row of `given`; None where there are none, no sample to go with them, or a `pre` hook."""

    @property
    def cases(self) -> tuple[GoldenAnswers, ...]:
        return (*self.golden.stored, *self.golden.generated)

    @property
    def data(self) -> str:
        refused = f"; the source refuses {len(self.golden.refused)} sorts of edge value" if self.golden.refused else ""
        return self.origin + refused

    def ask(self, rows: Mapping[str, Tensor]) -> list[Tensor]:
        """The source's own answer."""
        return answer(self.estimator, self.signature, rows, self.options)

    def metrics(self) -> dict[str, float]:
        """How well the source does on the person's labels, if there are any."""
        if self.labels is None:
            return {}
        return metrics_of(self.estimator, self.signature, self.given, self.options, self.labels)


def study(job: Job, estimator: Any, source: Source) -> Subject:
    """Make the golden set. Raises InvalidInput, ProofFailed where rows lose something on their way into tensors."""
    sklearn_load.check_fitted(estimator)
    if job.sample is None:
        sample, strength, origin = source.made_sample(estimator), Strength.WEAK, "rows made from the model itself: no sample was given"
    else:
        sample = read_sample(job.sample)
        strength, origin = Strength.FULL, f"{sample.rows} rows of {sample.source}, edge rows and generated rows"
    given = _request_tensors(sample, job)
    if job.before is not None:
        sample = _from_tensors(job.before(given))
    shaped = source.shaped_sample(estimator, sample)
    try:
        signature, options = sklearn_signature.make_signature(estimator, shaped)
        _check_same(estimator, signature, shaped, options)
    except AweighError:
        raise
    except Exception as error:  # the source is foreign code: whatever it raises is its answer
        raise InvalidInput(
            f"the model itself fails on the sample: {type(error).__name__}: {str(error)[:300]}",
            hint="give a sample as the model's own predict takes it",
        ) from error
    tensors = sklearn_signature.sample_tensors(shaped)
    extra = source.threshold_rows(estimator, signature, tensors, options)
    golden = make_golden(signature, tensors, lambda rows: answer(estimator, signature, rows, options), extra)
    golden = ties_apart(estimator, golden.signature, options, golden)
    labels = None
    if job.labels is not None and job.before is None and job.sample is not None:
        labels = read_labels(job.labels, rows=sample.rows, given_rows=sample.given_rows)
    if labels is not None and signature.task is Task.CLASSIFICATION:
        check_label_order(answer(estimator, signature, tensors, options)[0], labels)
    return Subject(
        estimator=estimator,
        signature=golden.signature,
        options=options,
        golden=golden,
        strength=strength,
        origin=origin,
        job=job,
        shaped=shaped,
        given=given if job.before is not None else tensors,
        labels=labels,
    )


def _request_tensors(sample: Sample, job: Job) -> Mapping[str, Tensor]:
    if job.before is None:
        return {}
    return sample.data if sample.form == "tensors" else sklearn_signature.sample_tensors(sample)


def _from_tensors(tensors: Mapping[str, Tensor]) -> Sample:
    return read_sample(next(iter(tensors.values())) if len(tensors) == 1 else {name: _column(tensor) for name, tensor in tensors.items()})


def _column(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def _check_same(estimator: Any, signature: Signature, sample: Sample, options: Options) -> None:
    """The estimator must answer rebuilt rows as it answers the person's own: else the request form loses something it needs."""
    few = sample.data.iloc[:_CHECKED_ROWS] if sample.form == "frame" else sample.data[:_CHECKED_ROWS]
    rebuilt = sklearn_signature.sample_tensors(dataclasses.replace(sample, data=few))
    direct = sklearn_load.direct_answers(estimator, signature, few)
    if not compare(signature.outputs, direct, answer(estimator, signature, rebuilt, options)).agrees:
        raise ProofFailed(
            "the model answers otherwise when its rows come as tensors: a column's type is lost on the way",
            hint="give columns as numbers, booleans, texts or categories of texts",
        )

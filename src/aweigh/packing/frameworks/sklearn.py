"""scikit-learn: any estimator or Pipeline becomes a proven ONNX variant, else the estimator itself is the variant, else it is refused.

Found through `core/plugins.py`. The estimator's own answers are the golden set; every conversion is held against them.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec
from sklearn.base import BaseEstimator

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError, InvalidInput, ProofFailed
from aweigh.core.evidence import Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.edges import GoldenSet, make_golden
from aweigh.packing.frameworks import sklearn_convert, sklearn_load, sklearn_samples, sklearn_signature
from aweigh.packing.frameworks.sklearn_metrics import metrics_of
from aweigh.packing.frameworks.sklearn_thresholds import threshold_rows
from aweigh.packing.frameworks.sklearn_trees import has_categorical_splits
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.packing.sample import Sample, read_labels, read_sample
from aweigh.packing.versions import installed, requirements
from aweigh.packing.words import why_failed
from aweigh.runtimes.sklearn_estimator import answer

Options = dict[str, str | int | float | bool]
_LIBRARIES: Final = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "scipy", "pandas", "joblib", "skops")
_CHECKED_ROWS: Final = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The estimator with what is known of it."""

    estimator: Any
    signature: Signature
    options: Options
    golden: GoldenSet
    strength: Strength
    data: str
    job: Job

    @property
    def cases(self) -> tuple[GoldenAnswers, ...]:
        return (*self.golden.stored, *self.golden.generated)


class SklearnFramework:
    """Packs fitted estimators."""

    name = "sklearn"

    def accepts(self, model: object) -> bool:
        return isinstance(model, BaseEstimator) or (hasattr(model, "fit") and (hasattr(model, "predict") or hasattr(model, "transform")))

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        return sklearn_load.load(path, recognised, trust=trust)

    def pack(self, job: Job) -> Packed:
        job.progress("asking the source model")
        subject, given = _study(job)
        variant, files, pickled = _convert(subject)
        return Packed(
            signature=subject.signature,
            variants=(variant,),
            files=files,
            golden=subject.golden.stored,
            ask=lambda rows: answer(subject.estimator, subject.signature, rows, subject.options),
            framework="sklearn",
            source_class=f"{type(job.model).__module__}.{type(job.model).__qualname__}",
            versions=installed(_LIBRARIES),
            request_sample=given,
            contains_pickle=pickled,
            metrics=_metrics(subject, given),
        )


def _study(job: Job) -> tuple[_Subject, Mapping[str, Tensor]]:
    """Sample, signature and golden set of the job's estimator, and the sample as request tensors."""
    estimator = job.model
    sklearn_load.check_fitted(estimator)
    if job.sample is None:
        sample, strength, data = (
            sklearn_samples.made_sample(estimator),
            Strength.WEAK,
            "rows made from the model itself: no sample was given",
        )
    else:
        sample = read_sample(job.sample)
        strength, data = Strength.FULL, f"{sample.rows} rows of {sample.source}, edge rows and generated rows"
    given = _request_tensors(sample, job)
    if job.before is not None:
        sample = _from_tensors(job.before(given))
    shaped = sklearn_signature.shaped_sample(estimator, sample)
    try:
        signature, options = sklearn_signature.make_signature(estimator, shaped)
        _check_same(estimator, signature, shaped, options)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InvalidInput(
            f"the model itself fails on the sample: {type(error).__name__}: {str(error)[:300]}",
            hint="give a sample as the model's own predict takes it",
        ) from error
    tensors = sklearn_signature.sample_tensors(shaped)
    extra = threshold_rows(estimator, signature, tensors, options)
    golden = make_golden(signature, tensors, lambda rows: answer(estimator, signature, rows, options), extra)
    subject = _Subject(
        estimator=estimator, signature=golden.signature, options=options, golden=golden, strength=strength, data=data, job=job
    )
    return subject, given if job.before is not None else tensors


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


def _convert(subject: _Subject) -> tuple[Variant, dict[str, Path], bool]:
    """The first variant that passes: ONNX by the ways in turn, else the estimator itself."""
    tried: list[str] = []
    reason = _known_wrong(subject.estimator)
    if reason:
        tried.append(reason)
    else:
        for way in sklearn_convert.ways(subject.signature):
            subject.job.progress(f"converting: {way.name}")
            found = _attempt(subject, way, tried)
            if found:
                return *found, False
    return _own(subject, tried)


def _known_wrong(estimator: Any) -> str:
    if any(has_categorical_splits(part) for part in sklearn_convert.parts_of(estimator)):
        return "not converted to ONNX: histogram gradient boosting with categorical features converts wrongly without an error"
    return ""


def _attempt(subject: _Subject, way: sklearn_convert.Way, tried: list[str]) -> tuple[Variant, dict[str, Path]] | None:
    file = subject.job.work / "model.onnx"
    texts = any(spec.datatype is Datatype.BYTES and spec.takes_missing for spec in subject.signature.inputs)
    variant = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision=way.precision,
        files=("variants/onnx/model.onnx",),
        options={f"lowercase:{name}": True for name in sklearn_convert.lowered_inputs(subject.estimator, subject.signature, way)},
        missing_text=sklearn_convert.MISSING if texts else None,
        environment=requirements(("onnxruntime", "numpy")),
    )
    try:
        file.write_bytes(sklearn_convert.convert(subject.estimator, subject.signature, way).SerializeToString(deterministic=True))
        evidence = subject.job.prove(
            variant, subject.signature, subject.cases, lambda _: file, strength=subject.strength, data=_data(subject)
        )
    except AweighError as error:
        tried.append(f"{way.name}: {error.message[:300]}")
        return None
    except Exception as error:  # noqa: BLE001  # converters raise anything; the next way is the answer to it
        tried.append(f"{way.name}: {type(error).__name__}: {str(error)[:300]}")
        return None
    if not evidence.passed:
        tried.append(f"{way.name}: {why_failed(evidence)}")
        return None
    kept = msgspec.structs.replace(variant, evidence=msgspec.structs.replace(evidence, repairs=(*tried, f"{way.name}: passed")))
    return kept, {variant.files[0]: file}


def _own(subject: _Subject, tried: list[str]) -> tuple[Variant, dict[str, Path], bool]:
    """The estimator itself as the variant, run by scikit-learn in its own process."""
    subject.job.progress("keeping scikit-learn as the runtime")
    skops = subject.job.recognised is not None and subject.job.recognised.format == "skops" and subject.job.source is not None
    name = "variants/sklearn/model.skops" if skops else "variants/sklearn/model.joblib"
    file = subject.job.work / Path(name).name
    options = dict(subject.options)
    if skops and subject.job.source is not None:
        file.write_bytes(subject.job.source.read_bytes())
        types = sklearn_load.untrusted_types(file)
        options |= {"trusted_types": " ".join(types)} if types else {}
    else:
        joblib.dump(subject.estimator, file)
    variant = Variant(
        name="sklearn",
        runtime="sklearn",
        precision="native",
        files=(name,),
        options=options,
        environment=requirements(("scikit-learn", "numpy", "scipy", "pandas", "joblib", *(("skops",) if skops else ()))),
    )
    evidence = subject.job.prove(variant, subject.signature, subject.cases, lambda _: file, strength=subject.strength, data=_data(subject))
    if not evidence.passed:
        raise ProofFailed(
            f"no form of the model answers as it does itself: scikit-learn in its own process: {why_failed(evidence)}",
            hint="the model may answer by chance or keep state between calls; tried before: " + ("; ".join(tried) or "nothing"),
        )
    evidence = msgspec.structs.replace(evidence, repairs=(*tried, "scikit-learn itself: passed"))
    return msgspec.structs.replace(variant, evidence=evidence), {name: file}, not skops


def _data(subject: _Subject) -> str:
    refused = f"; the source refuses {len(subject.golden.refused)} sorts of edge value" if subject.golden.refused else ""
    return subject.data + refused


def _metrics(subject: _Subject, given: Mapping[str, Tensor]) -> dict[str, float]:
    if subject.job.labels is None or subject.job.before is not None:
        return {}
    rows = len(next(iter(given.values())))
    labels = read_labels(subject.job.labels, rows=rows)
    return metrics_of(subject.estimator, subject.signature, given, subject.options, labels)

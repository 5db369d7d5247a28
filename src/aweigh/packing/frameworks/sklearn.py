"""scikit-learn: any estimator or Pipeline becomes a proven ONNX variant, else the estimator itself is the variant, else it is refused.

Found through `core/plugins.py`. The estimator's own answers are the golden set; every conversion is held against them.
"""

from pathlib import Path
from typing import Any, Final

import joblib
import msgspec
from sklearn.base import BaseEstimator

from aweigh.core.errors import AweighError, ProofFailed
from aweigh.core.package import Variant
from aweigh.core.tensors import Datatype
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks import sklearn_convert, sklearn_load, sklearn_samples, sklearn_signature
from aweigh.packing.frameworks.boosted import beyond_an_ulp, boosted_parts
from aweigh.packing.frameworks.boosted_front import fronted
from aweigh.packing.frameworks.sklearn_cause import pipeline_cause
from aweigh.packing.frameworks.sklearn_study import Options, Source, Subject, study
from aweigh.packing.frameworks.sklearn_thresholds import threshold_rows
from aweigh.packing.frameworks.sklearn_trees import has_categorical_splits
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.packing.words import why_failed

_LIBRARIES: Final = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "scipy", "pandas", "joblib", "skops")
_SOURCE: Final = Source(
    made_sample=sklearn_samples.made_sample, shaped_sample=sklearn_signature.shaped_sample, threshold_rows=threshold_rows
)


class SklearnFramework:
    """Packs fitted estimators."""

    name = "sklearn"

    def accepts(self, model: object) -> bool:
        return isinstance(model, BaseEstimator) or (hasattr(model, "fit") and (hasattr(model, "predict") or hasattr(model, "transform")))

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        return sklearn_load.load(path, recognised, trust=trust)

    def pack(self, job: Job) -> Packed:
        job.progress("asking the source model")
        subject = study(job, job.model, _SOURCE)
        variants, files, pickled = _variants(subject)
        return Packed(
            signature=subject.signature,
            variants=variants,
            files=files,
            golden=subject.golden.stored,
            ask=subject.ask,
            framework="sklearn",
            source_class=f"{type(job.model).__module__}.{type(job.model).__qualname__}",
            versions=installed(_LIBRARIES),
            request_sample=subject.given,
            contains_pickle=pickled,
            metrics=subject.metrics(),
        )


def _variants(subject: Subject) -> tuple[tuple[Variant, ...], dict[str, Path], bool]:
    """What passes: ONNX by the first of the ways, with a tree library's own model beside it; else the estimator itself, a pickle (told last)."""
    tried: list[str] = []
    reason = _known_wrong(subject.estimator)
    if reason:
        tried.append(reason)
    else:
        for way in sklearn_convert.ways(subject.signature):
            subject.job.progress(f"converting: {way.name}")
            found = _attempt(subject, way, tried)
            if found:
                variant, files = found
                native = fronted(subject, way, variant)
                return ((variant, native.variant), files | native.files, False) if native else ((variant,), files, False)
    own, files, pickled = _own(subject, tried)
    return (own,), files, pickled


def _known_wrong(estimator: Any) -> str:
    if any(has_categorical_splits(part) for part in sklearn_convert.parts_of(estimator)):
        return "not converted to ONNX: histogram gradient boosting with categorical features converts wrongly without an error"
    return ""


def _attempt(subject: Subject, way: sklearn_convert.Way, tried: list[str]) -> tuple[Variant, dict[str, Path]] | None:
    file = subject.job.work / "model.onnx"
    texts = any(spec.datatype is Datatype.BYTES and spec.takes_missing for spec in subject.signature.inputs)
    boosted = bool(boosted_parts(sklearn_convert.parts_of(subject.estimator)))
    options: Options = {f"lowercase:{name}": True for name in sklearn_convert.lowered_inputs(subject.estimator, subject.signature, way)}
    options |= {"intra_op_threads": 1} if boosted else {}  # more threads would add the trees up in another order
    variant = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision=way.precision,
        files=("variants/onnx/model.onnx",),
        options=options,
        missing_text=sklearn_convert.MISSING if texts else None,
        environment=requirements(("onnxruntime", "numpy")),
    )
    try:
        file.write_bytes(sklearn_convert.convert(subject.estimator, subject.signature, way).SerializeToString(deterministic=True))
        evidence = subject.job.prove(
            variant, subject.signature, subject.cases, lambda _: file, strength=subject.strength, data=subject.data
        )
    except AweighError as error:
        tried.append(f"{way.name}: {error.message[:300]}")
        return None
    except Exception as error:  # noqa: BLE001  # converters raise anything; the next way is the answer to it
        tried.append(f"{way.name}: {type(error).__name__}: {str(error)[:300]}")
        return None
    if boosted:
        evidence = beyond_an_ulp(subject.signature, evidence)
    if not evidence.passed:
        tried.append(f"{way.name}: {why_failed(evidence)}{pipeline_cause(subject, way, file, variant, evidence)}")
        return None
    kept = msgspec.structs.replace(variant, evidence=msgspec.structs.replace(evidence, repairs=(*tried, f"{way.name}: passed")))
    return kept, {variant.files[0]: file}


def _own(subject: Subject, tried: list[str]) -> tuple[Variant, dict[str, Path], bool]:
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
    evidence = subject.job.prove(variant, subject.signature, subject.cases, lambda _: file, strength=subject.strength, data=subject.data)
    if not evidence.passed:
        raise ProofFailed(
            f"no form of the model answers as it does itself: scikit-learn in its own process: {why_failed(evidence)}",
            hint="the model may answer by chance or keep state between calls; tried before: " + ("; ".join(tried) or "nothing"),
        )
    evidence = msgspec.structs.replace(evidence, repairs=(*tried, "scikit-learn itself: passed"))
    return msgspec.structs.replace(variant, evidence=evidence), {name: file}, not skops

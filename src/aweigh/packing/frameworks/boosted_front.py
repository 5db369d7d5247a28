"""A pipeline that ends in a tree library's model, as that library's own file behind an ONNX graph of the steps before it: no pickle. Called by `sklearn.py`."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
from sklearn.pipeline import Pipeline

from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.core.versions import requirements
from aweigh.packing.frameworks.boosted import Library, beyond_an_ulp, library, library_of
from aweigh.packing.frameworks.sklearn_convert import Way, convert, gives_sparse
from aweigh.packing.frameworks.sklearn_study import Subject
from aweigh.runtimes.boosted import FRONT_OUTPUT


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fronted:
    """The variant and its files on disk by package path."""

    variant: Variant
    files: dict[str, Path]


def fronted(subject: Subject, way: Way, converted: Variant) -> Fronted | None:
    """The native variant of a pipeline that `way` converted whole; None where it does not end in a tree library's model, or answers otherwise."""
    estimator = subject.estimator
    if not isinstance(estimator, Pipeline) or len(estimator.steps) < 2 or not library_of(estimator.steps[-1][1]):
        return None
    model = estimator.steps[-1][1]
    source = library(library_of(model))
    subject.job.progress(f"keeping {source.name} as a runtime")
    places = {"model": subject.job.work / source.file, "front": subject.job.work / "front.onnx"}
    try:
        graph = convert(estimator[:-1], front_signature(subject.signature, source.width(model)), way)
        places["front"].write_bytes(graph.SerializeToString(deterministic=True))
        source.save(model, places["model"])
    except Exception:  # noqa: BLE001  # as for whole pipelines: converters raise anything, and the whole one was converted
        return None
    variant = _variant(source, model, converted, sparse=gives_sparse(estimator))
    files = dict(zip(variant.files, places.values(), strict=True))
    evidence = subject.job.prove(variant, subject.signature, subject.cases, files.__getitem__, strength=subject.strength, data=subject.data)
    evidence = beyond_an_ulp(subject.signature, evidence)
    if not evidence.passed:
        return None
    noted = msgspec.structs.replace(evidence, repairs=(f"{way.name} for the steps before it, {source.name} itself: passed",))
    return Fronted(variant=msgspec.structs.replace(variant, evidence=noted), files=files)


def front_signature(signature: Signature, width: int) -> Signature:
    """What the steps before the model take and give."""
    output = TensorSpec(name=FRONT_OUTPUT, datatype=Datatype.FP64, shape=(BATCH, width))
    return Signature(inputs=signature.inputs, outputs=(output,), task=Task.TRANSFORM, columns=signature.columns)


def _variant(source: Library, model: Any, converted: Variant, *, sparse: bool) -> Variant:
    zeros = {"missing": 0.0} if sparse and source.sparse_zero_missing else {}
    lowered = {name: value for name, value in converted.options.items() if name.startswith("lowercase:")}
    folder = f"variants/{source.name}"
    return Variant(
        name=source.name,
        runtime=source.name,
        precision="native",
        files=(f"{folder}/{source.file}", f"{folder}/front.onnx"),
        options={**lowered, **source.options(model), **zeros},
        missing_text=converted.missing_text,
        environment=requirements((*source.distributions, "onnxruntime", "numpy")),
    )

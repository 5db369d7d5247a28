"""Packs a tree library's model: ONNX in the library's own arithmetic where that is exact, and the library itself, both proven. Called by its file."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.core.errors import ProofFailed
from aweigh.core.evidence import Evidence
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype
from aweigh.core.versions import installed, requirements
from aweigh.packing.cause import Cause, quietly, trouble
from aweigh.packing.frameworks import boosted_rows
from aweigh.packing.frameworks.boosted import Boosted, Library, Options, beyond_an_ulp
from aweigh.packing.frameworks.boosted_nodes import graph_of
from aweigh.packing.frameworks.sklearn_convert import MISSING
from aweigh.packing.frameworks.sklearn_study import Source, Subject, study
from aweigh.packing.frameworks.tree_cause import first_tree
from aweigh.packing.job import Job, Packed
from aweigh.packing.words import why_failed
from aweigh.runtimes.sklearn_estimator import to_frame_or_matrix

_WAY: Final = "the library's own arithmetic in ONNX"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A variant that passed, and its file; or the reason why there is none."""

    variant: Variant | None = None
    file: Path | None = None
    reason: str = ""


def pack(library: Library, job: Job, model: Any) -> Packed:
    """The golden set of the model's own answers, and every variant that gives them. Raises ProofFailed where none does."""
    job.progress("asking the source model")
    source = Source(
        made_sample=partial(boosted_rows.made_sample, library),
        shaped_sample=partial(boosted_rows.shaped_sample, library),
        threshold_rows=boosted_rows.threshold_rows,
    )
    subject = study(job, model, source)
    converted, native = _converted(library, subject), _native(library, subject)
    found = [one for one in (converted, native) if one.variant is not None and one.file is not None]
    if not found:
        raise ProofFailed(
            f"no form of the model answers as it does itself: {native.reason}",
            hint=f"the model may answer by chance; tried before: {converted.reason}",
        )
    tried = tuple(one.reason for one in (converted, native) if one.reason)
    return Packed(
        signature=subject.signature,
        variants=tuple(_noted(one.variant, tried) for one in found if one.variant is not None),
        files={one.variant.files[0]: one.file for one in found if one.variant is not None and one.file is not None},
        golden=subject.golden.stored,
        ask=subject.ask,
        framework=library.name,
        source_class=f"{type(model).__module__}.{type(model).__qualname__}",
        versions=installed((*library.distributions, "onnx", "onnxruntime", "numpy", "pandas", "scikit-learn")),
        request_sample=subject.given,
        metrics=subject.metrics(),
    )


def _noted(variant: Variant, tried: tuple[str, ...]) -> Variant:
    """The variant with what was tried in vain, and how it came about itself."""
    if variant.evidence is None:
        return variant
    own = f"{_WAY}: passed" if variant.runtime == "onnxruntime" else f"{variant.runtime} itself: passed"
    return msgspec.structs.replace(variant, evidence=msgspec.structs.replace(variant.evidence, repairs=(*tried, own)))


def _converted(library: Library, subject: Subject) -> _Found:
    subject.job.progress(f"converting: {_WAY}")
    place = subject.job.work / "model.onnx"
    frame = subject.shaped.data if subject.shaped.form == "frame" else None
    try:
        model = library.read(subject.estimator, frame)
        graph = graph_of(model, subject.signature, _categories(subject.signature, subject.options))
        place.write_bytes(graph.SerializeToString(deterministic=True))
    except Exception as error:  # noqa: BLE001  # foreign code reads the model; the library's own runtime is the answer to whatever it raises
        return _Found(reason=f"{_WAY}: not possible: {str(error)[:300]}")
    variant = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision="fp32" if model.single else "fp64",
        files=("variants/onnx/model.onnx",),
        options={"intra_op_threads": 1},  # more threads would add the trees up in another order
        missing_text=MISSING if any(spec.datatype is Datatype.BYTES for spec in subject.signature.inputs) else None,
        environment=requirements(("onnxruntime", "numpy")),
    )
    return _proven(variant, place, subject, _WAY, lambda evidence: _cause(library, subject, model, (place, variant), evidence))


def _cause(library: Library, subject: Subject, model: Boosted, made: tuple[Path, Variant], evidence: Evidence) -> Cause:
    """The first tree at which the graph parts from the library."""

    def find() -> Cause:
        found = trouble(*made, subject.signature, subject.cases, evidence)
        if found is None:
            return Cause()
        rows = to_frame_or_matrix(subject.signature, found.inputs, subject.options)
        staged = library.staged(subject.estimator, model, rows)
        return Cause(words=first_tree(found, staged, library.name) if staged else "")

    return quietly(find)


def _categories(signature: Signature, options: Options) -> dict[int, tuple[str, ...]]:
    """Categories by feature, of the columns that come as categories."""
    return {
        at: column.categories
        for at, column in enumerate(signature.columns)
        if options.get(f"dtype:{column.name}") == "category" and len(signature.columns) == len(signature.inputs)
    }


def _native(library: Library, subject: Subject) -> _Found:
    subject.job.progress(f"keeping {library.name} as a runtime")
    place = subject.job.work / library.file
    library.save(subject.estimator, place)
    kept = {name: value for name, value in subject.options.items() if value == "category" or name.startswith("ordered:")}
    variant = Variant(
        name=library.name,
        runtime=library.name,
        precision="native",
        files=(f"variants/{library.name}/{library.file}",),
        options={**kept, **library.options(subject.estimator)},
        environment=requirements((*library.distributions, "numpy")),
    )
    return _proven(variant, place, subject, f"{library.name} itself")


def _proven(variant: Variant, place: Path, subject: Subject, way: str, cause: Callable[[Evidence], object] = lambda _: "") -> _Found:
    evidence = subject.job.prove(variant, subject.signature, subject.cases, lambda _: place, strength=subject.strength, data=subject.data)
    evidence = beyond_an_ulp(subject.signature, evidence)
    if not evidence.passed:
        return _Found(reason=f"{way}: {why_failed(evidence)}{cause(evidence)}")
    return _Found(variant=msgspec.structs.replace(variant, evidence=evidence), file=place)

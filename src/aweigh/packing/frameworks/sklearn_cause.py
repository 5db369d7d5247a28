"""Where a converted pipeline parts from scikit-learn: the first step, its transformer and column, or the first tree of its model. Called by `sklearn.py`.

Each step is converted by the way that failed, with the steps before it, and asked beside the source: by bisecting, so that long pipelines take a few conversions.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from aweigh.core.evidence import Evidence
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.cause import Cause, Trouble, agrees, quietly, trouble
from aweigh.packing.frameworks.boosted import library, library_of
from aweigh.packing.frameworks.sklearn_convert import Way, convert
from aweigh.packing.frameworks.sklearn_study import Subject
from aweigh.packing.frameworks.sklearn_trees import staged_sums
from aweigh.packing.frameworks.tree_cause import Staged, first_tree
from aweigh.runtimes.onnxruntime_inside import inside
from aweigh.runtimes.sklearn_estimator import to_frame_or_matrix

_OUTPUT: Final = "transformed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Apart:
    """Where the rows that a step gives differ: the column, and both values."""

    column: int
    expected: float
    actual: float


def pipeline_cause(subject: Subject, way: Way, file: Path, variant: Variant, evidence: Evidence) -> Cause:
    """What is to be said of a way whose graph failed."""

    def find() -> Cause:
        found = trouble(file, variant, subject.signature, subject.cases, evidence)
        if found is None:
            return Cause()
        rows = to_frame_or_matrix(subject.signature, found.inputs, subject.options)
        steps = subject.estimator.steps if isinstance(subject.estimator, Pipeline) else []
        said = _first_step(subject, way, found, rows)
        return Cause(words=said or _model(subject, found, subject.estimator[:-1].transform(rows) if steps[1:] else rows))

    return quietly(find)


def _first_step(subject: Subject, way: Way, found: Trouble, rows: Any) -> str:
    """The first step whose rows differ; "" where all those before the model give the same."""
    pipeline = subject.estimator
    if not isinstance(pipeline, Pipeline) or len(pipeline.steps) < 2:
        return ""

    def apart(count: int) -> _Apart | None:
        return _apart(pipeline[:count], way, found, rows)

    agreed, differs = 0, len(pipeline.steps) - 1
    wrong = apart(differs)
    if wrong is None:
        return ""
    while differs - agreed > 1:
        middle = (agreed + differs) // 2
        one = apart(middle)
        agreed, differs, wrong = (middle, differs, wrong) if one is None else (agreed, middle, one)
    name, step = pipeline.steps[differs - 1]
    return (
        f"step {differs} of {len(pipeline.steps)}, '{name}' ({type(step).__name__}){_column(step, wrong.column)}, is the first that differs: "
        f"scikit-learn gives {wrong.expected:.9g}, the graph {wrong.actual:.9g} ({found.where})"
    )


def _apart(part: Any, way: Way, found: Trouble, rows: Any) -> _Apart | None:
    """Where the graph of some steps gives something else than they do."""
    expected = part.transform(rows)
    expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected, dtype=np.float64)
    output = TensorSpec(name=_OUTPUT, datatype=Datatype.FP64, shape=(BATCH, expected.shape[1]))
    signature = Signature(inputs=found.signature.inputs, outputs=(output,), task=Task.TRANSFORM, columns=found.signature.columns)
    graph = convert(part, signature, way)
    given = inside(graph.SerializeToString(), found.variant, signature, found.inputs, optimised=True)[_OUTPUT]
    spec = output if way.double else msgspec.structs.replace(output, datatype=Datatype.FP32)
    if agrees(expected, given, spec):
        return None
    gap = np.nan_to_num(np.abs(expected - given), nan=np.inf) * ~((expected == given) | (np.isnan(expected) & np.isnan(given)))
    row, column = (int(place) for place in np.unravel_index(int(np.argmax(gap)), gap.shape))
    return _Apart(column=column, expected=float(expected[row, column]), actual=float(given[row, column]))


def _column(step: Any, column: int) -> str:
    """Which column of what a step gives, and which of its transformers gave it."""
    inner = ""
    if isinstance(step, ColumnTransformer):
        for name, place in step.output_indices_.items():
            if column in range(*place.indices(1 << 62)):
                kind = next((type(each).__name__ for known, each, _ in step.transformers_ if known == name), "")
                inner = f" in '{name}' ({kind})" if kind else f" in '{name}'"
    try:
        return f"{inner}, column '{step.get_feature_names_out()[column]}'"
    except Exception:  # noqa: BLE001  # estimators raise anything where they know no names
        return f"{inner}, column {column}"


def _model(subject: Subject, found: Trouble, rows: Any) -> str:
    """The first tree of the model at the end; the model itself where it has none that can be told apart."""
    steps = subject.estimator.steps if isinstance(subject.estimator, Pipeline) else [("", subject.estimator)]
    name, model = steps[-1]
    words = f"the last step, '{name}' ({type(model).__name__})" if len(steps) > 1 else type(model).__name__
    staged, who = _staged(model, rows)
    said = first_tree(found, staged, who) if staged else ""
    return (
        f"{words}: {said}"
        if said
        else f"{words}, is the first that differs: all before it agrees ({found.where})"
        if len(steps) > 1
        else ""
    )


def _staged(model: Any, rows: Any) -> tuple[Staged | None, str]:
    if library_of(model):
        source = library(library_of(model))
        return source.staged(model, source.read(model, None), rows), source.name
    found: tuple[int, Callable[[int], NDArray[np.float64]]] | None = staged_sums(model, rows)
    return (Staged(rounds=found[0], sums=found[1]) if found else None), "scikit-learn"

"""Rows for a tree library's model: the sample in the form it takes, rows at the thresholds of its trees, rows where no sample came.

Called by `boosted_pack.py`. A model that was trained on named columns is fed a frame, any other a matrix.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.packing.frameworks.boosted import Boosted, Library, boosted_thresholds
from aweigh.packing.frameworks.sklearn_thresholds import MAX_ROWS, around
from aweigh.packing.sample import Sample

ROWS: Final = 200
_AROUND: Final = 5
_SEED: Final = 7


def shaped_sample(source: Library, model: Any, sample: Sample) -> Sample:
    """The sample as the model takes it. Raises InvalidInput naming a column that is missing, or the width that is wrong."""
    names, width = source.names(model), source.width(model)
    if sample.form not in {"frame", "matrix"}:
        raise InvalidInput(f"a {source.name} model takes one table of columns", hint="give a frame or one 2-D array")
    if sample.form == "matrix":
        return _of_matrix(source, model, sample, names, width)
    frame = _ordered(sample.data, names) if names else sample.data
    if len(frame.columns) != width:
        raise InvalidInput(f"the sample has {len(frame.columns)} columns, the model was trained with {width}", hint="give the same columns")
    frame = source.shape(model, frame)
    if names is None and all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in frame.dtypes):
        return Sample(form="matrix", data=frame.to_numpy(dtype=np.float64), source=sample.source)
    return Sample(form="frame", data=frame, source=sample.source)


def _of_matrix(source: Library, model: Any, sample: Sample, names: list[str] | None, width: int) -> Sample:
    if sample.data.ndim != 2 or sample.data.shape[1] != width:
        raise InvalidInput(f"the sample has shape {list(sample.data.shape)}, the model takes rows of {width}", hint="give a 2-D array")
    if names is None and sample.data.dtype != object:
        return sample
    columns = names or [f"feature_{at}" for at in range(width)]
    frame = pd.DataFrame({name: _narrowed(sample.data[:, at]) for at, name in enumerate(columns)})
    return Sample(form="frame", data=source.shape(model, frame), source=sample.source)


def _narrowed(column: Tensor) -> Any:
    return pd.Series(column.tolist()) if column.dtype == object else column


def _ordered(frame: Any, names: list[str]) -> Any:
    """The model's columns in its order. LightGBM writes `_` for a blank, so a sample's name may differ from the model's in that."""
    known = {str(name).replace(" ", "_"): name for name in frame.columns} | {name: name for name in frame.columns}
    missing = [name for name in names if name not in known]
    if missing:
        have = ", ".join(repr(str(name)) for name in list(frame.columns)[:20])
        raise InvalidInput(f"the sample has no column '{missing[0]}', which the model was trained with", hint=f"it has {have}")
    return frame[[known[name] for name in names]]


def threshold_rows(
    model: Any, signature: Signature, sample: Mapping[str, Tensor], options: Mapping[str, str | int | float | bool]
) -> dict[str, Tensor] | None:
    """Rows of the sample with one number put on a threshold of the trees, or one unit in the last place beside it."""
    slots = _slots(signature, options)
    found = [(feature, value) for feature, value in boosted_thresholds(model) if feature in slots and abs(value) < 1e30]
    if not found:
        return None
    chosen = [found[at] for at in np.unique(np.linspace(0, len(found) - 1, MAX_ROWS // _AROUND).astype(int))]
    rows: dict[str, list[Tensor]] = {name: [] for name in sample}
    count = len(next(iter(sample.values())))
    for number, (feature, threshold) in enumerate(chosen):
        name, column = slots[feature]
        for value in around(threshold, sample[name].dtype):
            row = {key: tensor[[number % count]] for key, tensor in sample.items()}
            row[name] = row[name].copy()
            row[name].reshape(-1)[column] = value
            for key, tensor in row.items():
                rows[key].append(tensor)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _slots(signature: Signature, options: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Input and position of each numeric feature."""
    first = signature.inputs[0]
    if len(signature.inputs) == 1 and len(signature.columns) != 1:
        width = first.shape[1] if len(first.shape) > 1 and isinstance(first.shape[1], int) else 1
        return {at: (first.name, at) for at in range(width)}
    kinds = {spec.name: spec.datatype for spec in signature.inputs}
    return {
        at: (column.input, column.index)
        for at, column in enumerate(signature.columns)
        if (kinds[column.input].is_float or kinds[column.input].is_integer) and options.get(f"dtype:{column.name}") != "category"
    }


def made_sample(source: Library, model: Any) -> Sample:
    """Rows around the thresholds of the trees, categories drawn from the model's own lists. Raises InvalidInput where it keeps none."""
    random = np.random.default_rng(_SEED)
    try:
        boosted: Boosted | None = source.read(model, None)
    except Exception:  # noqa: BLE001  # a model that cannot be read tells nothing of its rows
        boosted = None
    if boosted is None:
        raise InvalidInput(
            f"this {source.name} model does not say what rows it takes, so none can be made for the proof",
            hint="give some of your rows: --sample rows.parquet",
        )
    matrix = _matrix(boosted, random)
    names = source.names(model)
    if names is None:
        return Sample(form="matrix", data=matrix, source="rows made from the model")
    frame = pd.DataFrame(matrix, columns=names)
    for at in boosted.cut_short:
        frame[names[at]] = matrix[:, at]
    shaped = source.shape(model, frame)
    for name in shaped.columns:
        if isinstance(shaped[name].dtype, pd.CategoricalDtype):
            shaped[name] = pd.Categorical.from_codes(random.integers(0, len(shaped[name].cat.categories), ROWS), dtype=shaped[name].dtype)
    return Sample(form="frame", data=shaped, source="rows made from the model")


def _matrix(boosted: Boosted, random: np.random.Generator) -> NDArray[np.float64]:
    made = random.normal(size=(ROWS, boosted.features))
    values: dict[int, list[float]] = {}
    for feature, threshold in boosted.thresholds():
        values.setdefault(feature, []).append(threshold)
    for feature, found in values.items():
        margin = (max(found) - min(found)) / 4 or 1.0
        made[:, feature] = random.uniform(min(found) - margin, max(found) + margin, ROWS)
    for feature in boosted.cut_short:
        members = sorted(
            {item for tree in boosted.trees for node, items in tree.members.items() if tree.feature[node] == feature for item in items}
        )
        made[:, feature] = random.choice([*members, 0] if members else [0], ROWS)
    return made

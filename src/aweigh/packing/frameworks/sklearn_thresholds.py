"""Rows that stand on the thresholds of an estimator's trees, and one unit in the last place beside them. Called by `frameworks/sklearn.py`.

Where a preprocessor stands before the trees, the request value that meets a threshold is found by two probes of each numeric column: scalers,
imputers and passed-through columns are affine in it.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.packing.frameworks.boosted import boosted_thresholds, library_of
from aweigh.packing.frameworks.sklearn_trees import thresholds
from aweigh.runtimes.sklearn_estimator import to_frame_or_matrix

MAX_ROWS: Final = 512
_OFFSETS: Final = 5
_Slot = tuple[str, int]


def threshold_rows(
    estimator: Any, signature: Signature, sample: Mapping[str, Tensor], options: Mapping[str, str | int | float | bool]
) -> dict[str, Tensor] | None:
    """Rows at the trees' thresholds, or None where there are no trees or no numeric column reaches them."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    found = boosted_thresholds(last) if library_of(last) else thresholds(last)
    slots = _numeric_slots(signature)
    if not found or not slots:
        return None
    chosen = [found[at] for at in np.unique(np.linspace(0, len(found) - 1, MAX_ROWS // _OFFSETS).astype(int))]
    reach = _reach(estimator, signature, sample, options, slots)
    rows: dict[str, list[Tensor]] = {name: [] for name in sample}
    count = len(next(iter(sample.values())))
    for number, (feature, threshold) in enumerate(chosen):
        if feature not in reach:
            continue
        (name, column), slope, offset = reach[feature]
        base = {key: tensor[[number % count]] for key, tensor in sample.items()}
        for value in around((threshold - offset) / slope, base[name].dtype):
            changed = base[name].copy()
            changed.reshape(-1)[column] = value
            for key, tensor in ({**base, name: changed}).items():
                rows[key].append(tensor)
    return {name: np.concatenate(parts) for name, parts in rows.items()} if rows[next(iter(rows))] else None


def _numeric_slots(signature: Signature) -> list[_Slot]:
    found: list[_Slot] = []
    for spec in signature.inputs:
        if spec.datatype.is_float or spec.datatype.is_integer:
            width = spec.shape[1] if len(spec.shape) > 1 else 1
            found += [(spec.name, column) for column in range(width if isinstance(width, int) else 1)]
    return found


def around(value: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The value, and its neighbours in float64 and float32; whole numbers beside it for an integer column."""
    if not np.isfinite(value) or abs(value) > 1e30:
        return np.zeros(0, dtype=dtype)
    if dtype.kind in "iu":
        return np.unique(np.clip([np.floor(value), np.floor(value) + 1], np.iinfo(dtype).min / 2, np.iinfo(dtype).max / 2)).astype(dtype)
    single = np.float32(value)
    near = [value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf)]
    near += [float(np.nextafter(single, np.float32(-np.inf))), float(np.nextafter(single, np.float32(np.inf)))]
    return np.array(near).astype(dtype)


def _reach(
    estimator: Any,
    signature: Signature,
    sample: Mapping[str, Tensor],
    options: Mapping[str, str | int | float | bool],
    slots: list[_Slot],
) -> dict[int, tuple[_Slot, float, float]]:
    """For each feature of the trees: the request column that drives it, and slope and offset of the affine map."""
    if not isinstance(estimator, Pipeline) or len(estimator.steps) == 1:
        return {feature: (slot, 1.0, 0.0) for feature, slot in enumerate(slots)} if len(signature.inputs) == 1 else {}
    front = estimator[:-1]
    first, second = _probes(sample, slots)
    try:
        low, high = (_dense(front.transform(to_frame_or_matrix(signature, rows, options))) for rows in (first, second))
    except (ValueError, TypeError):
        return {}  # a front that refuses the probes has no affine way in; the sample still proves it
    found: dict[int, tuple[_Slot, float, float]] = {}
    for at, slot in enumerate(slots):
        before, after = (float(rows[slot[0]][at].reshape(-1)[slot[1]]) for rows in (first, second))
        for feature in np.flatnonzero(low[at] != high[at]).tolist():
            slope = float(high[at][feature] - low[at][feature]) / (after - before)
            if np.isfinite(slope) and slope != 0:
                found.setdefault(feature, (slot, slope, float(low[at][feature]) - slope * before))
    return found


def _probes(sample: Mapping[str, Tensor], slots: list[_Slot]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two batches of one row per numeric column: its median, and its median moved by its spread."""
    first = {name: np.repeat(tensor[:1], len(slots), axis=0) for name, tensor in sample.items()}
    second = {name: tensor.copy() for name, tensor in first.items()}
    for at, (name, column) in enumerate(slots):
        values = sample[name].reshape(len(sample[name]), -1)[:, column].astype(np.float64)
        values = values[np.isfinite(values)]
        middle = float(np.median(values)) if len(values) else 0.0
        step = float(np.std(values)) if len(values) else 0.0
        whole = sample[name].dtype.kind in "iu"
        first[name][at].reshape(-1)[column] = round(middle) if whole else middle
        second[name][at].reshape(-1)[column] = round(middle) + max(1, round(step)) if whole else middle + (step or 1.0)
    return first, second


def _dense(matrix: Any) -> NDArray[Any]:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)

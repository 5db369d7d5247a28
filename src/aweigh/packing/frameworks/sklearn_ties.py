"""Rows whose nearest neighbours tie: the farthest that counts is as far as one that does not, so the answer is one of several. Called by `sklearn_study.py`.

Which of them an implementation takes depends on its sort. Such rows are no proof for or against a variant: they are asked, counted and reported as ties.
"""

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline

from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import Signature
from aweigh.packing.edges import GoldenSet
from aweigh.packing.frameworks.sklearn_signature import steps_of
from aweigh.runtimes.sklearn_estimator import to_frame_or_matrix

Options = dict[str, str | int | float | bool]
_CLOSE: Final = 1e-6
"""Of the distance: what rounding in another order changes."""
_FURTHER: Final = 8
"""Neighbours that are looked at beyond those that count."""


def ties_apart(estimator: Any, signature: Signature, options: Options, golden: GoldenSet) -> GoldenSet:
    """The golden set with its tied rows in cases of their own, which are not kept; as it is for other models, and where every row ties."""
    if not isinstance(steps_of(estimator)[-1], KNeighborsClassifier | KNeighborsRegressor):
        return golden
    stored: list[GoldenAnswers] = []
    generated: list[GoldenAnswers] = []
    ties: list[GoldenAnswers] = []
    for cases, kept in ((golden.stored, stored), (golden.generated, generated)):
        for case in cases:
            tied = tied_rows(estimator, to_frame_or_matrix(signature, case.inputs, options))
            kept.extend([_rows(case, ~tied)] if not tied.all() else [])
            ties.extend([dataclasses.replace(_rows(case, tied), name=f"{case.name}-ties", ties=True)] if tied.any() else [])
    if not stored:
        return golden
    return dataclasses.replace(golden, stored=tuple(stored), generated=(*generated, *ties))


def tied_rows(estimator: Any, rows: Any) -> NDArray[np.bool_]:
    """Which rows have several answers, because neighbours of unlike targets are equally far at the border."""
    model = steps_of(estimator)[-1]
    inner = estimator[:-1].transform(rows) if isinstance(estimator, Pipeline) and len(estimator.steps) > 1 else rows
    counted = int(model.n_neighbors)
    distances, neighbours = model.kneighbors(inner, n_neighbors=min(int(model.n_samples_fit_), counted + _FURTHER))
    border = distances[:, counted - 1 : counted]
    equal = np.abs(distances - border) <= _CLOSE * np.maximum(border, np.finfo(np.float32).tiny)
    across = equal[:, counted:].any(axis=1)
    targets = np.asarray(model._y)[neighbours].reshape(*neighbours.shape, -1)
    first = np.take_along_axis(targets, equal.argmax(axis=1)[:, None, None], axis=1)
    unlike = ((targets != first) & equal[..., None]).any(axis=(1, 2))
    endless = equal[:, -1] & (distances.shape[1] > counted)
    return np.asarray(across & (unlike | endless))


def _rows(case: GoldenAnswers, chosen: NDArray[np.bool_]) -> GoldenAnswers:
    return dataclasses.replace(
        case, inputs={name: tensor[chosen] for name, tensor in case.inputs.items()}, outputs=[tensor[chosen] for tensor in case.outputs]
    )

"""Rows for an estimator that came without a sample, made from what it learned: columns, categories, vocabularies, means, thresholds.

Called by `frameworks/sklearn.py`; a proof on such rows is weaker and its evidence says so.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer

from aweigh.core.errors import InvalidInput
from aweigh.packing.frameworks.sklearn_signature import column_categories, steps_of, takes_text, text_columns, transformed_columns
from aweigh.packing.frameworks.sklearn_trees import thresholds
from aweigh.packing.sample import Sample

ROWS: Final = 200
_SEED: Final = 7
_SOURCE: Final = "rows made from the model"


def made_sample(estimator: Any) -> Sample:
    """A sample in the form that the estimator takes. Raises InvalidInput where the estimator does not say what it was fitted with."""
    random = np.random.default_rng(_SEED)
    if takes_text(estimator):
        return Sample(form="text", data=_texts(estimator, random), source=_SOURCE)
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return Sample(form="frame", data=_frame(estimator, [str(name) for name in names], random), source=_SOURCE)
    count = getattr(estimator, "n_features_in_", None)
    if count is None or any(isinstance(step, ColumnTransformer) for step in steps_of(estimator)):
        raise InvalidInput(
            f"{type(estimator).__name__} does not say what rows it takes, so none can be made for the proof",
            hint="give some of your rows: --sample rows.parquet",
        )
    return Sample(form="matrix", data=_matrix(estimator, int(count), random), source=_SOURCE)


def _texts(estimator: Any, random: np.random.Generator) -> NDArray[np.object_]:
    words = _vocabulary(estimator) or ["some", "words", "that", "the", "model", "may", "know"]
    texts = np.empty(ROWS, dtype=object)
    texts[:] = [" ".join(random.choice(words, size=int(random.integers(1, 20)))) for _ in range(ROWS)]
    return texts


def _vocabulary(estimator: Any) -> list[str]:
    for step in steps_of(estimator):
        parts = [part for _name, part in step.transformer_list] if hasattr(step, "transformer_list") else [step]
        for part in parts:
            for inner in steps_of(part):
                if hasattr(inner, "vocabulary_"):
                    return sorted(str(word) for word in inner.vocabulary_)[:20_000]
    return []


def _frame(estimator: Any, names: list[str], random: np.random.Generator) -> Any:
    texts = text_columns(estimator)
    categories = column_categories(estimator, names)
    scales = _scales(estimator)
    numeric = _matrix(estimator, len(names), random) if not transformed_columns(estimator) else None
    columns: dict[str, Any] = {}
    for at, name in enumerate(names):
        if name in texts:
            columns[name] = _texts(_vectorizer_of(estimator, name), random)
        elif name in categories:
            columns[name] = _drawn(estimator, name, random)
        elif numeric is not None:
            columns[name] = numeric[:, at]
        else:
            middle, spread = scales.get(name, (0.0, 1.0))
            columns[name] = random.normal(middle, spread or 1.0, ROWS)
    return pd.DataFrame(columns)


def _vectorizer_of(estimator: Any, name: str) -> Any:
    return next(transformer for transformer, columns in transformed_columns(estimator) if name in columns and takes_text(transformer))


def _drawn(estimator: Any, name: str, random: np.random.Generator) -> Any:
    """Values of a column, drawn from its encoder's categories in their own type."""
    names = [str(item) for item in estimator.feature_names_in_]
    pairs = transformed_columns(estimator) or [(steps_of(estimator)[0], names)]
    for transformer, columns in pairs:
        for step in steps_of(transformer):
            if name in columns and hasattr(step, "categories_") and len(step.categories_) == len(columns):
                values = step.categories_[columns.index(name)]
                return values[random.integers(0, len(values), ROWS)]
    return random.normal(size=ROWS)


def _scales(estimator: Any) -> dict[str, tuple[float, float]]:
    """Mean and spread by column, from the scalers of its ColumnTransformers, else the imputers' statistics."""
    found: dict[str, tuple[float, float]] = {}
    for transformer, columns in transformed_columns(estimator):
        for step in steps_of(transformer):
            middle, spread = _learned(step, len(columns))
            if middle is not None:
                found |= {name: (float(middle[at]), float(spread[at])) for at, name in enumerate(columns)}
    return found


def _learned(step: Any, count: int) -> tuple[Any, Any]:
    middle = next((getattr(step, name) for name in ("mean_", "center_", "statistics_") if getattr(step, name, None) is not None), None)
    if middle is None or np.shape(middle) != (count,) or np.asarray(middle).dtype.kind not in "fiu":
        if getattr(step, "data_min_", None) is not None and len(step.data_min_) == count:
            return (step.data_min_ + step.data_max_) / 2, (step.data_max_ - step.data_min_) / 4
        return None, None
    spread = getattr(step, "scale_", None)
    return middle, spread if spread is not None and np.shape(spread) == (count,) else np.maximum(np.abs(middle), 1.0)


def _matrix(estimator: Any, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    steps = steps_of(estimator)
    middle, spread = _learned(steps[0], count)
    if middle is not None:
        return np.asarray(random.normal(size=(ROWS, count)) * spread + middle, dtype=np.float64)
    made = random.normal(size=(ROWS, count))
    if len(steps) == 1:
        by_feature: dict[int, list[float]] = {}
        for feature, threshold in thresholds(estimator):
            by_feature.setdefault(feature, []).append(threshold)
        for feature, values in by_feature.items():
            low, high = min(values), max(values)
            margin = (high - low) / 4 or 1.0
            made[:, feature] = random.uniform(low - margin, high + margin, ROWS)
    return made

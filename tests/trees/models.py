"""Models of the tree libraries for tests: mixed columns with categories and missing values, classifiers, regressors and rankers."""

import importlib
from typing import Any

import numpy as np
import pandas as pd

LIBRARIES = ("xgboost", "lightgbm", "catboost")
CITIES = ("Oslo", "Paris", "Rome", "Turin", "Lima")


def rows(count: int, seed: int, library: str) -> pd.DataFrame:
    """Numbers with NaN, whole numbers, a category of text (with missing ones, where the library takes them) and one of numbers."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 12, count),
            "city": random.choice(CITIES, count).astype(object),
            "size": random.integers(3, 9, count),
            "income": random.gamma(2.0, 900.0, count),
            "visits": random.integers(0, 40, count),
        }
    )
    frame.loc[random.random(count) < 0.1, "age"] = np.nan
    frame.loc[random.random(count) < 0.1, "income"] = np.nan
    if library != "catboost":
        frame.loc[random.random(count) < 0.1, "city"] = np.nan
        frame["city"] = pd.Categorical(frame["city"], categories=list(CITIES))
        frame["size"] = pd.Categorical(frame["size"], categories=list(range(3, 9)))
    return frame


def target(frame: pd.DataFrame) -> Any:
    noise = np.random.default_rng(5).normal(0, 4, len(frame))
    size = frame["size"].astype(int)
    return (
        frame["age"].fillna(30) + frame["income"].fillna(500) / 300 * size / 4 + (frame["city"].astype(object) == "Rome") * 9 + noise
    ).to_numpy()


def labels(frame: pd.DataFrame, library: str) -> Any:
    """Two classes: texts, but numbers for XGBoost, which takes no other."""
    high = target(frame) > 48
    return high.astype(int) if library == "xgboost" else np.where(high, "high", "low")


def grades(frame: pd.DataFrame) -> Any:
    """0, 1 or 2."""
    return np.digitize(target(frame), [42, 52])


def estimator(library: str, kind: str, trees: int, **options: Any) -> Any:
    """An unfitted Classifier, Regressor or Ranker that trains on one thread, the same each time."""
    module = importlib.import_module(library)
    if library == "xgboost":
        return getattr(module, f"XGB{kind}")(
            n_estimators=trees, max_depth=5, max_cat_to_onehot=2, enable_categorical=True, n_jobs=1, **options
        )
    if library == "lightgbm":
        fixed = {"deterministic": True, "force_row_wise": True, "verbose": -1, "min_data_per_group": 5, "cat_smooth": 1.0, "n_jobs": 1}
        return getattr(module, f"LGBM{kind}")(n_estimators=trees, **fixed, **options)
    own: dict[str, Any] = {"cat_features": ["city", "size"], "one_hot_max_size": 20} | options
    return getattr(module, f"CatBoost{kind}")(
        iterations=trees, depth=5, verbose=0, allow_writing_files=False, thread_count=1, random_seed=1, **own
    )


def fitted(library: str, kind: str, trees: int, frame: pd.DataFrame, **options: Any) -> Any:
    """A fitted model; a ranker's groups are 20 rows each."""
    model = estimator(library, kind, trees, **options)
    if kind == "Classifier":
        return model.fit(frame, labels(frame, library))
    if kind == "Regressor":
        return model.fit(frame, target(frame))
    groups = len(frame) // 20
    group = {"group": [20] * groups} if library != "catboost" else {"group_id": np.repeat(np.arange(groups), 20)}
    return model.fit(frame, grades(frame), **group)


def save(model: Any, library: str, form: str, place: Any) -> None:
    """Save in a native form: json, ubj, txt or cbm."""
    if library == "lightgbm":
        model.booster_.save_model(str(place))
    elif library == "catboost":
        model.save_model(str(place), format=form)
    else:
        model.save_model(str(place))

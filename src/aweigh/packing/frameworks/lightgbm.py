"""LightGBM: text files, boosters and estimators, packed as ONNX with the library's own arithmetic and as the native model beside it.

Found through `core/plugins.py`. A file is read by `lightgbm_text.py`, which judges it, before LightGBM parses it in the packing child.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.packing.frameworks import boosted_pack
from aweigh.packing.frameworks.boosted import Boosted, Link, Options, checked, library_of, smallest_from
from aweigh.packing.frameworks.forest import Mode, Tree
from aweigh.packing.frameworks.lightgbm_text import LightgbmText, read_text
from aweigh.packing.frameworks.tree_cause import Staged
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised

_LINKS: Final = {
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.EACH,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom", ""), Link.IDENTITY
    ),
}
_CLASSES: Final = ("binary", "multiclass", "multiclassova")
_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: it drops smaller numbers from the rows it is given, so they count as zero."""
_RANKERS: Final = ("lambdarank", "rank_xendcg")


class LightgbmFramework:
    """Packs LightGBM models."""

    name = "lightgbm"
    file = "model.txt"
    distributions: Sequence[str] = ("lightgbm",)
    sparse_zero_missing = False

    def accepts(self, model: object) -> bool:
        return library_of(model) == self.name

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        """The estimator that answers as the file's booster does. Raises InvalidFile."""
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidFile(f"{path.name}: a LightGBM model that is no UTF-8 text: {error}", hint="save it again") from error
        read_text(text, path.name)
        try:
            return as_estimator(lightgbm.Booster(model_str=text))
        except (lightgbm.basic.LightGBMError, ValueError, TypeError, KeyError, IndexError) as error:
            raise InvalidFile(
                f"{path.name}: not a loadable LightGBM model: {str(error)[:300]}", hint="the file is damaged: save it again"
            ) from error

    def pack(self, job: Job) -> Packed:
        model = as_estimator(job.model) if isinstance(job.model, lightgbm.Booster) else job.model
        return boosted_pack.pack(self, job, model)

    def read(self, model: Any, frame: Any) -> Boosted:
        found = _text(model)
        kind = found.objective[0] if found.objective else ""
        if kind not in _LINKS or found.linear:
            raise NotImplementedError("trees with linear leaves" if found.linear else f"the objective {kind}")
        labels = tuple(np.asarray(model.classes_).tolist()) if hasattr(model, "classes_") else ()
        if labels and kind not in _CLASSES:
            raise NotImplementedError("a classifier with an objective of its own")
        sharpness = found.parameter("sigmoid", 1.0)
        link = Link.SQUARE if "sqrt" in found.objective else _LINKS[kind]
        return checked(
            Boosted(
                trees=found.trees,
                features=found.features,
                targets=found.outputs,
                link=link,
                single=False,
                narrow=False,
                labels=labels,
                sharpness=sharpness,
                scale=found.outputs / len(found.trees) if found.averaged else 1.0,
                cut=_cut(sharpness) if kind == "binary" else 0.0,
                cut_short=found.categorical,
                zero_missing=found.zero_missing,
                zero_up_to=_ZERO if found.zero_missing or _near_zero(found.trees) else 0.0,
            )
        )

    def width(self, model: Any) -> int:
        return int(model.booster_.num_feature())

    def names(self, model: Any) -> list[str] | None:
        """None where LightGBM made the names up itself."""
        names = list(_text(model).names)
        return None if names == [f"Column_{at}" for at in range(len(names))] else names

    def shape(self, model: Any, frame: Any) -> Any:
        """Columns of categories by the lists that the model keeps, which are in the order of its categorical columns."""
        found = _text(model)
        if not found.pandas_categories:
            return frame
        shaped = frame.copy()
        own = [name for name in shaped.columns if isinstance(shaped[name].dtype, pd.CategoricalDtype)]
        if len(own) != len(found.pandas_categories):
            own = [shaped.columns[at] for at in sorted(found.categorical)]
        if len(own) != len(found.pandas_categories):
            raise InvalidInput(
                f"the model was trained on {len(found.pandas_categories)} columns of categories, the sample shows {len(own)}",
                hint="give the sample as a DataFrame or Parquet file whose columns of categories have the type category",
            )
        for name, values in zip(own, found.pandas_categories, strict=True):
            shaped[name] = pd.Categorical(shaped[name], categories=list(values))
        return shaped

    def options(self, model: Any) -> Options:
        return {}

    def staged(self, model: Any, boosted: Boosted, rows: Any) -> Staged | None:
        if boosted.scale != 1.0:
            return None  # a random forest's booster averages over the rounds that it is asked for

        def sums(count: int) -> Any:
            if not count:
                return np.zeros((len(rows), boosted.targets))
            found = model.booster_.predict(rows, num_iteration=count, raw_score=True)
            return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)

        return Staged(rounds=len(boosted.trees) // boosted.targets, sums=sums)

    def save(self, model: Any, place: Path) -> None:
        place.write_text(_string(model), encoding="utf-8")


class LightgbmFile(BaseEstimator):  # type: ignore[misc]  # untyped library
    """A booster from a file, asked as scikit-learn would ask."""

    tree_library = "lightgbm"

    def __init__(self, booster: lightgbm.Booster) -> None:
        self.booster = self.booster_ = booster
        self.n_features_in_ = booster.num_feature()

    def predict(self, rows: Any) -> Any:
        return self.booster_.predict(rows)


class LightgbmFileRegressor(RegressorMixin, LightgbmFile):  # type: ignore[misc]  # untyped library
    """Answers numbers."""


class LightgbmFileRanker(LightgbmFile):
    """Answers scores."""


class LightgbmFileClassifier(ClassifierMixin, LightgbmFile):  # type: ignore[misc]  # untyped library
    """Answers classes 0, 1, 2, …: the text keeps no other labels."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        super().__init__(booster)
        outputs = booster.num_model_per_iteration()
        self.classes_ = np.arange(2 if outputs == 1 else outputs)

    def predict_proba(self, rows: Any) -> Any:
        given: Any = self.booster_.predict(rows)
        return np.vstack((1.0 - given, given)).transpose() if given.ndim == 1 else given

    def predict(self, rows: Any) -> Any:
        return self.classes_[np.argmax(self.predict_proba(rows), axis=1)]


def as_estimator(booster: lightgbm.Booster) -> Any:
    """The estimator that asks a booster as scikit-learn would."""
    kind = next(iter(read_text(booster.model_to_string(), "the booster").objective), "")
    if kind in _CLASSES:
        return LightgbmFileClassifier(booster)
    return LightgbmFileRanker(booster) if kind in _RANKERS else LightgbmFileRegressor(booster)


def _string(model: Any) -> str:
    """The model as text, with the rounds that it answers with: up to the best one where training stopped early."""
    return str(model.booster_.model_to_string())


def _text(model: Any) -> LightgbmText:
    return read_text(_string(model), "the model")


def _near_zero(trees: Iterable[Tree]) -> bool:
    return any(bool(np.any(np.abs(tree.threshold[~tree.leaf & (tree.mode != Mode.MEMBER)]) <= _ZERO)) for tree in trees)


def _cut(sharpness: float) -> float:
    """The smallest sum whose probability is more than that of the first class."""

    def second(raw: Any) -> bool:
        chance = 1.0 / (1.0 + math.exp(-sharpness * float(raw)))
        return chance > 1.0 - chance

    return smallest_from(-1e-6, 1e-6, second, np.float64)

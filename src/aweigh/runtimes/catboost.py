"""CatBoost: the library itself answers, in this process, since the file was written by CatBoost in the packing child and its digest is checked.

Options of a variant: `categorical`, the positions of the columns that CatBoost takes as texts, separated by spaces, and
`prediction_type`, what `predict` is asked for where it is not the usual.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.boosted import Answers, closed, content, damaged, matrix_of
from aweigh.runtimes.features import FeatureMatrix


class CatboostRuntime:
    """Loads `variant.files[0]`, a .cbm model."""

    name = "catboost"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, FileMissing."""
        data = content(variant, path)
        if not is_whole(data):
            raise damaged(variant, "it is no CatBoost model, or only a part of one")
        kind = catboost.CatBoostClassifier if signature.task is Task.CLASSIFICATION else catboost.CatBoostRegressor
        try:
            model = kind().load_model(blob=data)
        except (catboost.CatBoostError, ValueError, TypeError) as error:
            raise damaged(variant, error) from error
        texts = [int(at) for at in str(variant.options.get("categorical", "")).split()]
        rows = _TextRows(model, variant, signature, texts) if texts else matrix_of(variant, signature, path, np.float32)
        return _CatboostSession(model, self._threads, variant, signature, rows)


def is_whole(data: bytes) -> bool:
    """Whether a file has the magic, and the core whose length it states: CatBoost crashes on a part of one."""
    return data[:4] == b"CBM1" and 8 + int.from_bytes(data[4:8], "little") <= len(data)


class _CatboostSession:
    concurrent = True
    isolated = False

    def __init__(self, model: Any, threads: int, variant: Variant, signature: Signature, rows: Callable[[Tensors], Any]) -> None:
        self._model = model
        self._predict = model.predict_proba if signature.task is Task.CLASSIFICATION else model.predict
        self._labelled = signature.with_role("label") is not None
        self._by_probability = self._labelled and _decides_by_probability(model)
        self._threads = threads
        kind = str(variant.options.get("prediction_type", ""))
        self._more: dict[str, Any] = {"prediction_type": kind} if kind else {}
        self._rows = rows
        self._answers = Answers(signature)

    def run(self, inputs: Tensors) -> list[Tensor]:
        rows = self._rows(inputs)
        try:
            given = np.asarray(self._predict(rows, thread_count=self._threads, **self._more))
            places = self._places(rows, given) if self._labelled else None
        except (catboost.CatBoostError, ValueError, TypeError) as error:
            raise InvalidInput(f"the model refused these inputs: {str(error)[:300]}") from error
        return self._answers(given, places)

    def _places(self, rows: Any, probabilities: Any) -> Any:
        """The chosen classes: those of the greatest probabilities, which cost nothing more; asked for where two are as great as each other, or a threshold decides."""
        if self._by_probability and probabilities.ndim == 2:
            first, second = np.partition(probabilities, -2, axis=1)[:, :-3:-1].T
            if (first > second).all():
                return np.argmax(probabilities, axis=1)
        chosen = np.asarray(self._model.predict(rows, prediction_type="Class", thread_count=self._threads)).reshape(-1)
        known = {label: at for at, label in enumerate(np.asarray(self._model.classes_).tolist())}
        return np.array([known[label] for label in chosen.tolist()], dtype=np.intp)

    def close(self) -> None:
        self._predict = closed


def _decides_by_probability(model: Any) -> bool:
    """Whether the likeliest class is the answer: of two classes a model may keep a threshold of its own."""
    return len(model.classes_) > 2 or model.get_probability_threshold() == 0.5


class _TextRows:
    """Rows with texts among the numbers."""

    def __init__(self, model: Any, variant: Variant, signature: Signature, texts: list[int]) -> None:
        self._matrix = FeatureMatrix(signature, variant.options, np.float32, frozenset(texts))
        self._texts = texts
        self._names = model.feature_names_

    def __call__(self, inputs: Tensors) -> Any:
        columns = self._matrix.columns(inputs)
        table = np.empty((len(columns[0]), len(columns)), dtype=object)
        for at, column in enumerate(columns):
            table[:, at] = column
        return catboost.Pool(table, cat_features=self._texts, feature_names=self._names)

"""XGBoost: the library itself answers, in this process, since the file was written by XGBoost in the packing child and its digest is checked.

Options of a variant: those of `features`, and `missing`, the number that stands for a missing value.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from aweigh.core.errors import InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.boosted import Answers, closed, content, damaged, matrix_of
from aweigh.runtimes.features import Numbers


class XgboostRuntime:
    """Loads `variant.files[0]`, a UBJSON or JSON model."""

    name = "xgboost"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, FileMissing."""
        data = content(variant, path)
        if data[:1] != b"{":
            raise damaged(variant, "it is neither JSON nor UBJSON")
        booster = xgboost.Booster({"nthread": self._threads})
        try:
            booster.load_model(bytearray(data))
            booster.set_param({"nthread": self._threads})
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise damaged(variant, error) from error
        return _XgboostSession(booster, variant, signature, matrix_of(variant, signature, path, np.float32))


def _through_matrix(booster: xgboost.Booster) -> Callable[..., Any]:
    """Prediction for boosters without trees, which take no plain array."""

    def predict(rows: Numbers, *, missing: float, validate_features: bool) -> Any:
        return booster.predict(xgboost.DMatrix(rows, missing=missing), validate_features=validate_features)

    return predict


class _XgboostSession:
    concurrent = True
    isolated = False

    def __init__(self, booster: xgboost.Booster, variant: Variant, signature: Signature, matrix: Callable[[Tensors], Numbers]) -> None:
        linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear"
        self._predict: Callable[..., Any] = _through_matrix(booster) if linear else booster.inplace_predict
        self._missing = float(variant.options.get("missing", np.nan))
        self._matrix = matrix
        self._answers = Answers(signature)

    def run(self, inputs: Tensors) -> list[Tensor]:
        matrix = self._matrix(inputs)
        try:
            given = self._predict(matrix, missing=self._missing, validate_features=False)
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise InvalidInput(f"the model refused these inputs: {str(error).strip().partition(chr(10))[0][:300]}") from error
        return self._answers(given)

    def close(self) -> None:
        self._predict = closed

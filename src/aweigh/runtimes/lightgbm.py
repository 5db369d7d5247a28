"""LightGBM: the library itself answers, in this process, since the text was written by LightGBM in the packing child and its digest is checked.

Options of a variant: those of `features`.
"""

from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.boosted import Answers, closed, damaged, lightgbm_text, matrix_of
from aweigh.runtimes.features import Numbers


class LightgbmRuntime:
    """Loads `variant.files[0]`, a text model."""

    name = "lightgbm"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, FileMissing."""
        data = lightgbm_text(variant, path)
        try:
            booster = lightgbm.Booster(model_str=data.decode("utf-8"))
        except (lightgbm.basic.LightGBMError, ValueError, KeyError, IndexError) as error:
            raise damaged(variant, error) from error
        return _LightgbmSession(booster, self._threads, signature, matrix_of(variant, signature, path, np.float64))


class _LightgbmSession:
    concurrent = True
    isolated = False

    def __init__(self, booster: lightgbm.Booster, threads: int, signature: Signature, matrix: Callable[[Tensors], Numbers]) -> None:
        self._predict = booster.predict
        self._threads = threads
        self._matrix = matrix
        self._answers = Answers(signature)

    def run(self, inputs: Tensors) -> list[Tensor]:
        matrix = self._matrix(inputs)
        try:
            given = self._predict(matrix, num_threads=self._threads)
        except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
            raise InvalidInput(f"the model refused these inputs: {str(error)[:300]}") from error
        return self._answers(np.asarray(given))

    def close(self) -> None:
        self._predict = closed

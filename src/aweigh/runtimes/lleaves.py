"""lleaves: compiles a LightGBM text model to code of this very processor, which answers batches several times as fast. The package holds the text alone.

Compiling takes seconds to minutes, so what came of it is kept in the virtual environment that holds lleaves, under a digest of the text, the compiler and the processor; it
goes with the environment. Options of a variant: those of `features`.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import lleaves
import llvmlite.binding as llvm
import numpy as np

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.boosted import Answers, closed, lightgbm_text, matrix_of
from aweigh.runtimes.features import Numbers

_LINEAR: Final = b"\nis_linear=1"
_OTHERS: Final = "serve the lightgbm or the onnx variant"
_FOLDER: Final = "aweigh-compiled"
_KEPT: Final = 64
"""Compiled models that are kept, those used last."""


class LleavesRuntime:
    """Loads `variant.files[0]`, a LightGBM text model."""

    name = "lleaves"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Compile, or take what was compiled before. Raises InvalidFile, FileMissing, Unsupported for what lleaves cannot compile."""
        data = lightgbm_text(variant, path)
        if _LINEAR in data:
            raise Unsupported(
                f"variant '{variant.name}' cannot be compiled by lleaves: its leaves hold linear models, which lleaves passes over without a word",
                hint=_OTHERS,
            )
        try:
            model = lleaves.Model(path(variant.files[0]))
            _compile(model, data)
        except (RuntimeError, AssertionError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            said = str(error).strip().partition("\n")[0][:200] or type(error).__name__
            raise Unsupported(f"variant '{variant.name}' cannot be compiled by lleaves: {said}", hint=_OTHERS) from error
        return _LleavesSession(model, self._threads, signature, matrix_of(variant, signature, path, np.float64))


class _LleavesSession:
    concurrent = True
    isolated = False

    def __init__(self, model: lleaves.Model, threads: int, signature: Signature, matrix: Callable[[Tensors], Numbers]) -> None:
        self._predict: Callable[..., Any] = model.predict
        self._threads = threads
        self._matrix = matrix
        self._answers = Answers(signature)

    def run(self, inputs: Tensors) -> list[Tensor]:
        matrix = self._matrix(inputs)
        try:
            given = self._predict(matrix, n_jobs=min(self._threads, max(1, len(matrix))))
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"the model refused these inputs: {str(error)[:300]}") from error
        return self._answers(np.asarray(given))

    def close(self) -> None:
        self._predict = closed


def _compile(model: lleaves.Model, data: bytes) -> None:
    """Compile, once for this text on this processor. A compiled file is there whole or not at all."""
    with _in_turn(_key(data)) as place:
        if place is None:
            model.compile()
        elif place.is_file():
            os.utime(place)
            model.compile(cache=str(place))
        else:
            making = place.with_suffix(f".{os.getpid()}")
            try:
                model.compile(cache=str(making))
                making.replace(place)
            finally:
                making.unlink(missing_ok=True)
            _tidy(place.parent)


def _key(data: bytes) -> str:
    """Everything that decides what the compiled code is."""
    versions = [importlib.metadata.version(name) for name in ("lleaves", "llvmlite")]
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell: then it uses none
        features = ""
    machine = "\n".join([*versions, llvm.get_process_triple(), llvm.get_host_cpu_name(), features])
    return hashlib.sha256(machine.encode() + b"\0" + data).hexdigest()


@contextlib.contextmanager
def _in_turn(key: str) -> Iterator[Path | None]:
    """Where the compiled model is, or is to be, with nobody else at it; None outside of virtual environments and where nothing can be written."""
    folder = Path(sys.prefix) / _FOLDER
    with contextlib.ExitStack() as stack:
        try:
            if sys.prefix == sys.base_prefix:
                raise PermissionError
            folder.mkdir(exist_ok=True)
            lock = stack.enter_context((folder / ".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield None
            return
        yield folder / f"{key}.o"


def _tidy(folder: Path) -> None:
    """Remove those that were not used for longest."""
    kept = sorted(folder.glob("*.o"), key=lambda place: place.stat().st_mtime, reverse=True)
    for place in kept[_KEPT:]:
        place.unlink(missing_ok=True)

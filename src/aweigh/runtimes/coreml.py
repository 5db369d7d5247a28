"""Core ML as a runtime, by coremltools: .mlpackage folders, on macOS alone. Elsewhere it loads nothing and says so.

The first of a variant's files is the package's Manifest.json. Core ML answers in its own datatypes, which are cast to the signature's.
"""

import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

import coremltools
import numpy as np

from aweigh.core.errors import InternalError, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.files import copy_out

_SAID: Final = 300


class CoreMlRuntime:
    """Loads the .mlpackage that the variant's files make."""

    name = "coreml"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Compile and load. Raises Unsupported where this is no macOS, InvalidFile."""
        if not variant.files or PurePosixPath(variant.files[0]).name != "Manifest.json":
            raise InvalidFile(f"variant '{variant.name}' lists no .mlpackage to load")
        if platform.system() != "Darwin":
            raise Unsupported(
                f"variant '{variant.name}' is a Core ML model, which macOS alone can run; this is {platform.system()}",
                hint="serve another variant here; 'aweigh verify' tries this one on a Mac",
            )
        folder = Path(tempfile.mkdtemp(prefix="aweigh-coreml-"))
        try:
            copy_out(variant.files, path, folder / "model.mlpackage", root=str(PurePosixPath(variant.files[0]).parent))
            model = coremltools.models.MLModel(str(folder / "model.mlpackage"))
        except (RuntimeError, ValueError, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InvalidFile(f"variant '{variant.name}': Core ML cannot load it: {str(error).strip()[:_SAID]}") from error
        return _CoreMlSession(model, signature, folder)


class _CoreMlSession:
    concurrent = False
    isolated = False

    def __init__(self, model: Any, signature: Signature, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._signature = signature

    def run(self, inputs: Tensors) -> list[Tensor]:
        if self._model is None:
            raise InternalError("the session is closed")
        given = {name: tensor.astype(np.int32 if tensor.dtype.kind in "iu" else np.float32) for name, tensor in inputs.items()}
        try:
            answers = self._model.predict(given)
            return [np.asarray(answers[spec.name]).astype(spec.datatype.dtype, copy=False) for spec in self._signature.outputs]
        except (RuntimeError, ValueError, KeyError) as error:
            raise InvalidInput(f"the model refused these inputs: {str(error).strip().partition(chr(10))[0][:_SAID]}") from error

    def close(self) -> None:
        self._model = None
        shutil.rmtree(self._folder, ignore_errors=True)

"""Runs a person's Python class: `Class()`, its `load(folder)` where it has one, then `predict` for each call. Always in a process of its own.

`predict` is given an array where the sample was one, else a dict of arrays by name; it gives an array, or a dict of arrays, with one row for each row.
"""

import contextlib
import importlib
import inspect
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.core.errors import AweighError, InternalError, InvalidFile, InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.files import copy_out

FOLDER: Final = "variants/python"
CLASS_FILE: Final = "class.txt"
FORM: Final = "form"
"""The variant's option: how predict is given its input, "array", "arrays" or "columns"."""
_OUTPUT: Final = "prediction"
_SAID: Final = 300


class PythonRuntime:
    """Loads the class that the entry file names, from the variant's further files."""

    name = "python"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Lay the files out and make the model. Raises InvalidFile for whatever the code raises."""
        folder = Path(tempfile.mkdtemp(prefix="aweigh-python-"))
        try:
            copy_out(variant.files[1:], path, folder, root=f"{FOLDER}/files")
            model = make(folder, path(variant.files[0]).read_text(encoding="utf-8").strip())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return _PythonSession(model, folder, str(variant.options.get(FORM, "arrays")), signature)


def make(folder: Path, text: str) -> Any:
    """The model of "module:Class" in a folder, loaded. Runs its code. Raises InvalidFile."""
    module, _, name = text.partition(":")
    top = module.partition(".")[0]
    for known in [each for each in sys.modules if each == top or each.startswith(f"{top}.")]:
        del sys.modules[known]  # of another folder: two packages may call their modules alike
    sys.path.insert(0, str(folder))  # and stays: predict may import further modules; the process is the model's own
    try:
        importlib.invalidate_caches()
        model = getattr(importlib.import_module(module), name)()
        load = getattr(model, "load", None)
        if load is not None:
            load(folder) if inspect.signature(load).parameters else load()
    except Exception as error:  # boundary: a person's code may raise anything
        sys.path.remove(str(folder))
        if isinstance(error, AweighError | MemoryError):
            raise
        raise InvalidFile(
            f"class {text} cannot be made: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="it is called with nothing; its load is given the folder of its files; what it imports must be installed",
        ) from error
    return model


def answers(model: Any, inputs: Mapping[str, Tensor], form: str) -> dict[str, Tensor]:
    """What predict gives, as arrays by name. Raises InvalidInput for whatever it raises."""
    given: Any = {name: tensor[:, 0] if form == "columns" and tensor.ndim == 2 else tensor for name, tensor in inputs.items()}
    if form == "array":
        given = next(iter(given.values()))
    try:
        found = model.predict(given)
    except (AweighError, MemoryError, RecursionError):  # the last two are no fault of the request
        raise
    except Exception as error:  # boundary: a person's code may raise anything
        raise InvalidInput(f"predict failed: {type(error).__name__}: {str(error)[:_SAID]}") from error
    named = found if isinstance(found, dict) else {_OUTPUT: found}
    arrays = {str(name): np.asarray(value) for name, value in named.items()}
    return {name: array.astype(object) if array.dtype.kind in "US" else array for name, array in arrays.items()}


class _PythonSession:
    concurrent = False
    isolated = False

    def __init__(self, model: Any, folder: Path, form: str, signature: Signature) -> None:
        self._model = model
        self._folder = folder
        self._form = form
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [(spec.name, spec.datatype.dtype, len(spec.shape)) for spec in signature.outputs]

    def run(self, inputs: Tensors) -> list[Tensor]:
        ordered = {name: inputs[name] for name in self._inputs}
        given = answers(self._model, ordered, self._form)
        rows = len(ordered[self._inputs[0]])
        found: list[Tensor] = []
        for name, dtype, rank in self._outputs:
            tensor = given.get(name)
            if tensor is None or tensor.dtype != dtype or tensor.ndim != rank or len(tensor) != rows:
                what = "nothing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
                raise InternalError(
                    f"predict gave {what} as '{name}' for {rows} rows, and not {dtype}", hint="it must always give the same kind of answer"
                )
            found.append(tensor)
        return found

    def close(self) -> None:
        close = getattr(self._model, "close", None)
        if callable(close):
            with contextlib.suppress(Exception):
                close()
        shutil.rmtree(self._folder, ignore_errors=True)

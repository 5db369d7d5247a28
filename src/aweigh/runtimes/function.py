"""The runtime of a pipeline's Python steps: one function of one file, called with a dict of arrays, giving one.

Its file is a person's code: a package that has one runs it in a process of its own, unless an operator lets the server's process run functions.
"""

import importlib.machinery
import importlib.util
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Never

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InternalError, InvalidFile, InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.calling import call_by_name

Function = Callable[[dict[str, Tensor]], object]
Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]
FUNCTION_OPTION: Final = "function"
"""The variant's option that names `file:function`, the file as its person calls it."""
_count: Final = itertools.count()


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The file, and `file:function` as its person calls it."""

    file: str
    function: str


def open_function(opening: Opening) -> Handler:
    """The child's side while a pipeline is packed: what a function gives is not known yet. Raises InvalidInput."""
    function = load_function(Path(opening.file), opening.function)
    return lambda header, tensors: (header, call_function(function, opening.function, tensors))


class FunctionRuntime:
    """Loads `options["function"]` of the variant's only file."""

    name = "function"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:  # of Runtime
        """Import the file under a name of its own, so that two may be called alike. Raises InvalidFile."""
        if len(variant.files) != 1:
            raise InvalidFile(
                f"variant '{variant.name}' has {len(variant.files)} files, a function has one", hint="pack the pipeline again"
            )
        text = str(variant.options.get(FUNCTION_OPTION, ""))
        return _FunctionSession(load_function(path(variant.files[0]), text), text, signature)


class _FromSource(importlib.machinery.SourceFileLoader):
    """Neither reads bytecode beside the file, which nobody has checked, nor writes any there: the folder is the store's."""

    def path_stats(self, path: str | bytes) -> Never:
        raise OSError(f"{path!r} has no bytecode")


def load_function(file: Path, text: str) -> Function:
    """The function that `file:function` names. Runs the file. Raises InvalidFile."""
    name = text.rpartition(":")[2]
    module_name = f"aweigh_function_{next(_count)}"
    spec = importlib.util.spec_from_file_location(module_name, file, loader=_FromSource(module_name, str(file)))
    if spec is None or spec.loader is None:
        raise InvalidFile(f"function {text}: {file.name} is no Python file", hint="name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except AweighError:
        raise
    except Exception as error:  # boundary: a person's module may raise anything when imported
        raise InvalidFile(
            f"function {text}: its file cannot be imported: {type(error).__name__}: {error}",
            hint="a function's file stands alone: what it imports must be installed",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidFile(f"function {text}: the file has no function '{name}'", hint="check the name")
    found: Function = function
    return found


def call_function(function: Function, text: str, inputs: Tensors) -> dict[str, Tensor]:
    """What it gives, as arrays by name. Raises InvalidInput for whatever it raises."""
    given = call_by_name(function, inputs, f"function {text}")
    if not given:
        raise InvalidInput(f"function {text} returned an empty dict", hint="return a dict of name to numpy array")
    return {name: _array(tensor) for name, tensor in given.items()}


def _array(tensor: Any) -> Tensor:
    array: Tensor = np.asarray(tensor)
    return array.astype(object) if array.dtype.kind in "UST" else array


def _as_text(tensor: Tensor) -> Tensor:
    """Texts as `str`: they come from a wire as bytes."""
    items = tensor.ravel().tolist()
    if not any(isinstance(item, bytes) for item in items):
        return tensor
    found = np.empty(len(items), dtype=object)
    found[:] = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
    return found.reshape(tensor.shape)


def _fixed(shape: Sequence[int | str]) -> tuple[tuple[int, int], ...]:
    """The axes behind the rows that have one size, and that size: the sample's, which is no promise where inputs have sizes of their own."""
    return tuple((at, size) for at, size in enumerate(shape) if at and isinstance(size, int))


class _FunctionSession:
    concurrent = True  # what a function gives depends on its inputs alone, as its proof asks
    isolated = False

    def __init__(self, function: Function, text: str, signature: Signature) -> None:
        self._function = function
        self._text = text
        self._texts = [spec.name for spec in signature.inputs if spec.datatype is Datatype.BYTES]
        self._rows_of = signature.inputs[0].name
        held = all(isinstance(axis, int) for spec in signature.inputs for axis in spec.shape[1:])
        self._outputs = [(spec.name, spec.datatype.dtype, spec.shape, _fixed(spec.shape) if held else ()) for spec in signature.outputs]

    def run(self, inputs: Tensors) -> list[Tensor]:
        given = call_function(self._function, self._text, {**inputs, **{name: _as_text(inputs[name]) for name in self._texts}})
        rows = len(inputs[self._rows_of])
        found: list[Tensor] = []
        for name, dtype, shape, fixed in self._outputs:
            tensor = given.get(name)
            if tensor is None:
                raise InternalError(f"function {self._text} gave no '{name}'", hint="it must always give the same names")
            sizes = tensor.shape
            if tensor.dtype != dtype or len(sizes) != len(shape) or sizes[0] != rows or any(sizes[at] != size for at, size in fixed):
                raise InternalError(
                    f"function {self._text} gave {tensor.dtype} {list(sizes)} as '{name}' for {rows} rows, and not {dtype} {list(shape)}",
                    hint="it must give one row for each row, always of the same datatype and sizes",
                )
            found.append(tensor)
        return found

    def close(self) -> None:
        """Nothing is held."""

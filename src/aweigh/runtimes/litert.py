"""LiteRT (TensorFlow Lite) as a runtime: the interpreter itself, in this process. Batches of another size cost one allocation.

Options of a variant: `signature` (of files that have several), `delegate` (see `litert_delegates`). INT8 stays INT8: inputs and outputs have the file's own datatypes.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from aweigh.core.errors import InternalError, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.plugins import load
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.litert_file import judge_tflite

_SAID: Final = 300


class LitertRuntime:
    """Loads `variant.files[0]`, a .tflite file."""

    name = "litert"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and allocate. Raises InvalidFile, Unsupported (operations that this runtime does not have), MissingLibrary for a delegate."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        delegate = str(variant.options.get("delegate", ""))
        interpreter = open_interpreter(path(variant.files[0]), threads=self._threads, delegate=delegate)
        return _LitertSession(interpreter, edges(interpreter, str(variant.options.get("signature", ""))), signature)


class Edges:
    """Tensor details by name, in the file's order."""

    def __init__(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.inputs = inputs
        self.outputs = outputs


def open_interpreter(file: Path, *, threads: int = 1, delegate: str = "") -> Any:
    """An interpreter with its tensors allocated. Raises as `LitertRuntime.load`."""
    judge_tflite(file)
    delegates = [load("delegate", delegate)()] if delegate else []  # type: ignore[operator]  # rows of this kind are functions
    try:
        interpreter = Interpreter(model_path=str(file), num_threads=threads, experimental_delegates=delegates)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        said = str(error).strip()[:_SAID]
        if "custom op" in said or "Select TensorFlow op" in said or "unresolved" in said:
            raise Unsupported(
                f"the model needs an operation that LiteRT does not have: {said}",
                hint="convert it again with built-in operations alone, or pack the SavedModel or .keras file it was made from",
            ) from error
        raise InvalidFile(f"not a model that LiteRT can load: {said}", hint="convert the model again") from error
    return interpreter


def edges(interpreter: Any, name: str = "") -> Edges:
    """Inputs and outputs: by the names of the signature where the file has one, else by those of its tensors."""
    listed = interpreter.get_signature_list()
    if listed:
        chosen = name or ("serving_default" if "serving_default" in listed else next(iter(listed)))
        if chosen not in listed:
            raise InvalidFile(f"the file has no signature '{chosen}'", hint=f"it has {', '.join(listed)}")
        runner = interpreter.get_signature_runner(chosen)
        main = {int(each["index"]) for each in interpreter.get_output_details()}
        if {int(each["index"]) for each in runner.get_output_details().values()} <= main:
            return Edges(_in_order(runner.get_input_details()), _in_order(runner.get_output_details()))
        raise Unsupported(f"the signature '{chosen}' lies in a subgraph of its own", hint="convert the model with that signature alone")
    return Edges(
        {_plain(each["name"]): each for each in interpreter.get_input_details()},
        {_plain(each["name"]): each for each in interpreter.get_output_details()},
    )


def _in_order(details: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(details.items()))


def _plain(name: str) -> str:
    """`serving_default_x:0` is what a converter makes of `x`."""
    return name.removeprefix("serving_default_").partition(":")[0]


class _LitertSession:
    concurrent = False
    isolated = False

    def __init__(self, interpreter: Any, found: Edges, signature: Signature) -> None:
        missing = [spec.name for spec in signature.inputs if spec.name not in found.inputs]
        missing += [spec.name for spec in signature.outputs if spec.name not in found.outputs]
        if missing:
            raise InvalidFile(f"the file has no tensor '{missing[0]}'", hint="the package is damaged: pack or pull it again")
        self._interpreter = interpreter
        self._inputs = [(spec.name, int(found.inputs[spec.name]["index"])) for spec in signature.inputs]
        self._outputs = [(int(found.outputs[spec.name]["index"]), spec.datatype.dtype) for spec in signature.outputs]
        self._shapes: tuple[tuple[int, ...], ...] = ()
        self._lock = threading.Lock()

    def run(self, inputs: Tensors) -> list[Tensor]:
        interpreter = self._interpreter
        if interpreter is None:
            raise InternalError("the session is closed")
        with self._lock:
            try:
                self._size(tuple(inputs[name].shape for name, _ in self._inputs))
                for name, index in self._inputs:
                    interpreter.set_tensor(index, np.ascontiguousarray(inputs[name]))
                interpreter.invoke()
                return [np.asarray(interpreter.get_tensor(index)).astype(dtype, copy=False) for index, dtype in self._outputs]
            except (ValueError, RuntimeError) as error:
                self._shapes = ()
                raise InvalidInput(f"the model refused these inputs: {str(error).strip().partition(chr(10))[0][:_SAID]}") from error

    def _size(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        if shapes == self._shapes:
            return
        for (_, index), shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def close(self) -> None:
        self._interpreter = None

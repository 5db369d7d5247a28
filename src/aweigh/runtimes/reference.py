"""The reference runtime: the ONNX project's own evaluator in Python. Slow and right; the judge where two runtimes disagree."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from aweigh.core.errors import FileMissing, InternalError, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import DTYPES, Datatype, Tensor, Tensors
from aweigh.runtimes.adapt import Adapter, input_adapter

_MAX_TEXT: Final = 500


class ReferenceRuntime:
    """Loads `variant.files[0]`, an ONNX file."""

    name = "reference"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, Unsupported, FileMissing."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        entry = path(variant.files[0])
        if not entry.is_file():
            raise FileMissing(f"{entry} does not exist")
        try:
            model = onnx.load(str(entry))
            evaluator = ReferenceEvaluator(model)
        except NotImplementedError as error:
            raise Unsupported(
                f"variant '{variant.name}': {str(error)[:_MAX_TEXT]}", hint="the onnxruntime runtime knows more operators"
            ) from error
        except Exception as error:  # boundary: the evaluator raises whatever its parts raise
            raise InvalidFile(f"variant '{variant.name}' is not an ONNX model: {type(error).__name__}: {str(error)[:_MAX_TEXT]}") from error
        return _ReferenceSession(evaluator, model, variant, signature)


class _ReferenceSession:
    concurrent = False
    isolated = False

    def __init__(self, evaluator: ReferenceEvaluator, model: onnx.ModelProto, variant: Variant, signature: Signature) -> None:
        self._evaluator = evaluator
        self._outputs = signature.outputs
        self._lock = threading.Lock()
        types = {value.name: _datatype(value) for value in (*model.graph.input, *model.graph.output)}
        absent = [spec.name for spec in (*signature.inputs, *signature.outputs) if spec.name not in types]
        if absent:
            raise InvalidFile(
                f"variant '{variant.name}': the model has no input or output '{absent[0]}'", hint=f"it has: {', '.join(types)}"
            )
        self._adapters: dict[str, Adapter] = {
            spec.name: adapter for spec in signature.inputs if (adapter := input_adapter(spec, types[spec.name], variant.missing_text))
        }

    def run(self, inputs: Tensors) -> list[Tensor]:
        feeds = {name: self._adapters[name](tensor) if name in self._adapters else tensor for name, tensor in inputs.items()}
        try:
            with self._lock:
                answers = self._evaluator.run([spec.name for spec in self._outputs], feeds)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise InvalidInput(f"the model refused these inputs: {type(error).__name__}: {str(error)[:_MAX_TEXT]}") from error
        except Exception as error:  # boundary: an operator's own code
            raise InternalError(f"the model failed on these inputs: {type(error).__name__}: {str(error)[:_MAX_TEXT]}") from error
        return [_shaped(np.asarray(answer), len(spec.shape), spec.datatype) for answer, spec in zip(answers, self._outputs, strict=True)]

    def close(self) -> None:
        """Nothing is held that the collector does not free."""


def _shaped(answer: Tensor, rank: int, datatype: Datatype) -> Tensor:
    if answer.ndim == rank + 1 and answer.shape[-1] == 1:
        answer = answer.reshape(answer.shape[:-1])
    elif answer.ndim == rank - 1:
        answer = answer.reshape((*answer.shape, 1))
    if datatype is Datatype.BYTES:
        filled = np.empty(answer.size, dtype=object)
        filled[:] = [str(item) for item in answer.ravel().tolist()]
        return filled.reshape(answer.shape)
    return answer.astype(DTYPES[datatype], copy=False)


def _datatype(value: Any) -> Datatype:
    kind = value.type.tensor_type.elem_type
    if kind == onnx.TensorProto.STRING:
        return Datatype.BYTES
    if kind == onnx.TensorProto.UNDEFINED:
        raise Unsupported(f"'{value.name}' of the model is not a tensor", hint="pack with zipmap off")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    found = next((name for name, known in DTYPES.items() if known == dtype and name is not Datatype.BF16), None)
    if found is None:
        raise Unsupported(f"'{value.name}' of the model is {dtype}, which has no Open Inference datatype")
    return found

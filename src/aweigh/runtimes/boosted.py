"""What the native tree runtimes share: the file of a variant, the rows that a library is given, and its numbers as the signature's outputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import FileMissing, InternalError, InvalidFile
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.features import FeatureMatrix, Numbers
from aweigh.runtimes.onnxruntime import OnnxRuntime

FRONT_OUTPUT: Final = "features"
"""The one output of the steps before a model."""
_MAX_TEXT: Final = 300


def content(variant: Variant, path: Callable[[str], Path]) -> bytes:
    """The bytes of the variant's file. Raises InvalidFile, FileMissing."""
    if not variant.files:
        raise InvalidFile(f"variant '{variant.name}' lists no file to load")
    try:
        return path(variant.files[0]).read_bytes()
    except OSError as error:
        raise FileMissing(f"variant '{variant.name}': {variant.files[0]} cannot be read: {error.strerror}") from error


def lightgbm_text(variant: Variant, path: Callable[[str], Path]) -> bytes:
    """A whole text model of LightGBM, which reads past the end of a part of one. Raises InvalidFile, FileMissing."""
    data = content(variant, path)
    if not data.startswith(b"tree") or b"\nend of trees" not in data or b"\npandas_categorical:" not in data[-1_000_000:]:
        raise damaged(variant, "it is no whole LightGBM text model")
    return data


def damaged(variant: Variant, error: object) -> InvalidFile:
    """The error for a file that the library does not take."""
    reason = str(error).strip().partition("\n")[0][:_MAX_TEXT]
    return InvalidFile(f"variant '{variant.name}' cannot be loaded: {reason}", hint="the file is damaged: pack the model again")


def matrix_of(
    variant: Variant, signature: Signature, path: Callable[[str], Path], dtype: type[np.floating[Any]]
) -> Callable[[Tensors], Numbers]:
    """What makes the library's rows from a request: the steps of a pipeline before the model (a second file, ONNX), or the columns as they are."""
    if len(variant.files) == 1:
        return FeatureMatrix(signature, variant.options, dtype)
    output = TensorSpec(name=FRONT_OUTPUT, datatype=Datatype.FP64, shape=(BATCH, "features"))
    own = {name: value for name, value in variant.options.items() if name.startswith("lowercase:")}
    front = OnnxRuntime().load(
        msgspec.structs.replace(variant, files=variant.files[1:], options=own), msgspec.structs.replace(signature, outputs=(output,)), path
    )
    return lambda tensors: np.ascontiguousarray(front.run(tensors)[0], dtype=dtype)


class Answers:
    """A library's numbers, `[rows]` or `[rows, outputs]`, as the tensors that the signature promises."""

    def __init__(self, signature: Signature) -> None:
        self._outputs = signature.outputs
        text = any(spec.role == "label" and spec.datatype is Datatype.BYTES for spec in signature.outputs)
        self._labels: NDArray[Any] = np.array(signature.labels, dtype=object if text else np.int64)
        self._classes = len(signature.labels)

    def __call__(self, given: NDArray[Any], places: NDArray[np.intp] | None = None) -> list[Tensor]:
        """`places` are the chosen classes, where the library says them itself; else the likeliest ones."""
        found: Sequence[Tensor] = [self._one(spec, given, places) for spec in self._outputs]
        return list(found)

    def _one(self, spec: TensorSpec, given: NDArray[Any], places: NDArray[np.intp] | None) -> Tensor:
        if spec.role == "label":
            if places is None:
                places = (given > 0.5).astype(np.intp) if given.ndim == 1 else np.argmax(given, axis=1)
            return np.asarray(self._labels[places]).astype(spec.datatype.dtype, copy=False)
        if spec.role == "probability" and given.ndim == 1:
            given = np.stack([1.0 - given, given], axis=1)
        return given.reshape(len(given), *spec.shape[1:]).astype(spec.datatype.dtype, copy=False)


def closed(*_: object, **__: object) -> Any:
    """Stands for a library's function after `close`."""
    raise InternalError("the session is closed")

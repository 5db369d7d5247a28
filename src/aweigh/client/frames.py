"""Rows of named columns: between frames and rows, and between rows and tensors (for protocols without a row form). Used by `Client`.

pandas is never imported: whoever has a frame at hand has imported it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from aweigh.client.values import InferResult, ModelMetadata, Row, TensorMetadata
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.frames import columns_of_outputs, columns_of_rows, rows_of_columns, tensors_of_columns, twice
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of


class Frame(Protocol):
    """As much of `pandas.DataFrame` as is needed. Its cells are foreign values, hence Any."""

    columns: Any
    index: Any

    def astype(self, dtype: Any) -> Any: ...
    def notna(self) -> Any: ...


def is_frame(data: object) -> bool:
    """Whether it looks like a DataFrame."""
    return all(hasattr(data, name) for name in ("columns", "index", "astype", "notna", "iloc"))


def rows_of(data: object) -> list[Row]:
    """The rows of a frame or of a sequence of mappings; a missing cell of a frame is None. Raises InvalidInput."""
    if is_frame(data):
        return _frame_rows(cast("Frame", data))
    if isinstance(data, Mapping):
        raise InvalidInput("predict takes rows, and one mapping was given", hint="put it into a list: [row]")
    if not isinstance(data, Iterable) or isinstance(data, str | bytes):
        raise InvalidInput(f"predict takes a DataFrame or a list of mappings, not {type(data).__name__}")
    rows = list(data)
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"row {at} is {type(row).__name__}, not a mapping from column to value", hint="arrays go to infer()")
    return rows


def _frame_rows(frame: Frame) -> list[Row]:
    names = [str(name) for name in frame.columns]
    double = twice(names)
    if double is not None:
        raise InvalidInput(f"the frame has two columns named '{double}'", hint="rename one of them")
    cells = frame.astype(object).to_numpy().tolist()
    present = frame.notna().to_numpy().tolist()
    return [
        {name: cell if there else None for name, cell, there in zip(names, row, here, strict=True)}
        for row, here in zip(cells, present, strict=True)
    ]


def like(data: object, predictions: list[dict[str, object]]) -> Any:
    """The predictions in the form of the question: a frame with the same index for a frame, else the list itself."""
    if not is_frame(data):
        return predictions
    frame: Any = data
    return type(frame)(predictions, index=frame.index)


def signature_of(metadata: ModelMetadata) -> Signature:
    """As much of a signature as V2 metadata tell: names, datatypes, shapes. Raises Unsupported for a datatype of a newer server."""
    return Signature(inputs=tuple(map(_spec, metadata.inputs)), outputs=tuple(map(_spec, metadata.outputs)))


def _spec(tensor: TensorMetadata) -> TensorSpec:
    try:
        datatype = Datatype(tensor.datatype)
    except ValueError:
        raise Unsupported(f"'{tensor.name}' is of datatype {tensor.datatype!r}, which this client does not know") from None
    axes = (BATCH, *(f"axis_{at}" for at in range(1, len(tensor.shape))))
    shape = tuple(axis if size == -1 else size for size, axis in zip(tensor.shape, axes, strict=False))
    return TensorSpec(name=tensor.name, datatype=datatype, shape=shape)


def tensors_of(rows: Sequence[Row], signature: Signature) -> dict[str, Tensor]:
    """One tensor per input, from the column of its name. Raises InvalidInput naming the column, Unsupported where inputs are no columns."""
    if not rows:
        raise InvalidInput("there are no rows to predict", hint="give at least one row")
    try:
        return tensors_of_columns(columns_of_rows(rows, signature), signature)
    except (InvalidInput, Unsupported) as error:
        hint = f"{error.hint}; " if error.hint else ""
        raise type(error)(error.message, hint=f"{hint}over REST, predict() knows more of a model's columns", **error.context) from error


def predictions_of(result: InferResult, count: int) -> list[dict[str, object]]:
    """One mapping per row, under the outputs' own names: V2 metadata name neither roles nor classes."""
    for name, tensor in result.items():
        if tensor.ndim == 0 or tensor.shape[0] != count:
            raise Unsupported(
                f"output '{name}' has shape {list(tensor.shape)}, not one answer for each of {count} rows", hint="use infer()"
            )
    outputs = tuple(TensorSpec(name=name, datatype=datatype_of(tensor), shape=tensor.shape) for name, tensor in result.items())
    described = Signature(inputs=(), outputs=outputs)
    return rows_of_columns(columns_of_outputs(described, list(result.values())))

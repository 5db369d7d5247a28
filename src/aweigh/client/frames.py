"""Rows of named columns: between frames and rows, and between rows and tensors (for protocols without a row form). Used by `Client`.

pandas is never imported: whoever has a frame at hand has imported it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import numpy as np

from aweigh.client.arrays import object_array
from aweigh.client.values import InferResult, ModelMetadata, Row, TensorMetadata
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.tensors import DTYPES, Datatype, Tensor

_ROW_FORMS: Final = ((-1,), (-1, 1))


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
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"the frame has two columns named '{twice}'", hint="rename one of them")
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


def tensors_of(rows: Sequence[Row], metadata: ModelMetadata) -> dict[str, Tensor]:
    """One tensor per input, taken from the column of its name. Raises InvalidInput naming the column, Unsupported where inputs are no columns."""
    if not rows:
        raise InvalidInput("there are no rows to predict", hint="give at least one row")
    for spec in metadata.inputs:
        if spec.shape not in _ROW_FORMS:
            raise Unsupported(
                f"input '{spec.name}' of model '{metadata.name}' has shape {list(spec.shape)}: it is no column, and gRPC has no other form for rows",
                hint="use infer() with arrays, or predict() over REST",
            )
    _check_columns(rows, [spec.name for spec in metadata.inputs])
    return {spec.name: _column(spec, [row[spec.name] for row in rows]) for spec in metadata.inputs}


def _check_columns(rows: Sequence[Row], names: list[str]) -> None:
    known = set(names)
    for at, row in enumerate(rows):
        missing = next((name for name in names if name not in row), None)
        if missing is not None:
            raise InvalidInput(f"row {at}: column '{missing}' is missing", hint=f"columns given: {', '.join(row) or 'none'}")
        unknown = next((name for name in row if name not in known), None)
        if unknown is not None:
            raise InvalidInput(f"row {at}: unexpected column '{unknown}'", hint=f"this model takes {', '.join(names)}")


def _column(spec: TensorMetadata, values: list[object]) -> Tensor:
    shape = tuple(len(values) if axis == -1 else axis for axis in spec.shape)
    datatype = Datatype(spec.datatype)
    if datatype is Datatype.BYTES:
        return object_array([_text(spec, at, value) for at, value in enumerate(values)], shape)
    if not datatype.is_float and any(_is_missing(value) for value in values):
        at = next(at for at, value in enumerate(values) if _is_missing(value))
        raise InvalidInput(f"row {at}: column '{spec.name}' is missing a value, and {datatype.value} has none for it")
    try:
        exact = np.array([np.nan if _is_missing(value) else value for value in values], dtype=None if not datatype.is_float else np.float64)
        array = exact.astype(DTYPES[datatype])
        if not datatype.is_float and not np.array_equal(array, exact):
            raise ValueError("a value does not fit")
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"column '{spec.name}' holds a value that is no {datatype.value}: {error}") from error
    return array.reshape(shape)


def _text(spec: TensorMetadata, at: int, value: object) -> object:
    if _is_missing(value):
        raise InvalidInput(
            f"row {at}: column '{spec.name}' is missing its text, and gRPC cannot tell that from empty text", hint="use predict() over REST"
        )
    if not isinstance(value, str | bytes):
        raise InvalidInput(f"row {at}: column '{spec.name}' is {value!r}, not text")
    return value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def predictions_of(result: InferResult, count: int) -> list[dict[str, object]]:
    """One mapping per row; an output of several values per row becomes `name_0`, `name_1`, …: V2 metadata does not name classes."""
    rows: list[dict[str, object]] = [{} for _ in range(count)]
    for name, tensor in result.items():
        if tensor.ndim == 0 or tensor.shape[0] != count:
            raise Unsupported(
                f"output '{name}' has shape {list(tensor.shape)}, not one answer for each of {count} rows", hint="use infer()"
            )
        wide = tensor.reshape(count, -1)
        names = [name] if wide.shape[1] == 1 else [f"{name}_{at}" for at in range(wide.shape[1])]
        for row, values in zip(rows, wide.tolist(), strict=True):
            row.update(zip(names, values, strict=True))
    return rows

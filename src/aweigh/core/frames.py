"""Frames: rows of named columns to a model's tensors, and outputs back to rows. Shared by every door that speaks of rows.

Works on plain Python values and numpy, so a row from JSON, a CSV line and a data frame all go the same way.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.nearest import nearest
from aweigh.core.signature import Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, bytes_of, out_of_range

Columns = Mapping[str, Sequence[Any]]
"""A frame: column name -> values, all of one length."""

MAX_UNNAMED_COLUMNS: Final = 4096

_EXPECTED: Final = {
    ColumnKind.NUMBER: "a number",
    ColumnKind.INTEGER: "a whole number",
    ColumnKind.BOOLEAN: "true or false",
    ColumnKind.CATEGORY: "a text",
    ColumnKind.TEXT: "a text",
    ColumnKind.IMAGE: "an image file in base64",
    ColumnKind.SOUND: "a WAV file in base64",
}


def columns_of_rows(rows: Sequence[Mapping[str, Any]], signature: Signature) -> dict[str, list[Any]]:
    """Turn rows into columns. Raises InvalidInput for a row that lacks a column (unless it may be missing) or has one too many."""
    expected = frame_columns(signature)
    names = {column.name for column in expected}
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"row {at} is not an object of named columns", hint=f"the columns are {_listed(names)}")
        if len(row) != len(names) or not names.issuperset(row):
            _check_names(row, expected, f"row {at}")
    return {column.name: [row.get(column.name) for row in rows] for column in expected}


def frame_columns(signature: Signature) -> tuple[Column, ...]:
    """The columns of a signature; inputs of shape [batch] or [batch, 1] are columns of their own name. Raises Unsupported if there are none."""
    if signature.columns:
        return signature.columns
    if len(signature.inputs) == 1:
        return _matrix_columns(signature.inputs[0])
    if not all(len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1) for spec in signature.inputs):
        raise _no_columns(signature.inputs)
    return tuple(_own_column(spec) for spec in signature.inputs)


def _matrix_columns(spec: TensorSpec) -> tuple[Column, ...]:
    """The columns of one unnamed matrix are called by its name and their position: X_0, X_1, …"""
    if len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1):
        return (_own_column(spec),)
    width = spec.shape[1] if len(spec.shape) == 2 else None
    if not isinstance(width, int) or width > MAX_UNNAMED_COLUMNS:
        raise _no_columns((spec,))
    own = _own_column(spec)
    refused = set(spec.refuses_missing_at)
    return tuple(
        msgspec.structs.replace(own, name=f"{spec.name}_{at}", index=at, nullable=own.nullable and at not in refused) for at in range(width)
    )


def _own_column(spec: TensorSpec) -> Column:
    missing = spec.takes_missing and (spec.datatype.is_float or spec.datatype is Datatype.BYTES)
    return Column(name=spec.name, kind=_kind_of(spec.datatype), input=spec.name, nullable=missing)


def _no_columns(specs: Sequence[TensorSpec]) -> Unsupported:
    shapes = ", ".join(f"'{spec.name}' {spec.wire_shape}" for spec in specs)
    return Unsupported(f"this model takes tensors, not rows of columns: {shapes}", hint="use POST /v2/models/NAME/infer")


def _kind_of(datatype: Datatype) -> ColumnKind:
    if datatype is Datatype.BYTES:
        return ColumnKind.TEXT
    if datatype is Datatype.BOOL:
        return ColumnKind.BOOLEAN
    return ColumnKind.NUMBER if datatype.is_float else ColumnKind.INTEGER


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:20]
    return ", ".join(f"'{name}'" for name in shown) + (", …" if len(names) > len(shown) else "")


def _check_names(given: Mapping[str, Any], expected: Sequence[Column], place: str) -> None:
    names = [column.name for column in expected]
    for name in given:
        if name not in names:
            near = nearest(str(name), names)
            hint = f"did you mean '{near}'?" if near else f"the columns are {_listed(set(names))}"
            raise InvalidInput(f"{place}: unexpected column {str(name)[:80]!r}", hint=hint, column=name)
    for column in expected:
        if column.name not in given and not column.nullable:
            raise InvalidInput(
                f"{place}: column '{column.name}' is missing", hint=f"the columns are {_listed(set(names))}", column=column.name
            )


def tensors_of_columns(columns: Columns, signature: Signature) -> dict[str, Tensor]:
    """A frame to the model's tensors. Raises InvalidInput naming column, row and value for anything that does not fit."""
    expected = frame_columns(signature)
    if len(columns) != len(expected) or any(column.name not in columns for column in expected):
        _check_names(columns, expected, "the frame")
    rows = max((len(values) for values in columns.values()), default=0)
    tensors: dict[str, Tensor] = {}
    for column in expected:
        values = columns.get(column.name)
        if values is not None and len(values) != rows:
            raise InvalidInput(f"column '{column.name}' has {len(values)} values, other columns {rows}", column=column.name)
        spec = signature.input(column.input)
        array = _column_array([None] * rows if values is None else values, column, spec)
        _place(tensors, array, column, spec, rows)
    return tensors


def _place(tensors: dict[str, Tensor], array: Tensor, column: Column, spec: TensorSpec, rows: int) -> None:
    """Put a column where it belongs: a tensor of its own, or one position on the last axis of a matrix."""
    if len(spec.shape) == 1:
        tensors[spec.name] = array
    elif spec.shape[1] == 1:
        tensors[spec.name] = array.reshape(rows, 1)
    else:
        matrix = tensors.get(spec.name)
        if matrix is None:
            width = spec.shape[1]
            if not isinstance(width, int):
                raise Unsupported(f"input '{spec.name}' has a variable width", hint="use POST /v2/models/NAME/infer")
            matrix = tensors[spec.name] = np.empty((rows, width), dtype=spec.datatype.dtype)
        matrix[:, column.index] = array


def _column_array(values: Sequence[Any], column: Column, spec: TensorSpec) -> Tensor:
    datatype = spec.datatype
    ready: Any = values
    if isinstance(ready, np.ndarray) and ready.dtype == datatype.dtype and datatype is not Datatype.BYTES:
        return ready
    if datatype is Datatype.BYTES:
        texts = np.empty(len(values), dtype=object)
        texts[:] = [_text(value, column, row) for row, value in enumerate(values)]
        return texts
    check = _number if datatype.is_float else _boolean if datatype is Datatype.BOOL else _integer
    checked = [check(value, column, row) for row, value in enumerate(values)]
    try:
        with np.errstate(over="raise"):
            return np.array(checked, dtype=datatype.dtype)
    except (OverflowError, FloatingPointError):
        row, low, high = out_of_range(checked, datatype)
        raise InvalidInput(
            f"column '{column.name}', row {row}: {checked[row]} does not fit {datatype.value}, which holds {low} to {high}",
            column=column.name,
        ) from None


def is_missing(value: object) -> bool:
    """None, NaN, pandas' NA and NaT: whatever is not equal to itself, or has no truth."""
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except (TypeError, ValueError):
        return True


def _wrong(value: object, column: Column, row: int) -> InvalidInput:
    shown = "null" if value is None else repr(value[:80] if isinstance(value, str) else value)[:80]
    known = f" (known values: {', '.join(column.categories[:10])})" if column.categories and value is not None else ""
    return InvalidInput(
        f"column '{column.name}', row {row}: got {shown}, expected {_EXPECTED[column.kind]}{known}", column=column.name, row=row
    )


def _number(value: Any, column: Column, row: int) -> float:
    if is_missing(value):
        if not column.nullable:
            raise _wrong(None, column, row)
        return math.nan
    if isinstance(value, bool | np.bool_) and column.kind is not ColumnKind.BOOLEAN:
        raise _wrong(value, column, row)
    if isinstance(value, int | float | np.number | np.bool_):
        try:
            return float(value)
        except OverflowError:
            raise _wrong(value, column, row) from None
    raise _wrong(value, column, row)


def _integer(value: Any, column: Column, row: int) -> int:
    if isinstance(value, bool | np.bool_) and column.kind is not ColumnKind.BOOLEAN:
        raise _wrong(value, column, row)
    if isinstance(value, int | np.integer | np.bool_) or (
        isinstance(value, float | np.floating) and math.isfinite(value) and float(value).is_integer()
    ):
        return int(value)
    raise _wrong(None if is_missing(value) else value, column, row)


def _boolean(value: Any, column: Column, row: int) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _wrong(None if is_missing(value) else value, column, row)


def _text(value: Any, column: Column, row: int) -> str | bytes | None:
    if isinstance(value, str):
        bytes_of(value)
        return value
    if isinstance(value, bytes):
        return value
    if is_missing(value):
        if not column.nullable:
            raise _wrong(None, column, row)
        return None
    raise _wrong(value, column, row)


def columns_of_outputs(signature: Signature, outputs: Sequence[Tensor]) -> dict[str, list[Any]]:
    """Outputs as answer columns: `label` and `probability_<class>` for a classifier, `prediction` for a regressor, else the outputs' own names."""
    if signature.task is Task.DETECTION and len(outputs) == 4:
        return {"detections": _detections(signature, outputs)}
    columns: dict[str, list[Any]] = {}
    for spec, output in zip(signature.outputs, outputs, strict=True):
        name = spec.role if spec.role in {"label", "prediction"} else spec.name
        values = _plain(output)
        if spec.role == "probability" and output.ndim == 2 and len(signature.labels) == output.shape[1]:
            for at, label in enumerate(signature.labels):
                columns[f"probability_{label}"] = [row[at] for row in values]
        elif output.ndim == 2 and output.shape[1] == 1:
            columns[name] = [row[0] for row in values]
        elif output.ndim == 2 and spec.role in {"label", "prediction"}:
            for at in range(output.shape[1]):
                columns[f"{name}_{at}"] = [row[at] for row in values]
        else:
            columns[name] = values if isinstance(values, list) else [values]
    return columns


def _detections(signature: Signature, outputs: Sequence[Tensor]) -> list[list[dict[str, Any]]]:
    """Of each image a list of boxes, best first: {"label", "score", "box": [left, top, right, bottom]} in its pixels."""
    boxes, scores, classes, counts = (output.tolist() for output in outputs)
    labels = signature.labels
    return [
        [
            {"label": labels[kind] if 0 <= kind < len(labels) else kind, "score": score, "box": box}
            for box, score, kind in zip(boxes[row][:count], scores[row], classes[row], strict=False)
        ]
        for row, count in enumerate(counts)
    ]


def _plain(output: Tensor) -> Any:
    if output.dtype != object:
        return output.tolist()
    flat = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in output.ravel().tolist()]
    shaped = np.empty(len(flat), dtype=object)
    shaped[:] = flat
    return shaped.reshape(output.shape).tolist()


def rows_of_columns(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Answer columns as one object a row."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def twice(names: Iterable[str]) -> str | None:
    """The first name that stands there more than once; None where each is of its own."""
    return next((name for name, count in Counter(names).items() if count > 1), None)

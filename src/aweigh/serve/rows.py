"""Rows as people and clouds write them in JSON and CSV, to a frame of columns; answers back to rows. Shared by the dialects that speak of rows.

A body is bounded before this is called, and what it becomes is bounded by the model's own columns.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aweigh.core.errors import InvalidInput, TooLarge, Unsupported
from aweigh.core.frames import columns_of_outputs, columns_of_rows, frame_columns, rows_of_columns
from aweigh.core.signature import Column, ColumnKind, Signature
from aweigh.core.tensors import Tensor

SEND_ROWS: Final = 'send {"rows": [{column: value, …}, …]}'


def columns_of_json(body: Any, signature: Signature) -> dict[str, list[Any]]:
    """Of `{"rows": […]}`, a list of rows, one row, or `{"columns": […], "data": […]}`. Raises InvalidInput."""
    if isinstance(body, dict) and isinstance(body.get("rows"), list):
        body = body["rows"]
    elif isinstance(body, dict) and "data" in body and isinstance(body.get("columns"), list):
        return _split(body["columns"], body["data"])
    elif isinstance(body, dict):
        body = [body]
    if not isinstance(body, list):
        raise InvalidInput("the body is no row", hint=SEND_ROWS)
    if body and not isinstance(body[0], dict):
        names = [column.name for column in frame_columns(signature)]
        return _split(names, body if isinstance(body[0], list) else [[value] for value in body])
    return columns_of_rows(body, signature)


def keys_of_json(asked: Any) -> int:
    """How many keys the JSON of a request has, all that were understood."""
    if isinstance(asked, dict):
        return len(asked) + keys_of_json(asked.get("rows"))
    return sum([len(row) for row in asked if isinstance(row, dict)]) if isinstance(asked, list) else 0


def _split(names: list[Any], data: Any) -> dict[str, list[Any]]:
    if not isinstance(data, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput('"columns" must be a list of names and "data" a list of rows')
    if len(set(names)) != len(names):
        raise InvalidInput("a column is named twice")
    for at, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise InvalidInput(f"row {at} is not a list of {len(names)} values", hint=f"the columns are {', '.join(names[:20])}")
    return {name: [row[at] for row in data] for at, name in enumerate(names)}


_TRUTH: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_MAX_CELL: Final = 8 * 1024 * 1024
"""Characters of one cell of CSV: an image in base64, at the most."""


def columns_of_csv(body: bytes, signature: Signature, max_rows: int) -> dict[str, list[Any]]:
    """Of rows without a header, in the order of the model's columns; an empty cell is a missing value. Raises InvalidInput, TooLarge.

    An empty line is a row where there is one column, and nothing where there are several.
    """
    expected = frame_columns(signature)
    cells: list[list[Any]] = [[] for _ in expected]
    readers = [_READERS.get(column.kind, _text) for column in expected]
    try:
        lines = csv.reader(io.StringIO(bytes(body).decode("utf-8-sig"), newline=""), strict=True)
        blank = [""] if len(expected) == 1 else []
        for row, line in enumerate(filled for line in lines if (filled := line or blank)):
            if row >= max_rows:
                raise TooLarge(f"more than {max_rows} rows", hint="send fewer rows, or raise max_rows")
            if len(line) != len(expected):
                names = ", ".join(column.name for column in expected[:20])
                raise InvalidInput(f"row {row} has {len(line)} cells, this model {len(expected)} columns", hint=f"the columns are {names}")
            for values, read, column, cell in zip(cells, readers, expected, line, strict=True):
                values.append(read(cell, column, row))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: byte {error.start}", hint="send rows of CSV in UTF-8") from None
    except csv.Error as error:
        raise InvalidInput(f"the body is not CSV: line {lines.line_num}: {error}", hint="send rows without a header") from None
    return {column.name: values for column, values in zip(expected, cells, strict=True)}


def _number(cell: str, column: Column, row: int) -> float | None:
    text = cell.strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise _wrong(cell, column, row, "a number") from None


def _integer(cell: str, column: Column, row: int) -> int | float | None:
    try:
        return int(cell.strip())
    except ValueError:
        return _number(cell, column, row)


def _boolean(cell: str, column: Column, row: int) -> bool | None:
    text = cell.strip().lower()
    if text and text not in _TRUTH:
        raise _wrong(cell, column, row, "true or false")
    return _TRUTH.get(text)


def _text(cell: str, column: Column, row: int) -> str | None:
    if len(cell) > _MAX_CELL:
        raise TooLarge(f"column '{column.name}', row {row}: a cell of {len(cell)} characters")
    return cell or None


def _wrong(cell: str, column: Column, row: int, expected: str) -> InvalidInput:
    return InvalidInput(f"column '{column.name}', row {row}: got {cell[:80]!r}, expected {expected}", column=column.name, row=row)


_READERS: Final[Mapping[ColumnKind, Callable[[str, Column, int], Any]]] = {
    ColumnKind.NUMBER: _number,
    ColumnKind.INTEGER: _integer,
    ColumnKind.BOOLEAN: _boolean,
}


def rows_of_answer(signature: Signature, outputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """One object a row. Raises Unsupported for outputs that are no rows."""
    return rows_of_columns(answer_columns(signature, outputs))


def answer_columns(signature: Signature, outputs: Sequence[Tensor]) -> dict[str, list[Any]]:
    """The answer's columns, all of one length. Raises Unsupported for outputs that are no rows."""
    columns = columns_of_outputs(signature, outputs)
    if len({len(values) for values in columns.values()}) > 1:
        raise Unsupported("the outputs of this model are no rows: they differ in length", hint="use POST /v2/models/NAME/infer")
    return columns

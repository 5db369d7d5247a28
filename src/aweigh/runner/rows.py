"""Rows of named columns to the model's tensors, and outputs back to rows: what `aweigh.core.frames` does, without numpy. Every form that speaks of rows asks here."""

from __future__ import annotations

from .errors import Refusal, unsupported
from .tensors import FLOATS, Tensor, nested, of_numbers, text_bytes, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EXPECTED = {
    "number": "a number", "integer": "a whole number", "boolean": "true or false", "category": "a text", "text": "a text",
}  # fmt: skip
_NAN = float("nan")
_NOT_ROWS = 'send {"rows": [{column: value, …}, …]}'
_TENSORS = "use POST /v2/models/NAME/infer"


def tensors_of_body(body: Any, spec: dict[str, Any]) -> dict[str, Tensor]:
    """What a person writes, in any of the plain forms, as tensors. Raises Refusal naming column, row and value."""
    if spec["no_rows"]:
        raise unsupported(spec["no_rows"], hint=_TENSORS)
    if isinstance(body, dict) and isinstance(body.get("rows"), list):
        body = body["rows"]
    elif isinstance(body, dict) and "data" in body and isinstance(body.get("columns"), list):
        return _tensors(_split(body["columns"], body["data"]), spec)
    elif isinstance(body, dict):
        body = [body]
    return tensors_of_rows(body, spec)


def tensors_of_rows(rows: Any, spec: dict[str, Any]) -> dict[str, Tensor]:
    """A list of rows, each an object or a list in the order of the columns. Raises Refusal."""
    if spec["no_rows"]:
        raise unsupported(spec["no_rows"], hint=_TENSORS)
    if not isinstance(rows, list):
        raise Refusal("the body is no row", hint=_NOT_ROWS)
    if rows and not isinstance(rows[0], dict):
        names = [column["name"] for column in spec["columns"]]
        return _tensors(_split(names, rows if isinstance(rows[0], list) else [[value] for value in rows]), spec)
    return _tensors(_of_objects(rows, spec["columns"]), spec)


def _of_objects(rows: list[Any], expected: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = {column["name"] for column in expected}
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Refusal(f"row {at} is not an object of named columns", hint=_listed(expected))
        if len(row) != len(names) or not names.issuperset(row):
            _check_names(row, expected, f"row {at}")
    return {name: [row.get(name) for row in rows] for name in names}


def _check_names(given: dict[str, Any], expected: list[dict[str, Any]], place: str) -> None:
    names = {column["name"] for column in expected}
    for name in given:
        if name not in names:
            raise Refusal(f"{place}: unexpected column {name[:80]!r}", hint=_listed(expected))
    for column in expected:
        if column["name"] not in given and not column["nullable"]:
            raise Refusal(f"{place}: column '{column['name']}' is missing", hint=_listed(expected))


def _listed(expected: list[dict[str, Any]]) -> str:
    return "the columns are " + ", ".join(f"'{column['name']}'" for column in expected[:20]) + (", …" if len(expected) > 20 else "")


def _split(names: list[Any], data: Any) -> dict[str, list[Any]]:
    if not isinstance(data, list) or not all(isinstance(name, str) for name in names):
        raise Refusal('"columns" must be a list of names and "data" a list of rows')
    if len(set(names)) != len(names):
        raise Refusal("a column is named twice")
    for at, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refusal(f"row {at} is not a list of {len(names)} values", hint=f"the columns are {', '.join(names[:20])}")
    return {name: [row[at] for row in data] for at, name in enumerate(names)}


def _tensors(columns: dict[str, list[Any]], spec: dict[str, Any]) -> dict[str, Tensor]:
    expected = spec["columns"]
    if len(columns) != len(expected) or any(column["name"] not in columns for column in expected):
        _check_names(columns, expected, "the frame")
    rows = len(next(iter(columns.values()), ()))
    shapes = {each["name"]: (rows, *each["shape"][1:]) for each in spec["inputs"]}
    kinds = {each["name"]: each["datatype"] for each in spec["inputs"]}
    made: dict[str, Tensor] = {}
    for column in expected:
        name = column["input"]
        shape, datatype = shapes[name], kinds[name]
        values = [_value(value, column, datatype, row) for row, value in enumerate(columns.get(column["name"]) or [None] * rows)]
        data = values if datatype == "BYTES" else of_numbers(datatype, (rows,), values, f"column '{column['name']}', row ").data
        _place(made, Tensor(datatype, shape, data), name, column["index"])
    return made


def _place(made: dict[str, Tensor], column: Tensor, name: str, index: int) -> None:
    """A column is a tensor of its own, or every so-manieth element of a matrix."""
    width = column.shape[1] if len(column.shape) > 1 else 1
    if width == 1:
        made[name] = column
        return
    if name not in made:
        made[name] = Tensor(column.datatype, column.shape, column.data * width)
    made[name].data[index::width] = column.data


def _value(value: Any, column: dict[str, Any], datatype: str, row: int) -> Any:
    if datatype == "BYTES":
        if isinstance(value, str):
            text_bytes(value)
            return value
        if _missing(value) and column["nullable"]:
            return None
        raise _wrong(value, column, row)
    if datatype in FLOATS:
        return _float(value, column, row)
    if datatype == "BOOL":
        if isinstance(value, bool):
            return int(value)
        raise _wrong(value, column, row)
    boolean = isinstance(value, bool)
    if (boolean and column["kind"] == "boolean") or (isinstance(value, int) and not boolean):
        return int(value)
    if isinstance(value, float) and value - value == 0.0 and value.is_integer():
        return int(value)
    raise _wrong(value, column, row)


def _float(value: Any, column: dict[str, Any], row: int) -> float:
    if value.__class__ is float and value == value:  # NaN is missing
        return value
    if _missing(value):
        if column["nullable"]:
            return _NAN
        raise _wrong(None, column, row)
    if isinstance(value, int) and (not isinstance(value, bool) or column["kind"] == "boolean"):
        try:
            return float(value)
        except OverflowError:
            raise _wrong(value, column, row) from None
    raise _wrong(value, column, row)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _wrong(value: Any, column: dict[str, Any], row: int) -> Refusal:
    shown = "null" if _missing(value) else repr(value[:80] if isinstance(value, str) else value)[:80]
    known = column["categories"]
    more = f" (known values: {', '.join(known[:10])})" if known and not _missing(value) else ""
    return Refusal(f"column '{column['name']}', row {row}: got {shown}, expected {_EXPECTED[column['kind']]}{more}")


def rows_of(outputs: list[Tensor], spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers as one object a row: `label` and `probability_<class>` for a classifier, `prediction` for a regressor, else the outputs' own names."""
    columns: dict[str, list[Any]] = {}
    for each, output in zip(spec["outputs"], outputs, strict=True):
        _add(columns, each, output, spec["labels"])
    if len({len(values) for values in columns.values()}) > 1:
        raise unsupported("the outputs of this model are no rows: they differ in length", hint=_TENSORS)
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _add(columns: dict[str, list[Any]], each: dict[str, Any], output: Tensor, labels: list[Any]) -> None:
    role, shape = each["role"], output.shape
    name = role if role in {"label", "prediction"} else each["name"]
    values = nested(_plain(output), shape)
    if role == "probability" and len(shape) == 2 and len(labels) == shape[1]:
        for at, label in enumerate(labels):
            columns[f"probability_{label}"] = [row[at] for row in values]
    elif len(shape) == 2 and shape[1] == 1:
        columns[name] = [row[0] for row in values]
    elif len(shape) == 2 and role in {"label", "prediction"}:
        for at in range(shape[1]):
            columns[f"{name}_{at}"] = [row[at] for row in values]
    else:
        columns[name] = values if isinstance(values, list) else [values]


def _plain(output: Tensor) -> list[Any]:
    if output.datatype == "BYTES":
        return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in output.data]
    return values_of(output)

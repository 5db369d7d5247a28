"""SageMaker's POST /invocations: JSON in any of the plain forms, or CSV without a header; answered in JSON, or in CSV where that is accepted first."""

from __future__ import annotations

import _csv
from _io import StringIO

from . import jsontext
from .errors import Refusal
from .message import Request, Response
from .rows import rows_of, tensors_of_body, tensors_of_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import Model

_CSV = "text/csv"
_JSON = ("", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded")
"""Its own, and what programs say that were told nothing."""
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def answer(request: Request, model: Model) -> Response:
    """Raises Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _CSV:
        tensors = tensors_of_rows(_read(request.body, model.spec["columns"]), model.spec)
    elif kind in _JSON or kind.endswith("+json"):
        tensors = tensors_of_body(jsontext.read(request.body), model.spec)
    else:
        hint = "send application/json or text/csv"
        raise Refusal(f"Content-Type {kind[:80]!r} is not taken", hint=hint, status=415, code="unsupported")
    rows = rows_of(model.ask(tensors), model.spec)
    if request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip().lower() == _CSV:
        return Response(200, _write(rows), "text/csv; charset=utf-8")
    return Response(200, jsontext.write({"predictions": rows}))


def _read(body: bytes, columns: list[dict[str, Any]]) -> list[Any]:
    try:
        lines = StringIO(body.decode("utf-8-sig"), newline="")  # str.splitlines ends lines at characters that cells may hold
    except UnicodeDecodeError as error:
        raise Refusal(f"the body is not UTF-8: byte {error.start}", hint="send rows of CSV in UTF-8") from None
    blank = [""] if len(columns) == 1 else []  # of one column an empty line is a row
    try:
        return [
            [_cell(text, at, columns) for at, text in enumerate(filled)]
            for line in _csv.reader(lines, strict=True)
            if (filled := line or blank)
        ]
    except _csv.Error as error:
        raise Refusal(f"the body is not CSV: {error}", hint="send rows without a header") from None


def _cell(text: str, at: int, columns: list[dict[str, Any]]) -> Any:
    """A cell as JSON would have it; an empty one is a missing value. What is wrong with it is said where all values are looked at."""
    kind = columns[at]["kind"] if at < len(columns) else "text"
    if kind not in {"number", "integer", "boolean"}:
        return text or None
    bare = text.strip()
    if not bare:
        return None
    if kind == "boolean":
        return _TRUTH.get(bare.lower(), text)
    try:
        return int(bare) if kind == "integer" else float(bare)
    except ValueError:
        return _float(bare, text)


def _float(bare: str, text: str) -> Any:
    try:
        return float(bare)
    except ValueError:
        return text


class _Lines:
    """Where the writer of CSV writes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """One line more."""
        self.lines.append(line)


def _write(rows: list[dict[str, Any]]) -> bytes:
    into = _Lines()
    _csv.writer(into, lineterminator="\n").writerows([[_told(value) for value in row.values()] for row in rows])
    return "".join(into.lines).encode("utf-8", "backslashreplace")


def _told(value: Any) -> Any:
    """As JSON writes it, without the quotes of texts; nothing where it is missing."""
    return value if isinstance(value, str) or value is None else jsontext.write(value).decode()

"""The plain dialect's other bodies: an image or a sound itself, by its Content-Type, or several as a form (`curl -F file=@cat.png`). Called by `predict.py`.

Which body a request has is decided once for each distinct head, so that requests of rows never come here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InvalidInput, TooLarge, Unsupported
from aweigh.core.signature import Column, ColumnKind
from aweigh.core.tensors import Datatype, Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.message import AnyResponse, Handler, Request, Response

TYPES: Final[dict[bytes, ColumnKind]] = {
    b"image/png": ColumnKind.IMAGE,
    b"image/jpeg": ColumnKind.IMAGE,
    b"image/jpg": ColumnKind.IMAGE,
    b"audio/wav": ColumnKind.SOUND,
    b"audio/wave": ColumnKind.SOUND,
    b"audio/x-wav": ColumnKind.SOUND,
    b"audio/vnd.wave": ColumnKind.SOUND,
}
"""Content-Types of a file, and what it holds."""
_FORM: Final = b"multipart/form-data"
_ROWS: Final = frozenset({b"", b"application/json", b"text/json", b"text/plain", b"application/x-www-form-urlencoded"})
"""Content-Types of rows: JSON's own, and what programs say that were told nothing, curl among them."""
_SHOWN: Final = {ColumnKind.IMAGE: "image/png or image/jpeg", ColumnKind.SOUND: "audio/wav"}
_MAX_HEAD: Final = 4096
"""Bytes of the headers of one part of a form."""
_WRONG_TYPE: Final = 415
Answered = Callable[[LoadedModel, dict[str, Tensor], Request], AnyResponse | None]
Failure = Callable[[AweighError, Request], AnyResponse]


class PredictFiles:
    """Answers requests whose body is no JSON."""

    def __init__(self, dataplane: DataPlane, answered: Answered, failure: Failure) -> None:
        self._dataplane = dataplane
        self._answered = answered
        self._failure = failure

    def handler(self, headers: Mapping[bytes, bytes]) -> Handler | None:
        """What answers requests with these headers; None for rows in JSON."""
        said, _, parameters = headers.get(b"content-type", b"").partition(b";")
        kind = said.strip().lower()
        if kind in _ROWS or kind.endswith(b"+json"):
            return None
        if kind == _FORM:
            return partial(self._form, _boundary(parameters))
        return partial(self._file, kind)

    def _file(self, kind: bytes, request: Request) -> AnyResponse | None:
        model = self._model(request)
        column = _column(model)
        if column is None or TYPES.get(kind) is not column.kind:
            return self._wrong_type(model, kind, column, request)
        return self._ask(model, column, [bytes(request.body)], request)

    def _form(self, boundary: bytes, request: Request) -> AnyResponse | None:
        model = self._model(request)
        column = _column(model)
        if column is None:
            return self._wrong_type(model, _FORM, column, request)
        try:
            files = _parts(request.body, boundary, self._dataplane.settings.max_rows)
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        return self._ask(model, column, files, request)

    def _model(self, request: Request) -> LoadedModel:
        params = request.head.params
        return self._dataplane.choose(params["name"], params.get("version", ""), request)

    def _ask(self, model: LoadedModel, column: Column, files: list[bytes], request: Request) -> AnyResponse | None:
        rows = np.empty((len(files), 1), dtype=object)
        rows[:, 0] = files
        return self._answered(model, {column.input: rows}, request)

    def _wrong_type(self, model: LoadedModel, kind: bytes, column: Column | None, request: Request) -> AnyResponse:
        takes = f"application/json, {_SHOWN[column.kind]}, or {_FORM.decode()} of such files" if column else "application/json"
        shown = kind.decode("latin-1")[:80]
        error = Unsupported(f"Content-Type '{shown}' is not taken by '{model.name}'", hint=f"this model takes {takes}")
        model.statistics.failure(error.kind)
        answer = self._failure(error, request)
        return msgspec.structs.replace(answer, status=_WRONG_TYPE) if isinstance(answer, Response) else answer


def _column(model: LoadedModel) -> Column | None:
    """The model's only column, where that is one of files."""
    columns = model.signature.columns
    if len(columns) != 1 or columns[0].kind not in _SHOWN or model.signature.inputs[0].datatype is not Datatype.BYTES:
        return None
    return columns[0]


def _boundary(parameters: bytes) -> bytes:
    """What stands between the parts of a form; empty where the header does not say."""
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name.strip().lower() == b"boundary":
            return value.strip().strip(b'"')
    return b""


def _parts(body: bytes, boundary: bytes, most: int) -> list[bytes]:
    """The files of a form (RFC 7578), in its order, whatever its fields are called. Raises InvalidInput, TooLarge."""
    if not 0 < len(boundary) <= 70:
        raise InvalidInput("the form's Content-Type names no boundary of 1 to 70 bytes", hint="curl -F file=@FILE writes one")
    line = b"\r\n--" + boundary
    found: list[bytes] = []
    text = b"\r\n" + bytes(body)
    at = text.find(line)
    while at >= 0:
        start = at + len(line)
        if text[start : start + 2] == b"--":
            return _some(found)
        end = text.find(line, start)
        if end < 0:
            break
        if len(found) >= most:
            raise TooLarge(f"a form of more than {most} files", hint="send fewer at a time")
        head, blank, content = text[start:end].partition(b"\r\n\r\n")
        if not blank or len(head) > _MAX_HEAD:
            raise InvalidInput(
                f"part {len(found)} of the form has no head of its own, or one that does not end", hint="curl -F file=@FILE writes one"
            )
        found.append(content)
        at = end
    raise InvalidInput("the form is cut off: its last boundary is missing", hint="send all of it")


def _some(files: list[bytes]) -> list[bytes]:
    if not files:
        raise InvalidInput("the form holds no file", hint="curl -F file=@FILE")
    return files

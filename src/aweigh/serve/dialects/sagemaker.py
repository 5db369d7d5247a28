"""The dialect of Amazon SageMaker's containers: GET /ping, and POST /invocations with rows in JSON (as the plain dialect takes them) or in CSV.

CSV has no header and the model's own order of columns; `Accept: text/csv` answers a line for each row. Of several models the header
`X-Amzn-SageMaker-Target-Model` names one. What is served needs no /opt/ml/model: it lies in the image.
"""

import csv
import io
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from aweigh.core.errors import AweighError, Unsupported
from aweigh.core.frames import tensors_of_columns
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.json_structure import check_unique
from aweigh.serve.large_requests import check_rows
from aweigh.serve.message import TEXT, AnyResponse, Handler, Request, Response
from aweigh.serve.outcome import outcome
from aweigh.serve.router import Permission, Route
from aweigh.serve.rows import answer_columns, columns_of_csv, columns_of_json, keys_of_json, rows_of_answer
from aweigh.serve.status import json_error
from aweigh.serve.tensor_json import parse_json

_CSV: Final = b"text/csv"
_JSON: Final = frozenset({b"", b"application/json", b"text/json", b"text/plain", b"application/x-www-form-urlencoded"})
"""Content-Types of JSON: its own, and what programs say that were told nothing."""
_WRONG_TYPE: Final = 415
_TARGET: Final = b"x-amzn-sagemaker-target-model"


class SageMaker:
    """The dialect."""

    name = "sagemaker"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", template="/ping", permission=Permission.PUBLIC, handler=self._ping, failure=self.failure),
            Route(
                method="POST",
                template="/invocations",
                permission=Permission.PREDICT,
                handler=partial(self._invoke, in_csv=False, out_csv=False),
                failure=self.failure,
                bodies=self._handler,
            ),
        ]

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return json_error(error, code=error.code, hint=error.hint)

    def _ping(self, request: Request) -> Response:
        return Response(200 if self._dataplane.ready else 503, b"", TEXT)

    def _handler(self, headers: Mapping[bytes, bytes]) -> Handler | None:
        """Decided once for each distinct head."""
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        out_csv = headers.get(b"accept", b"").partition(b",")[0].partition(b";")[0].strip().lower() == _CSV
        if kind == _CSV:
            return partial(self._invoke, in_csv=True, out_csv=out_csv)
        if kind in _JSON or kind.endswith(b"+json"):
            return partial(self._invoke, in_csv=False, out_csv=True) if out_csv else None
        return partial(self._wrong_type, kind)

    def _wrong_type(self, kind: bytes, request: Request) -> AnyResponse:
        error = Unsupported(f"Content-Type '{kind.decode('latin-1')[:80]}' is not taken", hint="send application/json or text/csv")
        answer = self.failure(error, request)
        return msgspec.structs.replace(answer, status=_WRONG_TYPE) if isinstance(answer, Response) else answer

    def _invoke(self, request: Request, *, in_csv: bool, out_csv: bool) -> AnyResponse | None:
        model = self._dataplane.choose(*self._meant(request), request)
        try:
            columns = self._of_csv(request.body, model) if in_csv else self._of_json(request.body, model)
            inputs = tensors_of_columns(columns, model.signature)
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        rows = self._dataplane.accept(model, inputs)
        return outcome(self._dataplane, model, inputs, rows, request, partial(_csv_answer if out_csv else _json_answer, model))

    def _meant(self, request: Request) -> tuple[str, str]:
        """Name and version of the model that is asked."""
        said = (request.header(_TARGET) or b"").decode("latin-1").removeprefix("/")
        if said:
            name, _, version = said.partition(":")
            return name, version
        return self._dataplane.only_name(hint=f"send the header {_TARGET.decode()}: NAME"), ""

    def _of_csv(self, body: bytes, model: LoadedModel) -> dict[str, list[Any]]:
        settings = self._dataplane.settings
        return columns_of_csv(body, model.signature, settings.max_rows)

    def _of_json(self, body: bytes, model: LoadedModel) -> dict[str, list[Any]]:
        settings = self._dataplane.settings
        check_rows(body, model.signature, settings)
        asked = parse_json(body, settings.max_json_depth)
        columns = columns_of_json(asked, model.signature)
        check_unique(body, keys_of_json(asked))
        return columns


def _json_answer(model: LoadedModel, outputs: list[Tensor]) -> Response:
    return Response(200, orjson.dumps({"predictions": rows_of_answer(model.signature, outputs)}))


def _csv_answer(model: LoadedModel, outputs: list[Tensor]) -> Response:
    columns = answer_columns(model.signature, outputs)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)])
    return Response(200, text.getvalue().encode(), b"text/csv; charset=utf-8")


def _cell(value: Any) -> Any:
    """As JSON writes it, without the quotes of texts; nothing where it is missing."""
    return value if isinstance(value, str) or value is None else orjson.dumps(value).decode()

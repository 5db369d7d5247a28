"""The plain dialect: POST /predict/NAME with rows of named columns, as a person would write them; GET describes what to send.

    {"rows": [{"age": 41, "job": "nurse"}, …]}   or   [{…}, …]   or   {…} (one row)   or   {"columns": ["age", "job"], "data": [[41, "nurse"]]}
    [[41, "nurse"], …]   in the model's own order of columns

Answers `{"model", "version", "id", "predictions": [{"label": …, "probability_<class>": …}, …]}`; missing values are null both ways.
"""

from functools import partial
from typing import Any

import orjson

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.core.frames import columns_of_outputs, columns_of_rows, frame_columns, rows_of_columns, tensors_of_columns
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.json_structure import check_unique
from aweigh.serve.large_requests import check_rows
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.outcome import answer_later
from aweigh.serve.router import Permission, Route
from aweigh.serve.status import json_error
from aweigh.serve.tensor_json import parse_json


class Predict:
    """The dialect. Its errors carry code, hint and request id beside the message."""

    name = "predict"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self) -> list[Route]:
        def route(method: str, template: str, handler: Any) -> Route:
            return Route(method=method, template=template, permission=Permission.PREDICT, handler=handler, failure=self.failure)

        paths = ("/predict/{name}", "/predict/{name}/versions/{version}")
        return [*(route("POST", path, self._predict) for path in paths), *(route("GET", path, self._describe) for path in paths)]

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return json_error(error, code=error.code, hint=error.hint, request_id=request.id.decode())

    def _find(self, request: Request) -> LoadedModel:
        params = request.head.params
        return self._dataplane.find(params["name"], params.get("version", ""))

    def _describe(self, request: Request) -> Response:
        model = self._find(request)
        columns = [
            {"name": column.name, "kind": column.kind.value, "nullable": column.nullable, "categories": list(column.categories)}
            for column in frame_columns(model.signature)
        ]
        return Response(
            200,
            orjson.dumps(
                {
                    "model": model.name,
                    "version": model.version,
                    "task": model.signature.task.value,
                    "columns": columns,
                    "labels": list(model.signature.labels),
                }
            ),
        )

    def _predict(self, request: Request) -> AnyResponse | None:
        model = self._find(request)
        try:
            settings = self._dataplane.settings
            check_rows(request.body, model.signature, settings)
            asked = parse_json(request.body, settings.max_json_depth)
            inputs = tensors_of_columns(_columns(asked, model.signature), model.signature)
            check_unique(request.body, _keys(asked))
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        rows = self._dataplane.accept(model, inputs)
        if rows <= model.immediate_rows:
            return _answer(model, request.id, self._dataplane.run(model, inputs, rows))
        self._dataplane.submit(model, inputs, rows, request, partial(answer_later, request, partial(_answer, model, request.id)))
        return None


def _columns(body: Any, signature: Signature) -> dict[str, list[Any]]:
    if isinstance(body, dict) and isinstance(body.get("rows"), list):
        body = body["rows"]
    elif isinstance(body, dict) and "data" in body and isinstance(body.get("columns"), list):
        return _split(body["columns"], body["data"])
    elif isinstance(body, dict):
        body = [body]
    if not isinstance(body, list):
        raise InvalidInput("the body is no row", hint='send {"rows": [{column: value, …}, …]}')
    if body and not isinstance(body[0], dict):
        names = [column.name for column in frame_columns(signature)]
        return _split(names, body if isinstance(body[0], list) else [[value] for value in body])
    return columns_of_rows(body, signature)


def _keys(asked: Any) -> int:
    """How many keys the JSON of a request has, all that were understood."""
    if isinstance(asked, dict):
        return len(asked) + _keys(asked.get("rows"))
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


def _answer(model: LoadedModel, request_id: bytes, outputs: list[Tensor]) -> Response:
    columns = columns_of_outputs(model.signature, outputs)
    if len({len(values) for values in columns.values()}) > 1:
        raise Unsupported("the outputs of this model are no rows: they differ in length", hint="use POST /v2/models/NAME/infer")
    rows = rows_of_columns(columns)
    body = {"model": model.name, "version": model.version, "id": request_id.decode(), "predictions": rows}
    return Response(200, orjson.dumps(body))

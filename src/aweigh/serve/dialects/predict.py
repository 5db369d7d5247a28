"""The plain dialect: POST /predict/NAME with rows of named columns, as a person would write them; GET describes what to send.

    {"rows": [{"age": 41, "job": "nurse"}, …]}   or   [{…}, …]   or   {…} (one row)   or   {"columns": ["age", "job"], "data": [[41, "nurse"]]}
    [[41, "nurse"], …]   in the model's own order of columns

Of a model that is asked with images or sounds, the body may be the file itself: see `predict_files.py`.

Answers `{"model", "version", "id", "predictions": [{"label": …, "probability_<class>": …}, …]}`; missing values are null both ways.
"""

import dataclasses
from functools import partial
from typing import Any

import orjson

from aweigh.core.errors import AweighError
from aweigh.core.frames import frame_columns, tensors_of_columns
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.dialects.predict_files import PredictFiles
from aweigh.serve.json_structure import check_unique
from aweigh.serve.large_requests import check_rows
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.outcome import outcome
from aweigh.serve.router import Permission, Route
from aweigh.serve.rows import SEND_ROWS, columns_of_json, keys_of_json, rows_of_answer
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
        files = PredictFiles(self._dataplane, self._answered, self.failure)
        asked = [dataclasses.replace(route("POST", path, self._predict), bodies=files.handler) for path in paths]
        return [*asked, *(route("GET", path, self._describe) for path in paths)]

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
        params = request.head.params
        model = self._dataplane.choose(params["name"], params.get("version", ""), request)
        try:
            settings = self._dataplane.settings
            check_rows(request.body, model.signature, settings)
            asked = parse_json(request.body, settings.max_json_depth, hint=SEND_ROWS)
            inputs = tensors_of_columns(columns_of_json(asked, model.signature), model.signature)
            check_unique(request.body, keys_of_json(asked))
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        return self._answered(model, inputs, request)

    def _answered(self, model: LoadedModel, inputs: dict[str, Tensor], request: Request) -> AnyResponse | None:
        rows = self._dataplane.accept(model, inputs)
        return outcome(self._dataplane, model, inputs, rows, request, partial(_answer, model, request.id))


def _answer(model: LoadedModel, request_id: bytes, outputs: list[Tensor]) -> Response:
    rows = rows_of_answer(model.signature, outputs)
    body = {"model": model.name, "version": model.version, "id": request_id.decode(), "predictions": rows}
    return Response(200, orjson.dumps(body))

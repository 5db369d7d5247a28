"""The dialect of Google Vertex AI's containers: health and predictions at the paths that Vertex names (settings `health_route`, `predict_route`).

    {"instances": [{"age": 41, "job": "nurse"}, [52, "cook"]]}  ->  {"predictions": [{"label": …}, …]}

An instance is an object of named columns, or a list in the model's own order. Where Vertex names no paths, there are none.
"""

from functools import partial
from typing import Any, Final

import orjson

from aweigh.core.errors import AweighError, InvalidInput, InvalidSetting
from aweigh.core.frames import tensors_of_columns
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.json_structure import check_unique
from aweigh.serve.large_requests import check_rows
from aweigh.serve.message import TEXT, AnyResponse, Request, Response
from aweigh.serve.outcome import outcome
from aweigh.serve.router import Permission, Route
from aweigh.serve.rows import columns_of_json, keys_of_json, rows_of_answer
from aweigh.serve.status import json_error
from aweigh.serve.tensor_json import parse_json

_HEALTH: Final = frozenset({"/", "/live", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"})
"""Paths of other dialects that tell of health already."""


class Vertex:
    """The dialect. Its errors are `{"error": …}`."""

    name = "vertex"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self) -> list[Route]:
        settings = self._dataplane.settings
        found = []
        if settings.health_route and settings.health_route.rstrip("/") not in {path.rstrip("/") for path in _HEALTH}:
            template = _checked("health_route", settings.health_route)
            found.append(Route(method="GET", template=template, permission=Permission.PUBLIC, handler=self._health, failure=self.failure))
        if settings.predict_route:
            template = _checked("predict_route", settings.predict_route)
            found.append(
                Route(method="POST", template=template, permission=Permission.PREDICT, handler=self._predict, failure=self.failure)
            )
        return found

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return json_error(error)

    def _health(self, request: Request) -> Response:
        return Response(200, b"ready\n", TEXT) if self._dataplane.ready else Response(503, b"starting\n", TEXT)

    def _predict(self, request: Request) -> AnyResponse | None:
        name = self._dataplane.only_name(hint="Vertex asks for one: serve one, or ask /predict/NAME")
        model = self._dataplane.choose(name, "", request)
        try:
            inputs = tensors_of_columns(self._columns(request.body, model), model.signature)
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        rows = self._dataplane.accept(model, inputs)
        return outcome(self._dataplane, model, inputs, rows, request, partial(_answer, model))

    def _columns(self, body: bytes, model: LoadedModel) -> dict[str, list[Any]]:
        settings = self._dataplane.settings
        check_rows(body, model.signature, settings)
        asked = parse_json(body, settings.max_json_depth)
        if not isinstance(asked, dict) or not isinstance(asked.get("instances"), list):
            raise InvalidInput("the body holds no instances", hint='send {"instances": [{column: value, …}, …]}')
        instances = asked["instances"]
        columns = columns_of_json(instances, model.signature)
        parameters = asked.get("parameters")
        check_unique(body, len(asked) + keys_of_json(instances) + keys_of_json(parameters))
        return columns


def _checked(setting: str, path: str) -> str:
    """Raises InvalidSetting for what is no path of a route."""
    if not path.startswith("/") or path == "/" or any(character in path for character in "{}?#% \\") or not path.isprintable():
        raise InvalidSetting(f"setting {setting!r} is {path[:80]!r}: expected a path such as '/health'")
    return path


def _answer(model: LoadedModel, outputs: list[Tensor]) -> Response:
    return Response(200, orjson.dumps({"predictions": rows_of_answer(model.signature, outputs)}))

"""Triton's generate extension over REST: a JSON object whose names are the model's inputs, answered by one whose names are its outputs.

Any model can be asked this way whose inputs are single values or flat lists. `generate_stream` gives the one answer as one event.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Final

import orjson

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor, bytes_of
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.serve.asked import refuse, take_parameters
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.outcome import outcome, timed
from aweigh.serve.router import Route
from aweigh.serve.tensor_json import check_json_form, check_shape, json_to_tensor, parse_json, values_encoder

_EVENTS: Final = b"text/event-stream; charset=utf-8"


class GenerateRoutes:
    """Part of the dialect `open-inference-rest`."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._max_elements = dataplane.settings.max_elements
        self._max_depth = dataplane.settings.max_json_depth

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        return [
            route("POST", f"/v2/models/{{name}}{version}/generate{suffix}", partial(self._generate, events=bool(suffix)))
            for version in ("", "/versions/{version}")
            for suffix in ("", "_stream")
        ]

    def _generate(self, request: Request, *, events: bool) -> AnyResponse | None:
        began = perf_counter()
        params = request.head.params
        model = self._dataplane.choose(params["name"], params.get("version", ""), request)
        try:
            for spec in model.signature.outputs:
                check_json_form(spec)
            identity, inputs = self._decode(request, model.signature, began)
            try:
                rows = model.acceptance.rows(inputs, self._dataplane.max_rows)
            except AweighError as error:
                refuse(error, model.name, identity)
        except AweighError as error:
            model.statistics.failure(error.kind, perf_counter() - began)
            raise
        decoding_s = perf_counter() - began
        encode = timed(partial(_encode, model, identity, events), model, rows, decoding_s)
        return outcome(self._dataplane, model, inputs, rows, request, encode)

    def _decode(self, request: Request, signature: Signature, began: float) -> tuple[str, dict[str, Tensor]]:
        """The request's id and tensors; names that are no inputs are parameters. Raises InvalidInput, TooLarge."""
        asked = parse_json(request.body, self._max_depth)
        if not isinstance(asked, dict):
            raise InvalidInput("not a generate request: the body is no JSON object", hint='send {"<input>": value, …}')
        given = dict(asked)
        identity, nested = given.pop("id", ""), given.pop("parameters", {})
        if not isinstance(identity, str):
            raise InvalidInput("Unable to parse 'id': attempt to access JSON non-string as string")
        if not isinstance(nested, dict):
            raise InvalidInput("Expected JSON object for keyword: 'parameters'")
        bytes_of(identity)
        given |= nested
        specs = {spec.name: spec for spec in signature.inputs}
        take_parameters({name: value for name, value in given.items() if name not in specs}, request, began)
        return identity, {name: self._tensor(given[name], spec) for name, spec in specs.items() if name in given}

    def _tensor(self, value: Any, spec: TensorSpec) -> Tensor:
        data = value if isinstance(value, list) else [value]
        shape = _shape(spec, len(data))
        check_shape(shape, self._max_elements, f"$.{spec.name}")
        if data and isinstance(data[0], list):
            raise _unfit(spec)
        return json_to_tensor(data, spec.datatype, shape, f"$.{spec.name}", spec.name)


def _shape(spec: TensorSpec, count: int) -> list[int]:
    """The shape of so many elements: the last variable axis takes what the fixed ones leave, other variable axes are 1. Raises InvalidInput."""
    shape, left = list(spec.wire_shape), count
    for size in shape:
        if size >= 0:
            if size == 0 or left % size:
                raise _unfit(spec)
            left //= size
    for at in reversed(range(len(shape))):
        if shape[at] < 0:
            shape[at], left = left, 1
    if left != 1:
        raise _unfit(spec)
    return shape


def _unfit(spec: TensorSpec) -> InvalidInput:
    return InvalidInput(
        f"The schema can not convert input '{spec.name}' to tensor with proper shape",
        hint=f"its shape is {spec.wire_shape}: send one value or a flat list, or use infer",
    )


def _encode(model: LoadedModel, identity: str, events: bool, outputs: list[Tensor]) -> Response:
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if identity:
        answer["id"] = identity
    for spec, output in zip(model.signature.outputs, outputs, strict=True):
        values = values_encoder(spec, output.size)(output)
        answer[spec.name] = orjson.Fragment(values[1:-1] if output.size == 1 else values)
    body = orjson.dumps(dict(sorted(answer.items())))
    return Response(200, b"data: " + body + b"\n\n", _EVENTS) if events else Response(200, body)

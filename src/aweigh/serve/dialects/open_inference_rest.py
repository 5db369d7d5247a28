"""Open Inference V2 over REST: metadata, health, and inference in JSON or with binary tensors. Forms, texts and status codes are Triton's where the spec is silent.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson

import aweigh
from aweigh.core.errors import AweighError, InternalError, InvalidInput, NotReady
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, bytes_of, count_of
from aweigh.engine.acceptance import Acceptance
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.regions import Regions
from aweigh.engine.single import Single, single_of
from aweigh.serve.asked import (
    Wanted,
    check_forms,
    check_memory,
    extensions,
    input_spec,
    raw_tensor,
    refuse,
    take_parameters,
    wanted_outputs,
)
from aweigh.serve.binary import HEADER, Blobs, binary_answer, header_length, raw_output, raw_request
from aweigh.serve.classes import classified
from aweigh.serve.dialects.open_inference_rest_generate import GenerateRoutes
from aweigh.serve.dialects.open_inference_rest_models import ModelRoutes
from aweigh.serve.dialects.open_inference_rest_server import ServerRoutes
from aweigh.serve.dialects.open_inference_rest_turn import RestTurn
from aweigh.serve.json_structure import check_unique
from aweigh.serve.known_binary import KnownBinaries, KnownBinary
from aweigh.serve.known_requests import KnownBodies
from aweigh.serve.large_json import MIN_BYTES, LargeJson
from aweigh.serve.large_requests import check_inference
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.outcome import answer_later, timed
from aweigh.serve.router import Permission, Route
from aweigh.serve.shared_memory import REGION, memory_of, write_output
from aweigh.serve.status import hinted_error
from aweigh.serve.tensor_json import check_depth, check_shape, json_to_tensor, parse_json, values_encoder

_MAX_PREPARED: Final = 64
_BODIES: Final = "open-inference-rest bodies"
_BINARIES: Final = "open-inference-rest binaries"
_TURN: Final = "open-inference-rest turn"
_SINGLE: Final = "single"


class _Template(NamedTuple):
    """An answer for given output shapes: a bytes format with a place for each output's values, and what encodes them."""

    form: bytes
    encoders: tuple[Callable[[Tensor], bytes], ...]


class _Output(msgspec.Struct, gc=False):
    name: str
    parameters: dict[str, Any] | None = None


class _FloatInput(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: dict[str, Any] | None = None


class _FloatRequest(msgspec.Struct, gc=False):
    inputs: list[_FloatInput]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


class _AnyInput(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class _AnyRequest(msgspec.Struct, gc=False):
    inputs: list[_AnyInput]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


_PLAIN: Final = _FloatRequest(inputs=[])
"""A request that asks for nothing beside its numbers."""
_RAW: Final = _AnyRequest(inputs=[], parameters={"binary_data_output": True})
"""What a body that is one raw tensor asks for."""
_decode_floats = msgspec.json.Decoder(_FloatRequest).decode
_decode_any = msgspec.json.Decoder(_AnyRequest).decode


class OpenInferenceRest:
    """The dialect. Answers are made from templates, one per model and output shapes."""

    name = "open-inference-rest"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._max_elements = dataplane.settings.max_elements
        self._max_depth = dataplane.settings.max_json_depth
        self._large = LargeJson(dataplane.settings.max_body_bytes // 8)

    def routes(self) -> list[Route]:
        def route(method: str, template: str, handler: Any, permission: Permission = Permission.PREDICT) -> Route:
            return Route(method=method, template=template, permission=permission, handler=handler, failure=self.failure)

        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return [
            *ModelRoutes(self._dataplane).routes(route),
            *ServerRoutes(self._dataplane).routes(route),
            *GenerateRoutes(self._dataplane).routes(route),
            route("GET", "/v2", self._server),
            route("GET", "/v2/health/live", self._live, Permission.PUBLIC),
            route("GET", "/v2/health/ready", self._ready, Permission.PUBLIC),
            *(route("GET", base, self._metadata) for base in (model, version)),
            *(route("GET", f"{base}/ready", self._model_ready) for base in (model, version)),
            *(dataclasses.replace(route("POST", f"{base}/infer", self._infer), views=_is_binary) for base in (model, version)),
        ]

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return hinted_error(error)

    def _server(self, request: Request) -> Response:
        return Response(200, orjson.dumps({"name": "aweigh", "version": aweigh.__version__, "extensions": extensions(self._dataplane)}))

    def _live(self, request: Request) -> Response:
        return Response(200)

    def _ready(self, request: Request) -> Response:
        return Response(200 if self._dataplane.ready else 400)

    def _model_ready(self, request: Request) -> Response:
        try:
            ready = self._find(request).ready
        except NotReady:
            ready = False
        return Response(200) if ready else Response(400, b'{"error":"Model version not ready"}')

    def _metadata(self, request: Request) -> Response:
        model = self._find(request)
        body = {
            "name": model.name,
            "versions": self._dataplane.versions(model.name),
            "platform": f"aweigh_{model.variant.runtime}",
            "inputs": [_tensor_metadata(spec) for spec in model.signature.inputs],
            "outputs": [_tensor_metadata(spec) for spec in model.signature.outputs],
        }
        return Response(200, orjson.dumps(body))

    def _find(self, request: Request) -> LoadedModel:
        params = request.head.params
        return self._dataplane.find(params["name"], params.get("version", ""))

    def _infer(self, request: Request) -> AnyResponse | None:
        params, head = request.head.params, request.head
        model = self._dataplane.choose(params["name"], params.get("version", ""), request)
        if model.carried and model.acceptance.floats and HEADER not in head.headers and self._turn(model).take(request):
            return None
        if model.immediate_rows > 0 and model.responses is None and HEADER not in head.headers:
            response = self._answer_single(model, request)
            if response is not None:
                return response
        return self._answer(model, model.immediate_rows, request)

    def _answer_single(self, model: LoadedModel, request: Request) -> Response | None:
        """Answer a usual request of one row in place; None for any other, and where the model does not allow it."""
        began = perf_counter()
        single: Single | None = (
            model.prepared[_SINGLE] if _SINGLE in model.prepared else model.prepared.setdefault(_SINGLE, single_of(model))
        )
        if single is None:
            return None
        try:
            found = self._bodies(model).find(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if found is None or found[0].rows != 1 or not model.acceptance.takes(found[1]):
            return None
        single.row[:] = found[1]
        statistics = model.statistics
        statistics.decoding_s += perf_counter() - began
        response = self._encode(model, _PLAIN, self._dataplane.run_single(model, single))
        statistics.encoding_s += perf_counter() - statistics.last
        return response

    def _turn(self, model: LoadedModel) -> RestTurn:
        turn: RestTurn | None = model.prepared.get(_TURN)
        if turn is None:
            alone = partial(self._alone, model)
            turn = model.prepared[_TURN] = RestTurn(model, self._bodies(model), alone, self._dataplane.max_rows)
        return turn

    def _alone(self, model: LoadedModel, request: Request) -> AnyResponse:
        """Run by itself what failed with others."""
        response = self._answer(model, sys.maxsize, request)
        if response is None:
            raise InternalError("a request that was to run at once did not")
        return response

    def _answer(self, model: LoadedModel, immediate_rows: int, request: Request) -> AnyResponse | None:
        began = perf_counter()
        head = request.head
        asked: _FloatRequest | _AnyRequest | KnownBinary
        inputs: dict[str, Tensor] | None
        statistics = model.statistics
        try:
            if HEADER in head.headers:
                asked, inputs, rows = self._binary(model, request)
            else:
                asked, inputs, rows = self._usual(model, request.body) if model.acceptance.floats else (_PLAIN, None, 0)
                if inputs is None:
                    asked, inputs, rows = self._unusual(model, request, memoryview(b""))
            if asked.parameters is not None:
                take_parameters(asked.parameters, request, began)
        except AweighError as error:
            statistics.failure(error.kind, perf_counter() - began)
            raise
        decoding_s = perf_counter() - began
        if rows <= immediate_rows:
            response = self._encode(model, asked, self._dataplane.run(model, inputs, rows))
            statistics.decoding_s += decoding_s
            statistics.encoding_s += perf_counter() - statistics.last
            return response
        encode = timed(partial(self._encode, model, asked), model, rows, decoding_s)
        self._dataplane.submit(model, inputs, rows, request, partial(answer_later, request, encode))
        return None

    def _binary(self, model: LoadedModel, request: Request) -> tuple["_AnyRequest | KnownBinary", dict[str, Tensor], int]:
        """A body of JSON and raw tensors, or of one raw tensor alone."""
        body = request.view or request.body
        length = header_length(request.head.headers[HEADER], body)
        if length:
            binaries: KnownBinaries = model.prepared.get(_BINARIES) or model.prepared.setdefault(_BINARIES, KnownBinaries())
            known = binaries.find(body, length)
            if known is not None:
                inputs = known.tensors(body)
                return known, inputs, self._accept(model, inputs, "")
            text = bytes(body[:length])
            asked, inputs, rows = self._unusual(model, request, memoryview(body)[length:], text)
            binaries.learn(text, asked, inputs, _wanted(model.signature, asked), model.signature)
            return asked, inputs, rows
        inputs = raw_request(body, model.signature, model.name)
        return _RAW, inputs, self._accept(model, inputs, "")

    def _usual(self, model: LoadedModel, body: bytes) -> tuple["_FloatRequest", dict[str, Tensor] | None, int]:
        """The short road of one matrix of finite floats in a flat list: request, tensors and rows. No tensors where it is anything else."""
        acceptance = model.acceptance
        if len(body) >= MIN_BYTES:
            large = self._large.read(body, acceptance, self._dataplane.max_rows)
            if large is None:
                return _PLAIN, None, 0
            asked = _PLAIN if large.id is None else _FloatRequest(inputs=[], id=large.id)
            return asked, {acceptance.name: large.tensor}, large.tensor.shape[0]
        bodies = self._bodies(model)
        try:
            known = bodies.find(body)
            if known is not None:
                said, data = known
                if acceptance.takes(data):
                    return _PLAIN, {acceptance.name: np.array(data, acceptance.dtype).reshape(said.shape)}, said.rows
            asked = _decode_floats(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _PLAIN, None, 0
        only = asked.inputs[0] if len(asked.inputs) == 1 else None
        if only is None or asked.outputs or only.parameters or not acceptance.takes(only.data) or not self._fits(only, acceptance):
            return _PLAIN, None, 0
        check_unique(body, _keys(asked))
        if asked.id is None and asked.outputs is None and asked.parameters is None:
            bodies.learn(body, only.shape, only.data)
        return asked, {only.name: np.array(only.data, acceptance.dtype).reshape(only.shape)}, only.shape[0]

    def _bodies(self, model: LoadedModel) -> KnownBodies:
        bodies: KnownBodies = model.prepared.get(_BODIES) or model.prepared.setdefault(_BODIES, KnownBodies())
        return bodies

    def _unusual(
        self, model: LoadedModel, request: Request, blobs: memoryview, body: bytes | None = None
    ) -> tuple["_AnyRequest", dict[str, Tensor], int]:
        """Everything else, and the errors. Raises InvalidInput, TooLarge."""
        try:
            text = request.body if body is None else body
            check_inference(text, model.signature, self._dataplane.settings)
            asked = self._decode(text)
            check_unique(text, _keys(asked))
            inputs = self._tensors(asked, model, Blobs(blobs, model.name))
            wanted = _wanted(model.signature, asked)
            check_forms(wanted, model.signature)
        except AweighError as error:
            refuse(error, model.name, "")
        rows = self._accept(model, inputs, asked.id or "")
        check_memory(wanted, model.signature, rows, self._dataplane.regions)
        return asked, inputs, rows

    def _accept(self, model: LoadedModel, inputs: dict[str, Tensor], identity: str) -> int:
        try:
            return model.acceptance.rows(inputs, self._dataplane.max_rows)
        except AweighError as error:
            refuse(error, model.name, identity)

    def _fits(self, given: "_FloatInput", acceptance: Acceptance) -> bool:
        shape = given.shape
        return (
            given.name == acceptance.name
            and given.datatype == acceptance.datatype
            and tuple(shape[1:]) == acceptance.tail
            and len(shape) == acceptance.rank
            and 0 <= shape[0] <= self._dataplane.max_rows
            and len(given.data) == count_of(shape)
        )

    def _decode(self, body: bytes) -> "_AnyRequest":
        check_depth(body, self._max_depth)
        try:
            return _decode_any(body)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"not an inference request: {error}", hint=_EXAMPLE) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._decode_tolerant(body)

    def _decode_tolerant(self, body: bytes) -> "_AnyRequest":
        """JSON with bare NaN tokens, or an error that says where it is broken."""
        try:
            asked = msgspec.convert(parse_json(body, self._max_depth), _AnyRequest)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for half a surrogate pair where an object should be
            raise InvalidInput(f"not an inference request: {error}", hint=_EXAMPLE) from None
        bytes_of(asked.id)  # Python's own parser lets a lone surrogate pass, which no answer could repeat
        return asked

    def _tensors(self, asked: "_AnyRequest", model: LoadedModel, blobs: Blobs) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for at, given in enumerate(asked.inputs):
            place = f"$.inputs[{at}]"
            spec = input_spec(model.signature, given.name, given.datatype, tensors, place)
            check_shape(given.shape, self._max_elements, place)
            raw = self._raw(given, blobs)
            if raw is None:
                tensors[given.name] = json_to_tensor(given.data, spec.datatype, given.shape, place, given.name)
            else:
                tensors[given.name] = raw_tensor(raw, spec, tuple(given.shape), model.name)
        blobs.finish()
        return tensors

    def _raw(self, given: "_AnyInput", blobs: Blobs) -> bytes | memoryview | None:
        """The bytes of an input that is not sent as JSON. Raises InvalidInput unless exactly one form is sent."""
        parameters = given.parameters or {}
        memory = memory_of(parameters)
        if (given.data is not None) + (_SIZE in parameters) + (memory is not None) != 1:
            is_set = {"data": given.data is not None, _SIZE: _SIZE in parameters, REGION: memory is not None}
            found = " ".join(f"'{form}'" for form, sent in is_set.items() if sent)
            raise InvalidInput(f"{_ONE_FORM} But {f'set {found}' if found else 'no field is set'}", hint=f"input '{given.name}'")
        if memory is not None:
            return self._dataplane.regions.place(*memory).read()
        return blobs.take(given.name, parameters[_SIZE]) if _SIZE in parameters else None

    def _encode(self, model: LoadedModel, asked: "_FloatRequest | _AnyRequest | KnownBinary", outputs: list[Tensor]) -> Response:
        if isinstance(asked, KnownBinary):
            return asked.answer(model, outputs)
        if asked.outputs or asked.id is not None or asked.parameters is not None:
            return _encode_selected(model, asked, outputs, self._dataplane.regions)
        form, encoders = _template(model, outputs)
        if len(encoders) == 2:  # a classifier's label and probabilities: a loop would cost more than the work
            return Response(200, form % (encoders[0](outputs[0]), encoders[1](outputs[1])))
        return Response(200, form % tuple([encode(output) for encode, output in zip(encoders, outputs, strict=True)]))


def _is_binary(headers: Mapping[bytes, bytes]) -> bool:
    return HEADER in headers


def _keys(asked: "_FloatRequest | _AnyRequest") -> int:
    """How many keys the JSON of a request has, all that were understood."""
    objects: list[Any] = [*asked.inputs, *(asked.outputs or ())]
    given = sum(len(each.parameters) + 1 for each in (asked, *objects) if each.parameters is not None)
    named = 4 * len(asked.inputs) - sum(each.data is None for each in asked.inputs) + len(asked.outputs or ())
    return 1 + (asked.id is not None) + (asked.outputs is not None) + named + given


def _wanted(signature: Signature, asked: "_FloatRequest | _AnyRequest") -> tuple[Wanted, ...]:
    return wanted_outputs(signature, [(output.name, output.parameters) for output in asked.outputs or ()], asked.parameters)


def _encode_selected(model: LoadedModel, asked: "_FloatRequest | _AnyRequest", outputs: list[Tensor], regions: Regions) -> Response:
    """An answer with an id, with outputs that were named, in classes, in binary or in shared memory."""
    signature, blobs, binary = model.signature, list[bytes | memoryview](), False
    answer: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
    answer |= {"model_name": model.name, "model_version": model.version, "outputs": []}
    for at, in_binary, classes, memory in _wanted(signature, asked):
        spec, output = signature.outputs[at], outputs[at]
        if classes:
            output = classified(output, classes, spec, signature)
            spec = msgspec.structs.replace(spec, datatype=Datatype.BYTES)
        entry = _entry(spec, output)
        if memory is not None:
            write_output(regions, memory, spec.name, raw_output(output, spec.datatype))
        elif in_binary:
            blobs.append(raw := raw_output(output, spec.datatype))
            entry["parameters"] = {"binary_data_size": len(raw)}
            binary = True
        else:
            entry["data"] = orjson.Fragment(values_encoder(spec, output.size)(output))
        answer["outputs"].append(entry)
    return binary_answer(answer, blobs) if binary else Response(200, orjson.dumps(answer))


_SIZE: Final = "binary_data_size"
_ONE_FORM: Final = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'."
)
_EXAMPLE: Final = 'expected {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'


def _tensor_metadata(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": spec.wire_shape}


def _entry(spec: TensorSpec, output: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": [int(size) for size in output.shape]}


def _template(model: LoadedModel, outputs: list[Tensor]) -> _Template:
    key = (outputs[0].shape, outputs[1].shape) if len(outputs) == 2 else tuple([output.shape for output in outputs])
    prepared: dict[tuple[tuple[int, ...], ...], _Template] | None = model.prepared.get(OpenInferenceRest.name)
    if prepared is None:
        prepared = model.prepared[OpenInferenceRest.name] = {}
    template = prepared.get(key)
    if template is None:
        names = orjson.dumps({"model_name": model.name, "model_version": model.version})[:-1] + b',"outputs":['
        heads = [
            orjson.dumps(_entry(spec, output))[:-1] + b',"data":' for spec, output in zip(model.signature.outputs, outputs, strict=True)
        ]
        constant = b"},".join(head.replace(b"%", b"%%") + b"%b" for head in heads)
        encoders = tuple(values_encoder(spec, output.size) for spec, output in zip(model.signature.outputs, outputs, strict=True))
        template = _Template(names.replace(b"%", b"%%") + constant + b"}]}", encoders)
        if len(prepared) >= _MAX_PREPARED:
            prepared.clear()
        prepared[key] = template
    return template

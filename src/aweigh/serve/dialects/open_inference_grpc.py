"""Open Inference V2 over gRPC (GRPCInferenceService) and grpc.health.v1, over the wire's own HTTP/2.

Answers carry raw contents, as Triton's do, put together from a prefix that is encoded once per model and output shape.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

import aweigh
from aweigh.core.errors import AweighError, InternalError, InvalidInput, ModelNotFound, NotFound, NotReady, Unsupported
from aweigh.core.signature import TensorSpec
from aweigh.core.tensors import Datatype, Tensor, to_raw
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.protos import message
from aweigh.serve.asked import (
    EXTENSIONS,
    check_input_parameters,
    input_spec,
    output_positions,
    parameters_of,
    raw_tensor,
    refuse,
    take_parameters,
    wanted_outputs,
)
from aweigh.serve.classes import classified
from aweigh.serve.dialects.open_inference_grpc_models import ModelMethods
from aweigh.serve.dialects.open_inference_grpc_streams import HealthWatch, InferStream
from aweigh.serve.known_requests import KnownRequests, varint
from aweigh.serve.large_requests import check_small, most_elements
from aweigh.serve.message import AnyResponse, Conversation, GrpcResponse, Request, Talk
from aweigh.serve.message_bounds import LARGE, check_inference
from aweigh.serve.outcome import answer_later
from aweigh.serve.router import Permission, Route
from aweigh.serve.status import grpc_error
from aweigh.serve.tensor_json import check_shape, numbers_to_tensor, texts_to_tensor

_SERVICE: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_MAX_PREPARED: Final = 64
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_SERVICES: Final = frozenset({"", "inference.GRPCInferenceService", "grpc.health.v1.Health"})

_InferRequest: Final = message("inference.ModelInferRequest")
_InferResponse: Final = message("inference.ModelInferResponse")
_parse_infer = _InferRequest.FromString

_CONTENTS: Final[dict[Datatype, str]] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


_PACKED: Final = frozenset({Datatype.BYTES, Datatype.BF16})


class OpenInferenceGrpc:
    """The dialect."""

    name = "open-inference-grpc"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._max_elements = dataplane.settings.max_elements
        self._known = KnownRequests()

    def routes(self) -> list[Route]:
        def route(service: str, method: str, handler: Any, permission: Permission = Permission.PREDICT) -> Route:
            return Route(method="POST", template=service + method, permission=permission, handler=handler, failure=self.failure, grpc=True)

        public = Permission.PUBLIC
        return [
            *ModelMethods(self._dataplane, _parsed).routes(route),
            route(_SERVICE, "ModelInfer", self._infer),
            route(_SERVICE, "ServerLive", _unary("inference.ServerLiveRequest", self._server_live), public),
            route(_SERVICE, "ServerReady", _unary("inference.ServerReadyRequest", self._server_ready), public),
            route(_SERVICE, "ModelReady", _unary("inference.ModelReadyRequest", self._model_ready), public),
            route(_SERVICE, "ServerMetadata", _unary("inference.ServerMetadataRequest", self._server_metadata)),
            route(_SERVICE, "ModelMetadata", _unary("inference.ModelMetadataRequest", self._model_metadata)),
            self._stream(_SERVICE, "ModelStreamInfer", partial(InferStream, self._infer), Permission.PREDICT),
            self._stream(_HEALTH, "Watch", partial(HealthWatch, self._dataplane, self._watched), public),
            route(_HEALTH, "Check", _unary("grpc.health.v1.HealthCheckRequest", self._health), public),
        ]

    def _stream(self, service: str, method: str, converse: Callable[[Talk], Conversation], permission: Permission) -> Route:
        return Route(
            method="POST",
            template=service + method,
            permission=permission,
            handler=_needs_http2,
            failure=self.failure,
            grpc=True,
            converse=converse,
        )

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return grpc_error(error)

    def _server_live(self, asked: Any) -> Any:
        return message("inference.ServerLiveResponse")(live=True)

    def _server_ready(self, asked: Any) -> Any:
        return message("inference.ServerReadyResponse")(ready=self._dataplane.ready)

    def _model_ready(self, asked: Any) -> Any:
        try:
            self._dataplane.find(asked.name, asked.version)
        except (NotReady, NotFound):
            return message("inference.ModelReadyResponse")(ready=False)
        return message("inference.ModelReadyResponse")(ready=True)

    def _server_metadata(self, asked: Any) -> Any:
        return message("inference.ServerMetadataResponse")(name="aweigh", version=aweigh.__version__, extensions=EXTENSIONS)

    def _model_metadata(self, asked: Any) -> Any:
        model = self._dataplane.find(asked.name, asked.version)
        answer = message("inference.ModelMetadataResponse")(
            name=model.name, versions=self._dataplane.versions(model.name), platform=f"aweigh_{model.variant.runtime}"
        )
        for specs, field in ((model.signature.inputs, answer.inputs), (model.signature.outputs, answer.outputs)):
            for spec in specs:
                field.add(name=spec.name, datatype=spec.datatype.value, shape=spec.wire_shape)
        return answer

    def _watched(self, service: str) -> int:
        """The status of a service to one who watches it: of one that is not there, that it is unknown."""
        if service not in _SERVICES:
            try:
                self._dataplane.find(service)
            except NotReady:
                return _NOT_SERVING
            except ModelNotFound:
                return _SERVICE_UNKNOWN
        return _SERVING if self._dataplane.ready else _NOT_SERVING

    def _health(self, asked: Any) -> Any:
        if asked.service not in _SERVICES:
            try:
                self._dataplane.find(asked.service)
            except ModelNotFound as error:
                raise ModelNotFound(error.message) from None  # anyone may ask: the hint would tell strangers what there is
        return message("grpc.health.v1.HealthCheckResponse")(status=_SERVING if self._dataplane.ready else _NOT_SERVING)

    def _infer(self, request: Request) -> AnyResponse | None:
        began = perf_counter()
        payload = _payload(request.body)
        known = self._known.find(payload)
        if known is not None:
            model = self._dataplane.find(known.model, known.version)
            acceptance = model.acceptance
            if acceptance.simple and acceptance.name == known.input and acceptance.datatype == known.datatype:
                inputs: dict[str, Tensor] = {known.input: np.frombuffer(known.raw(payload), acceptance.dtype).reshape(known.shape)}
                chosen = output_positions(model.signature, known.wanted) if known.wanted else None
                return self._run(request, model, inputs, "", chosen, (), began)
        try:
            if len(payload) >= LARGE:
                check_inference(memoryview(payload), self._most_elements)
            asked = _parse_infer(payload)
        except DecodeError:
            raise _undecodable("ModelInferRequest") from None
        model = self._dataplane.find(asked.model_name, asked.model_version)
        try:
            inputs = self._tensors(asked, model)
            wanted = wanted_outputs(model.signature, [(output.name, parameters_of(output.parameters)) for output in asked.outputs], None)
            take_parameters(parameters_of(asked.parameters), request)
        except AweighError as error:
            model.statistics.failure(error.kind)
            refuse(error, model.name, asked.id)
        self._known.learn(payload, asked)
        chosen = tuple(output.at for output in wanted) if asked.outputs else None
        classes = tuple(output.classes for output in wanted)
        return self._run(request, model, inputs, asked.id, chosen, classes if any(classes) else (), began)

    def _most_elements(self, name: str, version: str) -> int:
        return most_elements(self._dataplane.find(name, version).signature, self._dataplane.settings)

    def _run(
        self,
        request: Request,
        model: LoadedModel,
        inputs: dict[str, Tensor],
        identity: str,
        chosen: tuple[int, ...] | None,
        classes: tuple[int, ...],
        began: float,
    ) -> AnyResponse | None:
        try:
            rows = self._dataplane.accept(model, inputs)
        except AweighError as error:
            refuse(error, model.name, identity)
        statistics = model.statistics
        statistics.decoding_s += perf_counter() - began
        if rows <= model.inline_rows:
            response = _encode(model, identity, chosen, classes, self._dataplane.run(model, inputs, rows))
            statistics.encoding_s += perf_counter() - statistics.last
            return response
        encode = partial(_encode, model, identity, chosen, classes)
        self._dataplane.submit(model, inputs, rows, request, partial(answer_later, request, encode))
        return None

    def _tensors(self, asked: Any, model: LoadedModel) -> dict[str, Tensor]:
        raw = asked.raw_input_contents
        given = asked.inputs
        if raw and len(raw) != len(given):
            raise InvalidInput(
                f"raw_input_contents has {len(raw)} entries for {len(given)} inputs", hint="send one for each input, or none at all"
            )
        tensors: dict[str, Tensor] = {}
        for at, tensor in enumerate(given):
            name, place = tensor.name, f"$.inputs[{at}]"
            spec = input_spec(model.signature, name, tensor.datatype, tensors, place)
            shape = list(tensor.shape)
            check_input_parameters(parameters_of(tensor.parameters), name)
            check_shape(shape, self._max_elements, place)
            if raw:
                tensors[name] = raw_tensor(raw[at], spec, tuple(shape), model.name)
            else:
                tensors[name] = _typed_contents(tensor, spec, shape, place)
        return tensors


def _needs_http2(_: Request) -> AnyResponse:
    raise Unsupported("a streaming gRPC method was called over HTTP/1.1", hint="use HTTP/2")


def _payload(body: bytes) -> bytes:
    """The message of a gRPC frame (gRPC over HTTP/2: a flag, four bytes of length, the message). Raises InvalidInput, InternalError."""
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise InvalidInput("the body is not one whole gRPC message", hint="this method is unary: send exactly one message")
    if body[0] == 1:
        raise InternalError("a compressed message without a grpc-encoding", hint="say how it is compressed")  # the gRPC spec's own status
    if body[0]:
        raise InvalidInput(f"a gRPC message flag of {body[0]}")
    return body[5:]


def _undecodable(name: str) -> InvalidInput:
    return InvalidInput(f"the message is not a {name}", hint="check the client's .proto file")


def _unary(request_name: str, handler: Callable[[Any], Any]) -> Callable[[Request], GrpcResponse]:
    """A method that answers one message with another, at once."""

    def handle(request: Request) -> GrpcResponse:
        return GrpcResponse(handler(_parsed(request_name, request)).SerializeToString())

    return handle


def _parsed(name: str, request: Request) -> Any:
    check_small(request.body)
    try:
        return message(name).FromString(_payload(request.body))
    except DecodeError:
        raise _undecodable(name.rpartition(".")[2]) from None


def _typed_contents(tensor: Any, spec: TensorSpec, shape: list[int], place: str) -> Tensor:
    """Read `contents`, the typed form. FP16 and BF16 exist in raw form only."""
    field = _CONTENTS.get(spec.datatype)
    if field is None:
        raise InvalidInput(f"{place}: {spec.datatype.value} is sent in raw_input_contents only")
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidInput(f"{place}.contents: {spec.datatype.value} is sent in {field}, not in {other.name}")
    data = getattr(tensor.contents, field)
    if spec.datatype is not Datatype.BYTES:
        return numbers_to_tensor(list(data), spec.datatype, shape, f"{place}.contents.{field}")
    return texts_to_tensor(list(data), shape, f"{place}.contents.{field}")


def _encode(
    model: LoadedModel, identity: str, chosen: tuple[int, ...] | None, classes: tuple[int, ...], outputs: list[Tensor]
) -> GrpcResponse:
    if classes:
        return _encode_classes(model, identity, chosen or (), classes, outputs)
    specs = model.signature.outputs
    pieces = [_prefix(model, outputs, chosen)]
    if identity:
        raw_id = identity.encode()
        pieces += (b"\x1a", varint(len(raw_id)), raw_id)
    for at in chosen if chosen is not None else range(len(specs)):
        output, datatype = outputs[at], specs[at].datatype
        raw = output.tobytes() if output.dtype is datatype.dtype and datatype not in _PACKED else to_raw(output, datatype)
        pieces += (b"\x32", varint(len(raw)), raw)
    return GrpcResponse(b"".join(pieces))


def _encode_classes(
    model: LoadedModel, identity: str, chosen: tuple[int, ...], classes: tuple[int, ...], outputs: list[Tensor]
) -> GrpcResponse:
    answer = _InferResponse(model_name=model.name, model_version=model.version, id=identity)
    for at, count in zip(chosen, classes, strict=True):
        spec, output = model.signature.outputs[at], outputs[at]
        datatype = Datatype.BYTES if count else spec.datatype
        if count:
            output = classified(output, count, spec, model.signature)
        answer.outputs.add(name=spec.name, datatype=datatype.value, shape=[int(size) for size in output.shape])
        answer.raw_output_contents.append(to_raw(output, datatype))
    return GrpcResponse(answer.SerializeToString())


def _prefix(model: LoadedModel, outputs: list[Tensor], chosen: tuple[int, ...] | None) -> bytes:
    """The answer without its id and values: fields 1, 2 and 5 of ModelInferResponse, for these output shapes."""
    key = (chosen, *[output.shape for output in outputs])
    prepared: dict[object, bytes] = model.prepared.setdefault(OpenInferenceGrpc.name, {})
    prefix = prepared.get(key)
    if prefix is None:
        answer = _InferResponse(model_name=model.name, model_version=model.version)
        for at in chosen if chosen is not None else range(len(outputs)):
            spec = model.signature.outputs[at]
            answer.outputs.add(name=spec.name, datatype=spec.datatype.value, shape=[int(size) for size in outputs[at].shape])
        prefix = bytes(answer.SerializeToString())
        if len(prepared) >= _MAX_PREPARED:
            prepared.clear()
        prepared[key] = prefix
    return prefix

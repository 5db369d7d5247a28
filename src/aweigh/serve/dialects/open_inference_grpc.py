"""Open Inference V2 over gRPC (GRPCInferenceService) and grpc.health.v1, over the wire's own HTTP/2.

Answers carry raw contents, as Triton's do, put together from a prefix that is encoded once per model and output shape.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

import aweigh
from aweigh.core.errors import AweighError, InternalError, InvalidInput, ModelNotFound, NotFound, NotReady, Unsupported
from aweigh.core.signature import TensorSpec
from aweigh.core.tensors import PACKED, Datatype, Tensor, to_raw
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.regions import Regions
from aweigh.protos import message
from aweigh.serve.asked import (
    Wanted,
    check_memory,
    extensions,
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
from aweigh.serve.dialects.open_inference_grpc_server import ServerMethods
from aweigh.serve.dialects.open_inference_grpc_streams import SERVICES, HealthWatch, InferStream
from aweigh.serve.dialects.open_inference_grpc_turn import GrpcTurn
from aweigh.serve.known_requests import KnownRequest, KnownRequests, varint
from aweigh.serve.large_requests import check_small, most_elements
from aweigh.serve.message import AnyResponse, Conversation, GrpcResponse, Request, Talk
from aweigh.serve.message_bounds import LARGE, parted
from aweigh.serve.outcome import answer_later, timed
from aweigh.serve.router import Permission, Route
from aweigh.serve.shared_memory import Memory, memory_of, write_output
from aweigh.serve.status import grpc_error
from aweigh.serve.tensor_json import check_shape, numbers_to_tensor, texts_to_tensor

_SERVICE: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_MAX_PREPARED: Final = 64
_TURN: Final = "open-inference-grpc turn"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3

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


class _Asked(NamedTuple):
    """What a request wants to be told: its own id, and which outputs (all where None). `special`: how, where it is not as they are."""

    identity: str = ""
    chosen: tuple[int, ...] | None = None
    special: tuple[Wanted, ...] = ()


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
            *ServerMethods(self._dataplane, _parsed).routes(route),
            dataclasses.replace(route(_SERVICE, "ModelInfer", self._infer), views=lambda _: True),
            route(_SERVICE, "ServerLive", _unary("inference.ServerLiveRequest", self._server_live), public),
            route(_SERVICE, "ServerReady", _unary("inference.ServerReadyRequest", self._server_ready), public),
            route(_SERVICE, "ModelReady", _unary("inference.ModelReadyRequest", self._model_ready)),
            route(_SERVICE, "ServerMetadata", _unary("inference.ServerMetadataRequest", self._server_metadata)),
            route(_SERVICE, "ModelMetadata", _unary("inference.ModelMetadataRequest", self._model_metadata)),
            self._stream(_SERVICE, "ModelStreamInfer", partial(InferStream, self._infer), Permission.PREDICT),
            self._stream(_HEALTH, "Watch", partial(HealthWatch, self._dataplane, self._watched), public),
            route(_HEALTH, "Check", self._health, public),
        ]

    def _stream(self, service: str, method: str, converse: Callable[[Talk], Conversation], permission: Permission) -> Route:
        return Route(
            method="POST",
            template=service + method,
            permission=permission,
            handler=_needs_http2,
            again=self._infer,
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
            ready = self._dataplane.find(asked.name, asked.version).ready
        except (NotReady, NotFound):
            ready = False
        return message("inference.ModelReadyResponse")(ready=ready)

    def _server_metadata(self, asked: Any) -> Any:
        return message("inference.ServerMetadataResponse")(
            name="aweigh", version=aweigh.__version__, extensions=extensions(self._dataplane)
        )

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
        """The status of a service, or of a model by its name, to one who watches it: of one that is not there, that it is unknown."""
        ready = self._dataplane.ready
        if service not in SERVICES:
            try:
                ready = self._dataplane.find(service).ready and ready
            except NotReady:
                return _NOT_SERVING
            except ModelNotFound:
                return _SERVICE_UNKNOWN
        return _SERVING if ready else _NOT_SERVING

    def _health(self, request: Request) -> GrpcResponse:
        service = _parsed("grpc.health.v1.HealthCheckRequest", request).service
        if service not in SERVICES:
            request.head.check_known()
            self._dataplane.named(service, "")
        status = self._watched(service)
        return GrpcResponse(message("grpc.health.v1.HealthCheckResponse")(status=status).SerializeToString())

    def _infer(self, request: Request) -> AnyResponse | None:
        if request.view is not None:
            return self._answer(request, self._known.find_view(request.view), now=False)
        known = self._known.find(request.body)
        if known is not None:
            model = self._dataplane.choose(known.model, known.version, request)
            if model.carried and self._turn(model).take(request, known):
                return None
        return self._answer(request, known, now=False)

    def _turn(self, model: LoadedModel) -> GrpcTurn:
        turn: GrpcTurn | None = model.prepared.get(_TURN)
        if turn is None:
            turn = model.prepared[_TURN] = GrpcTurn(
                model, self._alone, partial(self._encode, model, _Asked()), partial(_prefix, model, None), self._dataplane.max_rows
            )
        return turn

    def _alone(self, request: Request) -> AnyResponse:
        """Run by itself what failed with others."""
        response = self._answer(request, None, now=True)
        if response is None:
            raise InternalError("a request that was to run at once did not")
        return response

    def _answer(self, request: Request, known: KnownRequest | None, *, now: bool) -> AnyResponse | None:
        began = perf_counter()
        if known is not None:
            model = self._dataplane.choose(known.model, known.version, request)
            acceptance = model.acceptance
            if acceptance.simple and acceptance.name == known.input and acceptance.datatype == known.datatype:
                inputs: dict[str, Tensor] = {
                    known.input: np.frombuffer(known.raw(request.view or request.body), acceptance.dtype).reshape(known.shape)
                }
                chosen = output_positions(model.signature, known.wanted) if known.wanted else None
                return self._run(request, model, inputs, _Asked(chosen=chosen), began, now=now)
        body = request.body if request.view is None else request.view
        asked, raw = self._parse(body)
        model = self._dataplane.choose(asked.model_name, asked.model_version, request)
        try:
            inputs = self._tensors(asked, raw, model)
            wanted = wanted_outputs(model.signature, [(output.name, parameters_of(output.parameters)) for output in asked.outputs], None)
            take_parameters(parameters_of(asked.parameters), request, began)
        except AweighError as error:
            model.statistics.failure(error.kind, perf_counter() - began)
            refuse(error, model.name, asked.id)
        self._known.learn(body, asked, raw)
        chosen = tuple(output.at for output in wanted) if asked.outputs else None
        special = wanted if any(output.classes or output.memory for output in wanted) else ()
        told = _Asked(identity=asked.id, chosen=chosen, special=special)
        return self._run(request, model, inputs, told, began, now=now)

    def _parse(self, body: bytes | memoryview) -> tuple[Any, Sequence[bytes | memoryview]]:
        """The message, and its raw contents: of a large one they are not copied, and what it holds beside them is counted before it is built."""
        payload = _payload(body)
        try:
            if len(payload) < LARGE:
                asked = _parse_infer(payload)
                return asked, asked.raw_input_contents
            beside, raw = parted(memoryview(payload), self._most_elements)
            return _parse_infer(beside), raw
        except DecodeError:
            raise _undecodable("ModelInferRequest") from None

    def _most_elements(self, name: str, version: str) -> int:
        return most_elements(self._dataplane.find(name, version).signature, self._dataplane.settings)

    def _run(
        self, request: Request, model: LoadedModel, inputs: dict[str, Tensor], told: _Asked, began: float, *, now: bool
    ) -> AnyResponse | None:
        statistics = model.statistics
        try:
            rows = model.acceptance.rows(inputs, self._dataplane.max_rows)
            check_memory(told.special, model.signature, rows, self._dataplane.regions)
        except AweighError as error:
            statistics.failure(error.kind, perf_counter() - began)
            refuse(error, model.name, told.identity)
        decoding_s = perf_counter() - began
        if now or rows <= model.immediate_rows:
            response = self._encode(model, told, self._dataplane.run(model, inputs, rows))
            statistics.decoding_s += decoding_s
            statistics.encoding_s += perf_counter() - statistics.last
            return response
        encode = timed(partial(self._encode, model, told), model, rows, decoding_s)
        self._dataplane.submit(model, inputs, rows, request, partial(answer_later, request, encode))
        return None

    def _tensors(self, asked: Any, raw: Sequence[bytes | memoryview], model: LoadedModel) -> dict[str, Tensor]:
        given = asked.inputs
        memories = [memory_of(parameters_of(tensor.parameters)) for tensor in given]
        if raw and len(raw) != memories.count(None):
            raise InvalidInput(
                f"raw_input_contents has {len(raw)} entries for {memories.count(None)} inputs",
                hint="send one for each input, or none at all",
            )
        raws, tensors = iter(raw), dict[str, Tensor]()
        for at, (tensor, memory) in enumerate(zip(given, memories, strict=True)):
            name, place = tensor.name, f"$.inputs[{at}]"
            spec = input_spec(model.signature, name, tensor.datatype, tensors, place)
            shape = list(tensor.shape)
            check_shape(shape, self._max_elements, place)
            if memory is not None:
                tensors[name] = raw_tensor(self._shared(tensor, memory, model), spec, tuple(shape), model.name)
            elif raw:
                given_raw = raw_tensor(next(raws), spec, tuple(shape), model.name)
                tensors[name] = given_raw if given_raw.flags.aligned else given_raw.copy()  # native code may count on it
            else:
                tensors[name] = _typed_contents(tensor, spec, shape, place)
        return tensors

    def _shared(self, tensor: Any, memory: Memory, model: LoadedModel) -> bytes:
        if tensor.HasField("contents"):
            raise InvalidInput(
                f"unexpected 'content' provided when using shared memory for input tensor '{tensor.name}' for model '{model.name}'"
            )
        return self._dataplane.regions.place(*memory).read()

    def _encode(self, model: LoadedModel, told: _Asked, outputs: list[Tensor]) -> GrpcResponse:
        if told.special:
            return _encode_special(model, told.identity, told.special, outputs, self._dataplane.regions)
        return _encode(model, told.identity, told.chosen, outputs)


def _needs_http2(_: Request) -> AnyResponse:
    raise Unsupported("a streaming gRPC method was called over HTTP/1.1", hint="use HTTP/2")


def _payload(body: bytes | memoryview) -> bytes | memoryview:
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
        return message(name).FromString(bytes(_payload(request.body)))
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


def _encode(model: LoadedModel, identity: str, chosen: tuple[int, ...] | None, outputs: list[Tensor]) -> GrpcResponse:
    specs = model.signature.outputs
    pieces = [_prefix(model, chosen, outputs)]
    if identity:
        raw_id = identity.encode()
        pieces += (b"\x1a", varint(len(raw_id)), raw_id)
    for at in chosen if chosen is not None else range(len(specs)):
        output, datatype = outputs[at], specs[at].datatype
        raw = output.tobytes() if output.dtype is datatype.dtype and datatype not in PACKED else to_raw(output, datatype)
        pieces += (b"\x32", varint(len(raw)), raw)
    return GrpcResponse(b"".join(pieces))


def _encode_special(model: LoadedModel, identity: str, wanted: tuple[Wanted, ...], outputs: list[Tensor], regions: Regions) -> GrpcResponse:
    """An answer with outputs in classes or in shared memory; what lies there has an empty entry among the raw contents, as with Triton."""
    answer = _InferResponse(model_name=model.name, model_version=model.version, id=identity)
    for at, _, count, memory in wanted:
        spec, output = model.signature.outputs[at], outputs[at]
        datatype = Datatype.BYTES if count else spec.datatype
        if count:
            output = classified(output, count, spec, model.signature)
        answer.outputs.add(name=spec.name, datatype=datatype.value, shape=[int(size) for size in output.shape])
        raw = to_raw(output, datatype)
        if memory is not None:
            write_output(regions, memory, spec.name, raw)
        answer.raw_output_contents.append(b"" if memory is not None else raw)
    return GrpcResponse(answer.SerializeToString())


def _prefix(model: LoadedModel, chosen: tuple[int, ...] | None, outputs: list[Tensor]) -> bytes:
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

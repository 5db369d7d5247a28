"""Open Inference V2 over gRPC, by grpcio and the messages of `aweigh.protos`. Loaded by `Client` through the plug-in table."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import grpc

from aweigh.client.arrays import answered, object_array, text_where_possible, wire_arrays
from aweigh.client.frames import predictions_of, signature_of, tensors_of
from aweigh.client.retrying import RETRY_AFTER
from aweigh.client.values import Endpoint, InferRequest, InferResult, ModelMetadata, Row, ServerMetadata, TensorMetadata
from aweigh.core import errors
from aweigh.core.errors import AweighError, InternalError, InvalidInput
from aweigh.core.tensors import Datatype, Tensor, from_raw, to_raw
from aweigh.protos import message

_SERVICE: Final = "inference.GRPCInferenceService"
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # `RetryPolicy` retries, under the caller's deadline
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_BY_STATUS: Final[dict[grpc.StatusCode, type[AweighError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Refused,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.Denied,
    grpc.StatusCode.NOT_FOUND: errors.ModelNotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
}
_BY_CODE: Final = {cls.code: cls for cls in errors.all_errors()}
_CONTENTS: Final = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents", "FP32": "fp32_contents",
    "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


class GrpcTransport:
    """One channel to one server. Messages are Any: their classes are made at run time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._address = endpoint.address
        self._headers = (("authorization", f"Bearer {endpoint.api_key}"),) if endpoint.api_key else ()
        if endpoint.tls:
            authorities = Path(endpoint.ca_file).read_bytes() if endpoint.ca_file else None
            self._channel = grpc.secure_channel(endpoint.address, grpc.ssl_channel_credentials(authorities), options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.address, options=_OPTIONS)
        methods = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
        self._methods = {name: self._method(name) for name in methods}

    def _method(self, name: str) -> Any:
        return self._channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=message(f"inference.{name}Request").SerializeToString,
            response_deserializer=message(f"inference.{name}Response").FromString,
        )

    def healthy(self, model: str, version: str, *, live: bool, timeout_s: float) -> bool:
        try:
            if live:
                return bool(self._ask("ServerLive", timeout_s).live)
            if model:
                return bool(self._ask("ModelReady", timeout_s, name=model, version=version).ready)
            return bool(self._ask("ServerReady", timeout_s).ready)
        except errors.ModelNotFound:
            return False

    def server(self, timeout_s: float) -> ServerMetadata:
        answer = self._ask("ServerMetadata", timeout_s)
        return ServerMetadata(name=answer.name, version=answer.version, extensions=tuple(answer.extensions))

    def metadata(self, model: str, version: str, timeout_s: float) -> ModelMetadata:
        answer = self._ask("ModelMetadata", timeout_s, name=model, version=version)
        return ModelMetadata(
            name=answer.name,
            versions=tuple(answer.versions),
            platform=answer.platform,
            inputs=_described(answer.inputs),
            outputs=_described(answer.outputs),
        )

    def infer(self, request: InferRequest, timeout_s: float) -> InferResult:
        answer = self._call("ModelInfer", _infer_message(request), timeout_s)
        return InferResult(
            tensors=_tensors(answer), model_name=answer.model_name or request.model, model_version=answer.model_version, id=answer.id
        )

    def predict(self, model: str, version: str, rows: Sequence[Row], *, request_id: str, timeout_s: float) -> list[dict[str, object]]:
        """Over V2's own messages: the metadata is asked each time, for a promotion may change it."""
        deadline = time.monotonic() + timeout_s
        tensors = tensors_of(rows, signature_of(self.metadata(model, version, timeout_s)))
        left = max(0.001, deadline - time.monotonic())
        return predictions_of(self.infer(InferRequest(model=model, version=version, inputs=tensors, id=request_id), left), len(rows))

    def operate(self, path: str, document: bytes | None, timeout_s: float) -> bytes:
        raise errors.Unsupported("rollouts are asked for over REST", hint="the same port answers http:// as well")

    def close(self) -> None:
        self._channel.close()

    def _ask(self, method: str, timeout_s: float, **fields: str) -> Any:
        return self._call(method, message(f"inference.{method}Request")(**fields), timeout_s)

    def _call(self, method: str, request: Any, timeout_s: float) -> Any:
        try:
            return self._methods[method](request, timeout=timeout_s, metadata=self._headers)
        except grpc.RpcError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Any) -> AweighError:
        status, said = error.code(), str(error.details() or "")
        cls = _BY_STATUS.get(status, InternalError)
        context: dict[str, object] = {"grpc_status": status.name}
        hint = ""
        for name, value in error.trailing_metadata() or ():
            if name == "retry-after" and str(value).isdigit():
                context[RETRY_AFTER] = float(value)
            elif name == "aweigh-code":  # aweigh's own servers say more than a gRPC status can
                cls = _BY_CODE.get(str(value), cls)
            elif name == "aweigh-hint":
                hint = unquote(str(value))
        if not hint and cls is errors.Unavailable:
            hint = "is the server running, and is this its port?"
        return cls(said or f"{self._address} answered {status.name}", hint=hint, **context)


def _described(tensors: Any) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape)) for tensor in tensors)


def _infer_message(request: InferRequest) -> Any:
    made = message("inference.ModelInferRequest")(model_name=request.model, model_version=request.version, id=request.id)
    for wire in wire_arrays(request.inputs.items()):
        if wire.datatype is Datatype.BYTES and any(item is None for item in wire.array.ravel().tolist()):
            raise InvalidInput(f"input '{wire.name}': gRPC cannot tell missing text (None) from empty text", hint="use protocol='rest'")
        made.inputs.add(name=wire.name, datatype=wire.datatype.value, shape=wire.array.shape)
        made.raw_input_contents.append(to_raw(wire.array, wire.datatype))
    for name in request.outputs:
        made.outputs.add(name=name)
    return made


def _tensors(answer: Any) -> dict[str, Tensor]:
    raw = answer.raw_output_contents
    if raw and len(raw) != len(answer.outputs):
        raise InternalError(f"the server's answer has {len(answer.outputs)} outputs and {len(raw)} raw contents")
    return {output.name: _tensor(output, raw[at] if raw else None) for at, output in enumerate(answer.outputs)}


def _tensor(output: Any, raw: bytes | None) -> Tensor:
    if raw is None:  # the typed form, which some servers use
        field = _CONTENTS.get(output.datatype)
        return answered(output.name, output.datatype, tuple(output.shape), list(getattr(output.contents, field)) if field else [])
    try:
        tensor = from_raw(raw, Datatype(output.datatype), tuple(output.shape), name=output.name)
    except (InvalidInput, ValueError) as error:
        raise InternalError(f"output '{output.name}' of the server cannot be read: {error}") from error
    return tensor if tensor.dtype != object else object_array(text_where_possible(tensor.ravel().tolist()), tensor.shape)

"""The streaming methods of gRPC: ModelStreamInfer, one answer for each request and in their order, and Watch of grpc.health.v1."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.engine.dataplane import DataPlane
from aweigh.protos import DecodeError, message
from aweigh.serve.known_requests import varint
from aweigh.serve.message import AnyResponse, GrpcResponse, Handler, Request, Talk
from aweigh.serve.message_bounds import text_of_field
from aweigh.serve.outcome import answer_of, unexpected

SERVICES: Final = frozenset({"", "inference.GRPCInferenceService", "grpc.health.v1.Health"})
"""What anyone may ask the health of; any other name is a model's, and those are told to callers who are known."""
_WATCH_ROUND_S: Final = 0.5
_UNAVAILABLE: Final = 14
_ERROR_MODE: Final = b"triton_grpc_error"
"""Metadata by which a client asks that the first error end the stream, with a status of gRPC."""
_NOT_SERVING: Final = 2
_ID: Final = 3
"""The field `id` of a ModelInferRequest."""
_FINAL: Final = message("inference.ModelInferResponse")(
    parameters={"triton_final_response": message("inference.InferParameter")(bool_param=True)}
).SerializeToString()
"""Says of an answer that it is its request's last, as each is here: clients wait for it. Appended, for that is how protobuf merges."""


class InferStream:
    """One call of ModelStreamInfer. A request that fails is answered with its error; the stream goes on, unless its client wants it to end."""

    def __init__(self, infer: Handler, talk: Talk) -> None:
        self._infer = infer
        self._talk = talk
        self._request: Request | None = None

    def receive(self, message: bytes) -> None:
        """One ModelInferRequest."""
        frame = b"".join((b"\0", len(message).to_bytes(4, "big"), message))
        request = Request(self._talk.head, frame, lambda: self._talk.id, self._reply)
        self._request = request
        try:
            response = self._infer(request)
        except AweighError as error:
            response = answer_of(error, request)
        except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
            response = answer_of(unexpected(request), request)
        if response is not None:
            self._reply(request, response)

    def cancel(self) -> None:
        if self._request is not None:
            self._request.cancelled = True

    def _reply(self, request: Request, response: AnyResponse) -> None:
        if request is not self._request or not isinstance(response, GrpcResponse):
            return
        self._request = None
        if response.code == 0:
            answered = response.message + _FINAL
            self._talk.answer(b"\x12" + varint(len(answered)) + answered)
        elif self._talk.head.headers.get(_ERROR_MODE) == b"true":
            self._talk.finish(response)
            return
        else:
            self._talk.answer(_failed(request, response))
        self._talk.next()


def _failed(request: Request, response: GrpcResponse) -> bytes:
    """The error in words; the request's id goes with it, so that the client can tell which one failed."""
    answer = message("inference.ModelStreamInferResponse")(error_message=response.text)
    answer.infer_response.id = text_of_field(memoryview(request.body)[5:], _ID)
    answer.infer_response.SetInParent()
    return bytes(answer.SerializeToString())


class HealthWatch:
    """One call of Watch: the status now, and again whenever it changes. Ends when the server stops."""

    def __init__(self, dataplane: DataPlane, status: Callable[[str], int], talk: Talk) -> None:
        self._dataplane = dataplane
        self._status = status
        self._talk = talk
        self._service = ""
        self._last = -1
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, message_bytes: bytes) -> None:
        """The one HealthCheckRequest."""
        try:
            self._service = message("grpc.health.v1.HealthCheckRequest").FromString(message_bytes).service
        except DecodeError:
            raise InvalidInput("the message is not a HealthCheckRequest", hint="check the client's .proto file") from None
        if self._service not in SERVICES:
            self._talk.head.check_known()
        self._look()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        status = _NOT_SERVING if self._dataplane.draining else self._status(self._service)
        if status != self._last:
            self._last = status
            answer: Any = message("grpc.health.v1.HealthCheckResponse")(status=status)
            self._talk.answer(answer.SerializeToString())
        if self._dataplane.draining:
            self._talk.finish(GrpcResponse(b"", _UNAVAILABLE, "the server is shutting down"))
        else:
            self._timer = asyncio.get_running_loop().call_later(_WATCH_ROUND_S, self._look)

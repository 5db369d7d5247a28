"""Open Inference V2 over gRPC, Triton's methods about the server: shared memory, log settings, trace settings."""

from collections.abc import Callable
from typing import Any, Final

from aweigh.engine.dataplane import DataPlane
from aweigh.protos import message
from aweigh.serve.asked import no_dynamic_logging, no_tracing, parameters_of
from aweigh.serve.message import GrpcResponse, Request
from aweigh.serve.router import Permission, Route
from aweigh.serve.shared_memory import check_cuda, register_cuda

_SERVICE: Final = "/inference.GRPCInferenceService/"
_PARAMETERS: Final = {bool: "bool_param", int: "uint32_param", str: "string_param"}
Answer = Callable[[Any, Any], None]
"""Fills the answer of a method from what was asked."""


class ServerMethods:
    """Part of the dialect `open-inference-grpc`. All of it is for those who may operate the server."""

    def __init__(self, dataplane: DataPlane, parse: Callable[[str, Request], Any]) -> None:
        self._dataplane = dataplane
        self._regions = dataplane.regions
        self._parse = parse

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        """Its routes, made as the dialect makes them."""
        methods: dict[str, Answer] = {
            "SystemSharedMemoryStatus": self._status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": lambda asked, _: self._regions.unregister(asked.name),
            "CudaSharedMemoryStatus": lambda asked, _: check_cuda(self._regions, asked.name),
            "CudaSharedMemoryRegister": lambda asked, _: register_cuda(self._regions, asked.name),
            "CudaSharedMemoryUnregister": lambda *_: self._regions.check_allowed(),
            "LogSettings": self._logging,
            "TraceSetting": self._trace,
        }
        return [route(_SERVICE, name, self._unary(name, fill), Permission.OPERATE) for name, fill in methods.items()]

    def _unary(self, method: str, fill: Answer) -> Callable[[Request], GrpcResponse]:
        def handle(request: Request) -> GrpcResponse:
            answer = message(f"inference.{method}Response")()
            fill(self._parse(f"inference.{method}Request", request), answer)
            return GrpcResponse(answer.SerializeToString())

        return handle

    def _status(self, asked: Any, answer: Any) -> None:
        for each in self._regions.status(asked.name):
            line = answer.regions[each.name]
            line.name, line.key, line.offset, line.byte_size = each.name, each.key, each.offset, each.byte_size

    def _register(self, asked: Any, _: Any) -> None:
        self._regions.register(asked.name, asked.key, asked.offset, asked.byte_size)

    def _logging(self, asked: Any, answer: Any) -> None:
        if self._dataplane.logs is None:
            raise no_dynamic_logging()
        given = parameters_of(asked.settings) or {}
        self._dataplane.logs.change({name: value for name, value in given.items() if value is not None})
        for name, value in self._dataplane.logs.read().items():
            setattr(answer.settings[name], _PARAMETERS[type(value)], value)

    def _trace(self, asked: Any, _: Any) -> None:
        if asked.model_name:
            self._dataplane.find(asked.model_name)
        raise no_tracing()

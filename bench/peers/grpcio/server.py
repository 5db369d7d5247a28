"""grpcio's asyncio server with compiled messages. `python server.py PORT`, in grpcio's own environment."""

import asyncio
import sys
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench.session import Session

LARGEST = 64 << 20


class Infer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # compiled messages have no types
    def __init__(self) -> None:
        self.session = Session.of_environment()

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # the method's name in the protocol
        return self.session.of_message(request, service_pb2.ModelInferResponse())


async def main(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Infer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

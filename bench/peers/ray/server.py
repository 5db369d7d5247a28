"""Ray Serve: one deployment behind its HTTP and gRPC proxies. `python server.py REST_PORT GRPC_PORT REPLICAS`, in Ray's own environment."""

import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tritonclient.grpc import service_pb2

from bench.session import HEADER_LENGTH, Session


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0})
class Infer:
    def __init__(self) -> None:
        self.session = Session.of_environment()

    async def __call__(self, request: Request) -> Response:
        if HEADER_LENGTH in request.headers:
            body, length = self.session.of_binary(await request.body(), int(request.headers[HEADER_LENGTH]))
            return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})
        return JSONResponse(self.session.of_json((await request.json())["inputs"]))

    async def ModelInfer(self, request: Any) -> Any:  # noqa: N802  # the method's name in the protocol
        return self.session.of_message(request, service_pb2.ModelInferResponse())


if __name__ == "__main__":
    rest_port, grpc_port, replicas = (int(word) for word in sys.argv[1:])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=512 << 20)
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=rest_port),
        grpc_options=gRPCOptions(
            port=grpc_port, grpc_servicer_functions=["tritonclient.grpc.service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"]
        ),
    )
    serve.run(Infer.options(num_replicas=replicas).bind(), route_prefix="/")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()

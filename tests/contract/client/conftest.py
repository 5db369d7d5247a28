"""One small echo server per protocol, on loopback, that fails on request: what the client's transports are held against."""

import concurrent.futures
import dataclasses
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest

from aweigh.client import Client
from aweigh.protos import message, method_names


@dataclasses.dataclass
class Failure:
    """What happens to one inference instead of an answer. `drop` closes the connection, `stall` answers after the test is over."""

    status: int = 503
    code: str = "UNAVAILABLE"
    message: str = "not now"
    retry_after: str = ""
    drop: bool = False
    stall: bool = False
    raw: bytes = b""
    drip: bool = False


@dataclasses.dataclass
class Asked:
    """What the server saw of one request."""

    route: str
    headers: dict[str, str]
    deadline_s: float
    body: Any
    at: float


class Echo:
    """The state of a server: failures still to come and requests seen. The model `echo` answers each input under its own name."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.asked: list[Asked] = []
        self.connections = 0
        self.over = threading.Event()
        self.url = ""

    def fail(self, **how: Any) -> None:
        """One more inference to come fails, as the fields of `Failure` say."""
        self.failures.append(Failure(**how))

    def next_failure(self) -> Failure | None:
        return self.failures.pop(0) if self.failures else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None: ...

    def setup(self) -> None:
        super().setup()
        self.server.echo.connections += 1

    def do_GET(self) -> None:
        known = {
            "/v2": {"name": "echo-server", "version": "9", "extensions": ["none"], "more": 1},
            "/v2/health/live": {},
            "/v2/health/ready": {},
            "/v2/models/echo": METADATA,
            "/v2/models/echo/versions/3": {**METADATA, "versions": ["3"]},
            "/v2/models/echo/ready": {},
        }
        self._saw(None)
        answer = known.get(self.path)
        self._answer(404 if answer is None else 200, json.dumps(answer if answer is not None else {"error": "no such model"}).encode())

    def do_POST(self) -> None:
        echo: Echo = self.server.echo
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._saw(body)
        failure = echo.next_failure()
        if failure is not None:
            self._fail(failure, echo)
            return
        if "/models/missing" in self.path:
            self._answer(404, b'{"error": "no model missing"}')
            return
        if self.path.startswith("/predict/"):
            answer: Any = {"model": "echo", "version": "1", "predictions": [{"label": 1, **row} for row in body["rows"]]}
        else:
            outputs = [{**tensor} for tensor in body["inputs"]]
            answer = {"model_name": "echo", "model_version": "1", "outputs": outputs, **({"id": body["id"]} if "id" in body else {})}
        self._answer(200, json.dumps(answer).encode())

    def _saw(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        deadline_s = int(headers["x-request-timeout-ms"]) / 1000
        self.server.echo.asked.append(Asked(self.path, headers, deadline_s, body, time.monotonic()))

    def _fail(self, failure: Failure, echo: Echo) -> None:
        if failure.drop:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if failure.stall:
            echo.over.wait(10)
        if failure.raw:
            self.connection.sendall(failure.raw)
            self._drip(failure, echo)
            self.close_connection = True
            return
        headers = {"retry-after": failure.retry_after} if failure.retry_after else {}
        self._answer(failure.status, json.dumps({"error": failure.message}).encode(), headers)

    def _drip(self, failure: Failure, echo: Echo) -> None:
        try:
            while failure.drip and not echo.over.wait(0.05):
                self.connection.sendall(b" ")
        except OSError:
            failure.drip = False

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.connection.sendall(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body)


METADATA = {
    "name": "echo",
    "versions": ["1", "3"],
    "platform": "test",
    "inputs": [{"name": "age", "datatype": "FP32", "shape": [-1, 1]}, {"name": "city", "datatype": "BYTES", "shape": [-1, 1]}],
    "outputs": [{"name": "age", "datatype": "FP32", "shape": [-1, 1]}, {"name": "city", "datatype": "BYTES", "shape": [-1, 1]}],
}


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A connection that the test cut is no news."""


class _GrpcService(grpc.GenericRpcHandler):
    def __init__(self, echo: Echo) -> None:
        self.echo = echo

    def service(self, details: Any) -> Any:
        _, service, method = details.method.split("/")
        if service != "inference.GRPCInferenceService" or method not in method_names(service):
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(details, method, request, context),
            request_deserializer=message(f"inference.{method}Request").FromString,
            response_serializer=message(f"inference.{method}Response").SerializeToString,
        )

    def _answer(self, details: Any, method: str, request: Any, context: Any) -> Any:
        headers = {pair.key: pair.value for pair in details.invocation_metadata}
        self.echo.asked.append(Asked(method, headers, context.time_remaining(), request, time.monotonic()))
        reply = message(f"inference.{method}Response")
        if method == "ModelInfer":
            return self._infer(request, context, reply)
        if method == "ModelReady":
            return reply(ready=request.name == "echo")
        if method == "ModelMetadata":
            if request.name != "echo":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
            return reply(**{**METADATA, **({"versions": [request.version]} if request.version else {})})
        if method == "ServerMetadata":
            return reply(name="echo-server", version="9", extensions=["none"])
        return reply(live=True) if method == "ServerLive" else reply(ready=True)

    def _infer(self, request: Any, context: Any, reply: Any) -> Any:
        failure = self.echo.next_failure()
        if failure is not None:
            if failure.stall:
                self.echo.over.wait(10)
            if failure.retry_after:
                context.set_trailing_metadata((("retry-after", failure.retry_after),))
            context.abort(grpc.StatusCode[failure.code], failure.message)
        if request.model_name == "missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "no model missing")
        made = reply(model_name="echo", model_version=request.model_version or "1", id=request.id)
        for tensor in request.inputs:
            made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        made.raw_output_contents.extend(request.raw_input_contents)
        return made


@pytest.fixture
def rest_echo() -> Iterator[Echo]:
    echo = Echo()
    server = _HttpServer(("127.0.0.1", 0), _Handler)
    server.echo = echo  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    echo.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield echo
    echo.over.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def grpc_echo() -> Iterator[Echo]:
    echo = Echo()
    pool = concurrent.futures.ThreadPoolExecutor(8)
    unlimited = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0))
    server = grpc.server(pool, handlers=(_GrpcService(echo),), options=unlimited)
    echo.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield echo
    echo.over.set()
    server.stop(0).wait(5)
    pool.shutdown()


@pytest.fixture(params=["rest", "grpc"])
def echo(request: pytest.FixtureRequest) -> Echo:
    found: Echo = request.getfixturevalue(f"{request.param}_echo")
    return found


@pytest.fixture
def client(echo: Echo) -> Iterator[Client]:
    with Client(echo.url, timeout_s=10) as made:
        yield made

"""The whole protocol: every method of Triton's gRPC service and every path of its HTTP server is there, and answers for itself."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from tests.serving.kit import Http2Peer, Rig, exchange, model, rig
from tritonclient.grpc import model_config_pb2, service_pb2

from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.protos import message, method_names
from aweigh.serve.guard import Authoriser
from aweigh.serve.router import Route
from aweigh.serve.server import make_dispatcher

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
PATH = "/inference.GRPCInferenceService/"
MODEL_ACTIONS = ("", "/infer", "/generate", "/generate_stream", "/ready", "/config", "/stats")
ASKED_BY_GET = {"", "/ready", "/config", "/stats"}


def paths() -> Iterator[tuple[str, str]]:
    """Methods and paths as the regular expressions of Triton's HTTP server have them, every branch once."""
    yield from (("GET", path) for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/models"))
    for version, action in itertools.product(("", "/versions/1"), MODEL_ACTIONS):
        yield ("GET" if action in ASKED_BY_GET else "POST"), f"/v2/models/iris{version}{action}"
    for repository, action in itertools.product(("", "/mine"), ("index", "models/iris/load", "models/iris/unload")):
        yield "POST", f"/v2/repository{repository}/{action}"
    for kind, region, action in itertools.product(("system", "cuda"), ("", "/region/r"), ("status", "register", "unregister")):
        yield ("GET" if action == "status" else "POST"), f"/v2/{kind}sharedmemory{region}/{action}"
    yield from itertools.product(("GET", "POST"), ("/v2/trace/setting", "/v2/models/iris/trace/setting", "/v2/logging"))


def routes() -> list[Route]:
    dataplane = DataPlane(Settings())
    dataplane.add(model())
    return make_dispatcher(dataplane, Authoriser())._router.routes()


@pytest.mark.parametrize(("method", "path"), list(paths()))
def test_every_path_is_answered_by_its_own_route(method: str, path: str) -> None:
    server = rig(keys={"one": sha256(b"k" * 16).digest()})
    assert exchange(server, ask(method, path))[0].status in {200, 401}  # a path that nobody has is 404 to strangers too
    answer = exchange(server, ask(method, path, "X-Api-Key: " + "k" * 16))[0]
    assert answer.body != b'{"error":"Not Found"}'
    assert answer.status in {200, 400, 501}, answer.body
    other = "DELETE"
    assert (exchange(server, ask(other, path))[0].status, exchange(server, ask(other, path))[0].body) == (
        405,
        b'{"error":"Method Not Allowed"}',
    )


def ask(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", "Content-Length: 2", *headers, "", "{}"]).encode()


def call(server: Rig, method: str, asked: Any) -> tuple[int, str]:
    """Status and text; 0 for a stream that goes on."""

    async def main() -> tuple[int, str]:
        peer = Http2Peer(server)
        stream = peer.call(asked.SerializeToString(), PATH + method)
        peer.pump()
        reply = peer.response(stream)
        return (reply.grpc_status, reply.grpc_text) if reply.ended else (0, "")

    return asyncio.run(main())


@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
def test_every_method_is_answered_by_its_own_route(method: Any) -> None:
    assert method.name in method_names("inference.GRPCInferenceService")
    assert PATH + method.name in {route.template for route in routes() if route.grpc}
    status, text = call(rig(), method.name, message(f"inference.{method.input_type.name}")())
    assert not text.startswith("unknown method")
    assert status in {0, 3, 5, 12}, text


def same(ours: Any, theirs: Any, seen: set[str]) -> None:
    """Every field that we have is Triton's, by number, name, type and count."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    known = {field.number: field for field in theirs.fields}
    for field in ours.fields:
        other = known[field.number]
        assert (field.name, field.type, field.is_repeated) == (other.name, other.type, other.is_repeated), f"{ours.full_name}.{field.name}"
        if field.message_type is not None:
            same(field.message_type, other.message_type, seen)


def test_messages_are_those_of_the_peer() -> None:
    seen: set[str] = set()
    for method in SERVICE.methods:
        for theirs in (method.input_type, method.output_type):
            same(message(f"inference.{theirs.name}").DESCRIPTOR, theirs, seen)
            if theirs.name not in {"ModelConfigResponse"}:
                assert len(message(f"inference.{theirs.name}").DESCRIPTOR.fields) == len(theirs.fields), theirs.name
    same(message("inference.ModelConfig").DESCRIPTOR, model_config_pb2.ModelConfig.DESCRIPTOR, seen)
    assert len(seen) > 60


def test_what_is_announced_is_what_works() -> None:
    def announced(**settings: Any) -> list[str]:
        found: list[str] = json.loads(exchange(rig(**settings), ask("GET", "/v2"))[0].body)["extensions"]
        return found

    plain = [
        "classification", "model_repository", "model_repository(unload_dependents)", "model_configuration", "binary_tensor_data", "parameters",
        "statistics",
    ]  # fmt: skip
    assert announced() == plain
    assert announced(shared_memory=True) == [*plain[:4], "system_shared_memory", *plain[4:]]

"""grpcio against the server: unary calls through the published service, deadlines, errors, health, large messages, many at once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.serving.kit import infer_message
from tests.serving.served import Served
from tritonclient.grpc import service_pb2, service_pb2_grpc

from aweigh.protos import message

SHAPE = (
    "[request id: <id_unknown>] unexpected shape for input 'X' for model 'linear'. Expected [-1,4], got [5,2]. NOTE: Setting a non-zero "
    "max_batch_size in the model config requires a batch dimension to be prepended to each input shape. If you want to specify the full "
    "shape including the batch dim in your input dims config, try setting max_batch_size to zero. See the model configuration docs for "
    "more info on max_batch_size."
)


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(
        server.target, options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    ) as made:
        yield made


def ask(rows: np.ndarray, name: str = "linear") -> Any:
    asked = service_pb2.ModelInferRequest(model_name=name)
    asked.inputs.add(name="X", datatype="FP32", shape=rows.shape)
    asked.raw_input_contents.append(rows.astype("<f4").tobytes())
    return asked


def test_the_service_as_triton_publishes_it(channel: grpc.Channel, rows: np.ndarray, expected: np.ndarray) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    answer = stub.ModelInfer(ask(rows), timeout=10)
    assert [(output.name, list(output.shape)) for output in answer.outputs] == [("best", [5]), ("scores", [5, 3])]
    assert np.allclose(np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(5, 3), expected, atol=1e-5)
    typed = service_pb2.ModelInferRequest(model_name="linear")
    typed.inputs.add(name="X", datatype="FP32", shape=rows.shape).contents.fp32_contents.extend(rows.ravel().tolist())
    assert stub.ModelInfer(typed, timeout=10).raw_output_contents[1] == answer.raw_output_contents[1]
    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
    assert stub.ModelReady(service_pb2.ModelReadyRequest(name="linear")).ready


def test_health_as_kubernetes_asks(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService", "linear"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    for service, status in (("", "SERVING"), ("linear", "SERVING"), ("none", "SERVICE_UNKNOWN")):
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert next(watching).status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        watching.cancel()


def failed(channel: grpc.Channel, asked: Any, **how: Any) -> tuple[grpc.StatusCode, str]:
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        call(asked if isinstance(asked, bytes) else asked.SerializeToString(), **{"timeout": 20, **how})
    return caught.value.code(), caught.value.details()


def test_errors_have_the_code_and_say_what_is_wrong(channel: grpc.Channel, rows: np.ndarray) -> None:
    code = grpc.StatusCode
    assert failed(channel, ask(rows, "none"))[0] is code.NOT_FOUND
    assert failed(channel, b"\xff\xff\xff")[0] is code.INVALID_ARGUMENT
    status, said = failed(channel, ask(rows[:, :2]))
    assert (status, "unexpected shape for input 'X'" in said, "[5,2]" in said.replace(" ", "")) == (code.INVALID_ARGUMENT, True, True)
    said = failed(channel, infer_message(name="\xfcml\xe4ut % \u20ac"))[1]
    assert "\xfcml\xe4ut % \u20ac" in said  # percent-encoded on its way
    call = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"")
    assert caught.value.code() is code.UNIMPLEMENTED
    status, _ = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").with_call(ask(rows).SerializeToString())
    assert status


def test_a_deadline_ends_the_call_and_the_server_goes_on(patient: Served) -> None:
    slow, fast = (ask(np.full((1, 1), value, np.float32), "lasting") for value in (7777, 1))
    with grpc.insecure_channel(patient.target) as channel:
        assert failed(channel, slow, timeout=0.05)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(fast, timeout=10).model_name == "lasting"


def test_large_messages_both_ways_and_one_too_large(channel: grpc.Channel) -> None:
    many = np.random.default_rng(3).normal(size=(60_000, 4)).astype(np.float32)
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    answer = stub.ModelInfer(ask(many, "dear"), timeout=20)
    assert np.array_equal(np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 4), many)
    code, text = failed(channel, b"\x3a" + bytes(64 * 1024 * 1024 + 1))
    assert (code, "67108864" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    assert stub.ModelInfer(ask(many[:1]), timeout=10).model_name == "linear"


def test_metadata_of_a_megabyte_is_refused(server: Served, rows: np.ndarray) -> None:
    with grpc.insecure_channel(server.target, options=[("grpc.max_metadata_size", 8 * 1024 * 1024)]) as channel:
        code, _ = failed(channel, ask(rows), metadata=[("x", "y" * 1_000_000)])
        assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL}
    assert server.get("/v2/health/live") == b""


def test_many_calls_at_once_each_get_their_own_answer(server: Served) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(server.target) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            payloads = [infer_message([at, 0, 0, 0], name=("linear", "dear")[at % 10 == 0]).SerializeToString() for at in range(500)]
            answers = await asyncio.gather(*(call(payload, timeout=30) for payload in payloads))
        for at, raw in enumerate(answers):
            answer = message("inference.ModelInferResponse").FromString(raw)
            first = np.frombuffer(answer.raw_output_contents[-1], "<f4")[0]
            assert first == at

    asyncio.run(main())

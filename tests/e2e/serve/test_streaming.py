"""ModelStreamInfer as tritonclient has it, blocking and asyncio, and Watch as grpcio has it; a server that stops ends both."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.serving.served import Served


def given(rows: np.ndarray) -> list[Any]:
    made = triton_grpc.InferInput("X", list(rows.shape), "FP32")
    made.set_data_from_numpy(rows)
    return [made]


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_answers_come_in_order_and_errors_among_them(server: Served, rows: np.ndarray, coding: str | None) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.target) as client:
        client.start_stream(lambda result, error: found.put((result, error)), compression_algorithm=coding)
        for at in range(50):
            name = "none" if at == 7 else ("dear" if at % 5 == 0 else "linear")
            client.async_stream_infer(name, given(rows + at), request_id=str(at), enable_empty_final_response=at == 9)
        got = [found.get(timeout=20) for _ in range(50)]
        client.stop_stream()
    for at, (result, error) in enumerate(got):
        if at == 7:
            assert "Request for unknown model: 'none' is not found" in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(at)
        assert response.parameters["triton_final_response"].bool_param
        assert response.model_name == ("dear" if at % 5 == 0 else "linear")


def test_tensors_larger_than_every_window(server: Served) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    rows = np.random.default_rng(2).normal(size=(60_000, 4)).astype(np.float32)
    with triton_grpc.InferenceServerClient(server.target) as client:
        client.start_stream(lambda result, error: found.put((result, error)))
        for _ in range(6):
            client.async_stream_infer("dear", given(rows))
        for _ in range(6):
            result, error = found.get(timeout=30)
            assert error is None
            assert np.allclose(result.as_numpy("Y"), rows)
        client.stop_stream()


def test_asyncio(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    async def main() -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            for at in range(20):
                yield {"model_name": "linear", "inputs": given(rows), "request_id": str(at)}

        async with triton_grpc_aio.InferenceServerClient(server.target) as client:
            seen = []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                assert np.allclose(result.as_numpy("scores"), expected, atol=1e-5)
                seen.append(result.get_response().id)
            assert seen == [str(at) for at in range(20)]

    asyncio.run(main())


def test_streams_end_when_the_server_stops(serve: Any, rows: np.ndarray) -> None:
    server = serve("linear")
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    statuses: list[int] = []
    codes: list[grpc.StatusCode] = []
    with grpc.insecure_channel(server.target) as channel, triton_grpc.InferenceServerClient(server.target) as client:

        def watch() -> None:
            try:
                statuses.extend(answer.status for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))
            except grpc.RpcError as error:
                codes.append(error.code())  # type: ignore[attr-defined]  # grpcio's own errors have a code

        watcher = threading.Thread(target=watch)
        watcher.start()
        client.start_stream(lambda result, error: found.put((result, error)))
        client.async_stream_infer("linear", given(rows))
        assert found.get(timeout=10)[1] is None
        assert server.end() == 0, server.log
        watcher.join(10)
        assert codes == [grpc.StatusCode.UNAVAILABLE]
        assert statuses[0] == health_pb2.HealthCheckResponse.SERVING
        assert "shutting down" in str(found.get(timeout=10)[1])
        client.stop_stream()


def test_the_first_error_ends_a_stream_whose_client_wants_it_to(server: Served, rows: np.ndarray) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.target) as client:
        client.start_stream(lambda result, error: found.put((result, error)), headers={"triton_grpc_error": "true"})
        client.async_stream_infer("linear", given(rows))
        assert found.get(timeout=10)[1] is None
        client.async_stream_infer("none", given(rows))
        error = found.get(timeout=10)[1]
        assert (error.status(), error.message()) == ("StatusCode.NOT_FOUND", "Request for unknown model: 'none' is not found")
        client.stop_stream()

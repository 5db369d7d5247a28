"""The load test against servers that are not aweigh: grpcio's, with its own HTTP/2 and header tables, and uvicorn's, with chunked answers."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastapi
import grpc
import numpy as np
import pytest
import uvicorn
from fastapi.responses import StreamingResponse

from aweigh.app.bench import BenchOptions, run_bench
from aweigh.app.bench_data import Wanted
from aweigh.bench.plan import Load
from aweigh.core.errors import ModelNotFound
from aweigh.protos import message

SERVICE = "inference.GRPCInferenceService"


def metadata(request: Any, context: grpc.ServicerContext) -> Any:
    if request.name != "double":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
    answer = message("inference.ModelMetadataResponse")(name="double", versions=["1"])
    answer.inputs.add(name="x", datatype="FP32", shape=[-1, 50_000])
    return answer


def infer(request: Any, context: grpc.ServicerContext) -> Any:
    """Twice what came, in an answer of 400 kB: larger than every default window."""
    context.set_trailing_metadata((("x-served-by", "grpcio"),))
    values = np.frombuffer(request.raw_input_contents[0], dtype="<f4").astype("<f8") * 2
    answer = message("inference.ModelInferResponse")(model_name=request.model_name)
    answer.outputs.add(name="y", datatype="FP64", shape=[1, len(values)])
    answer.raw_output_contents.append(values.tobytes())
    return answer


@pytest.fixture(scope="module")
def grpc_port() -> Iterator[int]:
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            function,
            request_deserializer=message(f"inference.{name}Request").FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, function in {"ModelMetadata": metadata, "ModelInfer": infer}.items()
    }
    server = grpc.server(ThreadPoolExecutor(4), handlers=(grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(5)


def test_grpcio_with_large_messages(grpc_port: int) -> None:
    for duration_s in (0.7, 5.0, 20.0):  # long enough for some answers, however busy the machine is
        load = Load(concurrency=4, duration_s=duration_s, warmup_s=0.2)
        report = run_bench(BenchOptions(url=f"grpc://127.0.0.1:{grpc_port}/double", loads=(load,), wanted=Wanted(expect="alone")))
        run = report.runs[0]
        if run.scheduled > 4:
            break
    assert run.errors == {}
    assert run.scheduled > 4
    assert run.bytes_in > run.scheduled * 400_000
    assert report.asked.body_bytes > 200_000


def test_grpcio_refusing(grpc_port: int) -> None:
    with pytest.raises(ModelNotFound, match="NOT_FOUND: no such model"):
        run_bench(BenchOptions(url=f"grpc://127.0.0.1:{grpc_port}/triple", loads=(Load(concurrency=1),)))


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    app = fastapi.FastAPI()

    @app.post("/in-parts")
    async def in_parts() -> StreamingResponse:
        async def parts() -> Any:
            for part in (b'{"answer"', b": [1, 2", b", 3]}"):
                yield part
                await asyncio.sleep(0)

        return StreamingResponse(parts(), media_type="application/json")

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def test_uvicorn_with_chunked_answers(http_port: int, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text("{}")
    (tmp_path / "answer.json").write_text('{"answer": [1, 2, 3]}')
    wanted = Wanted(body=str(tmp_path / "body.json"), expect=str(tmp_path / "answer.json"))
    load = Load(rate=100.0, arrival="constant", duration_s=0.5, warmup_s=0.2, connections=8)
    run = run_bench(BenchOptions(url=f"http://127.0.0.1:{http_port}/in-parts?x=1", loads=(load,), wanted=wanted)).runs[0]
    assert run.errors == {}
    assert run.scheduled == 50

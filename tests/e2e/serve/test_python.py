"""Serving from Python: a server in a thread of this process, and the ASGI application inside FastAPI, by uvicorn and without a socket."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi
import grpc
import httpx
import numpy as np
import pytest
import uvicorn
from tests.serving.kit import BODY, INFER, infer_message

import aweigh
from aweigh.core.errors import Conflict, PortInUse


def post(url: str, body: bytes) -> dict[str, object]:
    with urllib.request.urlopen(url, body, timeout=10) as answer:
        return dict(json.loads(answer.read()))


def test_a_server_in_this_process(home: Path) -> None:
    before = threading.active_count()
    with aweigh.Server(home=str(home), port=0).add("linear").add("dear") as server:
        assert post(f"{server.url}/v2/models/linear/infer", BODY)["model_name"] == "linear"
        assert post(f"{server.url}/v2/models/dear/infer", BODY)["model_name"] == "dear"
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert channel.unary_unary(INFER)(infer_message(name="linear").SerializeToString(), timeout=10)
        with pytest.raises(Conflict):
            server.add("words")
        with pytest.raises(PortInUse):
            aweigh.Server(home=str(home), port=server.port).add("linear").start()
    server.stop()
    assert threading.active_count() <= before + 2  # grpcio keeps threads of its own


def test_a_server_can_be_started_again_and_again(home: Path) -> None:
    for _ in range(5):
        with aweigh.Server(home=str(home), port=0).add("linear") as server:
            assert post(f"{server.url}/v2/models/linear/infer", BODY)["model_name"] == "linear"


def test_a_model_in_this_process(home: Path, rows: np.ndarray, expected: np.ndarray) -> None:
    with aweigh.load("linear", home=str(home)) as model:
        assert np.allclose(model.infer({"X": rows})["scores"], expected, atol=1e-5)


@pytest.fixture
def application(home: Path) -> Iterator[fastapi.FastAPI]:
    models = aweigh.asgi("linear", "dear", "words", home=str(home))

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        models.close()

    outer = fastapi.FastAPI(lifespan=lifespan)
    outer.mount("/models", models)

    @outer.get("/own")
    def own() -> str:
        return "mine"

    yield outer
    models.close()


def test_mounted_in_fastapi(application: fastapi.FastAPI) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
            assert (await client.get("/own")).json() == "mine"
            assert (await client.get("/models/v2/health/ready")).status_code == 200
            assert (await client.get("/models/")).json()["name"] == "aweigh"
            answers = await asyncio.gather(
                *(client.post(f"/models/v2/models/{name}/infer", content=BODY) for name in ("linear", "dear") for _ in range(10))
            )
            assert {(answer.status_code, answer.json()["model_name"]) for answer in answers} == {(200, "linear"), (200, "dear")}
            wrong = await client.post("/models/v2/models/linear/infer", content=BODY.replace(b"[1,4]", b"[1,3]"))
            assert (wrong.status_code, "error" in wrong.json()) == (400, True)
            row = await client.post("/models/predict/words", json={"rows": [{"text": "hi"}]}, headers={"X-Request-Id": "mine"})
            assert (row.json()["predictions"], row.headers["x-request-id"]) == ([{"same": "hi"}], "mine")
            assert (await client.get("/models/nowhere")).status_code == 404
            assert (await client.get("/models/v2/models/linear/infer")).status_code == 405
            assert (await client.get("/models/v2/models/%2e%2e")).status_code in {400, 404}
            assert (await client.get("/models/v2/models/a%2525b")).json()["error"].startswith("'a%25b' is not the name of a model")
            head = await client.head("/models/v2")
            assert (head.status_code, head.content) == (200, b"")
            assert int(head.headers["content-length"]) == len((await client.get("/models/v2")).content)
            assert (await client.post(f"/models{INFER}", content=b"")).status_code == 501
            metrics = (await client.get("/models/metrics")).text
            assert 'aweigh_requests_total{model="linear",version="1",outcome="ok"} 10' in metrics

    asyncio.run(main())


def test_a_body_beyond_the_limit_and_a_client_that_leaves(home: Path) -> None:
    models = aweigh.asgi("linear", home=str(home), max_body_bytes=100)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(models), base_url="http://test") as client:
            assert (await client.post("/v2/models/linear/infer", content=b"x" * 101)).status_code == 413
        sent: list[object] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(event: object) -> None:
            sent.append(event)

        await models({"type": "http", "method": "POST", "path": "/v2/models/linear/infer", "headers": []}, receive, send)  # type: ignore[arg-type]
        assert sent == []

    asyncio.run(main())
    models.close()


def test_served_by_uvicorn(application: fastapi.FastAPI) -> None:
    config = uvicorn.Config(application, port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        assert post(f"http://127.0.0.1:{port}/models/v2/models/linear/infer", BODY)["model_name"] == "linear"
        assert post(f"http://127.0.0.1:{port}/models/v2/models/dear/infer", BODY)["model_name"] == "dear"
    finally:
        server.should_exit = True
        thread.join(10)

"""tritonclient as its users have it: HTTP with JSON tensors and gRPC, blocking and asyncio, unchanged."""

import asyncio
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
from tests.serving.served import Served
from tritonclient.utils import InferenceServerException


def asked(module: object, rows: np.ndarray) -> tuple[list, list]:
    given = module.InferInput("X", list(rows.shape), "FP32")  # type: ignore[attr-defined]
    if module is triton_http:
        given.set_data_from_numpy(rows, binary_data=False)
        return [given], [module.InferRequestedOutput(name, binary_data=False) for name in ("scores", "best")]  # type: ignore[attr-defined]
    given.set_data_from_numpy(rows)
    return [given], [module.InferRequestedOutput(name) for name in ("scores", "best")]  # type: ignore[attr-defined]


def check(result: object, expected: np.ndarray) -> None:
    assert np.allclose(result.as_numpy("scores"), expected, atol=1e-5)  # type: ignore[attr-defined]
    assert result.as_numpy("best").tolist() == expected.argmax(axis=1).tolist()  # type: ignore[attr-defined]


def test_http(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    with triton_http.InferenceServerClient(server.target, concurrency=4) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear")
        assert client.is_model_ready("linear", "1")
        assert client.get_server_metadata()["name"] == "aweigh"
        metadata = client.get_model_metadata("linear")
        assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
        inputs, outputs = asked(triton_http, rows)
        check(client.infer("linear", inputs, outputs=outputs, request_id="7"), expected)
        check(client.infer("linear", inputs, model_version="1"), expected)
        results = [client.async_infer("linear", inputs, outputs=outputs) for _ in range(8)]
        for result in results:
            check(result.get_result(), expected)
        texts = triton_http.InferInput("text", [2, 1], "BYTES")
        texts.set_data_from_numpy(np.array([["a"], ["ä"]], dtype=object), binary_data=False)
        same = client.infer("words", [texts], outputs=[triton_http.InferRequestedOutput("same", binary_data=False)])
        assert same.as_numpy("same").ravel().tolist() == ["a", "ä"]
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'none' is not found"):
            client.infer("none", inputs)
        with pytest.raises(InferenceServerException, match="unexpected shape for input 'X'"):
            client.infer("linear", asked(triton_http, rows[:, :3])[0])


def test_http_asyncio(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    """In a process of its own: the client leaves its session's close to a garbage collector that warns."""
    code = f"""
        import asyncio
        import numpy as np
        import tritonclient.http.aio as http

        async def main():
            rows = np.array({rows.tolist()}, dtype=np.float32)
            async with http.InferenceServerClient("{server.target}") as client:
                assert await client.is_server_ready()
                given = http.InferInput("X", [5, 4], "FP32")
                given.set_data_from_numpy(rows, binary_data=False)
                wanted = [http.InferRequestedOutput("scores", binary_data=False)]
                results = await asyncio.gather(*(client.infer("linear", [given], outputs=wanted) for _ in range(20)))
                for result in results:
                    assert np.allclose(result.as_numpy("scores"), np.array({expected.tolist()}), atol=1e-5)

        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_grpc(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    with triton_grpc.InferenceServerClient(server.target) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear", "1")
        assert not client.is_model_ready("linear", "9")
        assert client.get_server_metadata().name == "aweigh"
        assert client.get_model_metadata("linear", as_json=True)["platform"] == "aweigh_onnxruntime"
        inputs, outputs = asked(triton_grpc, rows)
        check(client.infer("linear", inputs, outputs=outputs, request_id="7"), expected)
        check(client.infer("linear", inputs, model_version="1"), expected)
        assert client.infer("linear", inputs, request_id="7").get_response().id == "7"
        texts = triton_grpc.InferInput("text", [2, 1], "BYTES")
        texts.set_data_from_numpy(np.array([["a"], ["ä"]], dtype=object))
        assert client.infer("words", [texts]).as_numpy("same").ravel().tolist() == [b"a", "ä".encode()]
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'none' is not found") as caught:
            client.infer("none", inputs)
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        with pytest.raises(InferenceServerException, match="unexpected shape for input 'X'"):
            client.infer("linear", asked(triton_grpc, rows[:, :3])[0])


def test_a_grpc_deadline_ends_the_call(patient: Served) -> None:
    given = triton_grpc.InferInput("X", [1, 1], "FP32")
    given.set_data_from_numpy(np.full((1, 1), 7777, np.float32))
    with triton_grpc.InferenceServerClient(patient.target) as client:
        with pytest.raises(InferenceServerException) as late:
            client.infer("lasting", [given], client_timeout=0.05)
        assert late.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_grpc_asyncio(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    async def main() -> None:
        async with triton_grpc_aio.InferenceServerClient(server.target) as client:
            assert await client.is_model_ready("linear")
            inputs, outputs = asked(triton_grpc, rows)
            for result in await asyncio.gather(*(client.infer("linear", inputs, outputs=outputs) for _ in range(20))):
                check(result, expected)
            echoes = await asyncio.gather(*(client.infer("dear", inputs) for _ in range(10)))
            assert all(np.allclose(result.as_numpy("Y"), rows) for result in echoes)

    asyncio.run(main())

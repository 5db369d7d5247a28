"""Open Inference V2 in full, as tritonclient has it: binary tensors, compression, classification, parameters; REST and gRPC alike."""

import gzip
import itertools
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.e2e.serve.test_grpc import ask
from tests.serving.served import Served
from tritonclient.utils import InferenceServerException

CODINGS = (None, "gzip", "deflate")


@pytest.fixture(scope="module")
def clients(server: Served) -> Any:
    with triton_http.InferenceServerClient(server.target) as rest, triton_grpc.InferenceServerClient(server.target) as rpc:
        yield {triton_http: rest, triton_grpc: rpc}


def http_inputs(rows: np.ndarray, *, binary: bool) -> list[Any]:
    given = triton_http.InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary)
    return [given]


@pytest.mark.parametrize(("binary_in", "binary_out"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize(("asked", "answered"), list(itertools.product(CODINGS, repeat=2)))
def test_http_binary_and_compression(
    clients: Any, expected: np.ndarray, rows: np.ndarray, *, binary_in: bool, binary_out: bool, asked: Any, answered: Any
) -> None:
    many, same = np.tile(rows, (100, 1)), np.tile(expected, (100, 1))
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary_out) for name in ("scores", "best")]
    how = {"request_compression_algorithm": asked, "response_compression_algorithm": answered}
    result = clients[triton_http].infer("linear", http_inputs(many, binary=binary_in), outputs=wanted, request_id="7", **how)
    assert np.allclose(result.as_numpy("scores"), same, atol=1e-5)
    assert result.as_numpy("best").tolist() == same.argmax(axis=1).tolist()
    assert result.get_response()["id"] == "7"
    assert ("parameters" in result.get_output("scores")) is binary_out
    whole = clients[triton_http].infer("linear", http_inputs(many, binary=binary_in), **how)
    assert "binary_data_size" in whole.get_output("best")["parameters"], "the client asks for binary_data_output"


def test_http_texts_in_binary(clients: Any) -> None:
    given = triton_http.InferInput("text", [3, 1], "BYTES")
    given.set_data_from_numpy(np.array([["a"], [""], ["ä\n"]], dtype=object))
    same = clients[triton_http].infer("words", [given]).as_numpy("same")
    assert same.ravel().tolist() == [b"a", b"", "ä\n".encode()]


@pytest.mark.parametrize("coding", CODINGS)
def test_grpc_compression(clients: Any, rows: np.ndarray, expected: np.ndarray, coding: str | None) -> None:
    given = triton_grpc.InferInput("X", [500, 4], "FP32")
    given.set_data_from_numpy(np.tile(rows, (100, 1)))
    result = clients[triton_grpc].infer("linear", [given], compression_algorithm=coding)
    assert np.allclose(result.as_numpy("scores"), np.tile(expected, (100, 1)), atol=1e-5)


def test_grpc_bombs_are_refused(server: Served, rows: np.ndarray) -> None:
    asked = ask(rows)
    asked.raw_input_contents[0] = bytes(100 * 1024 * 1024)
    with grpc.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(asked.SerializeToString(), compression=grpc.Compression.Gzip, timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(ask(rows).SerializeToString(), timeout=10)


@pytest.mark.parametrize("module", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_classification_and_parameters(clients: Any, module: Any, rows: np.ndarray, expected: np.ndarray) -> None:
    given = module.InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows)
    wanted = [module.InferRequestedOutput("scores", class_count=2)]
    result = clients[module].infer("linear", [given], outputs=wanted, priority=1, timeout=5_000_000, parameters={"mine": "x"})
    found = result.as_numpy("scores")
    assert found.shape == (5, 2)
    for row, (first, second) in zip(expected, found.tolist(), strict=True):
        best = np.argsort(-row)[:2]
        assert [int(text.split(b":")[1]) for text in (first, second)] == best.tolist()
        assert np.allclose([float(text.split(b":")[0]) for text in (first, second)], row[best], atol=1e-5)


def test_shared_mistakes_are_said_alike(clients: Any, rows: np.ndarray) -> None:
    said = {}
    for module in (triton_http, triton_grpc):

        def of(name: str, shape: tuple[int, ...], datatype: str = "FP32", model: str = "linear", module: Any = module, **how: Any) -> str:
            given = module.InferInput(name, list(shape), datatype)
            given.set_data_from_numpy(np.zeros(shape, np.float32 if datatype == "FP32" else np.int64))
            with pytest.raises(InferenceServerException) as caught:
                clients[module].infer(model, [given], **how)
            return str(caught.value.message())

        said[module] = [
            of("X", (1, 4), model="none"), of("X", (1, 3)), of("X", (1, 3), request_id="7"), of("Z", (1, 4)), of("X", (1, 4), "INT64"),
            of("X", (65_537, 4)), of("X", (1, 4), model_version="9"),
        ]  # fmt: skip
    assert said[triton_http] == said[triton_grpc]
    assert said[triton_http][0] == "Request for unknown model: 'none' is not found"
    assert said[triton_http][1].startswith(
        "[request id: <id_unknown>] unexpected shape for input 'X' for model 'linear'. Expected [-1,4], got [1,3]. NOTE: Setting a non-zero"
    )
    assert said[triton_http][2].startswith("[request id: 7] unexpected shape")
    assert said[triton_http][5] == "[request id: <id_unknown>] inference request batch-size must be <= 65536 for 'linear'"


def test_raw_bodies_and_compressed_errors_over_plain_http(server: Served, rows: np.ndarray, expected: np.ndarray) -> None:
    import urllib3

    pool = urllib3.PoolManager()
    url = f"http://{server.target}/v2/models/linear/infer"
    found = pool.request("POST", url, body=rows[:1].tobytes(), headers={"Inference-Header-Content-Length": "0"})
    at = int(found.headers["Inference-Header-Content-Length"])
    assert np.allclose(np.frombuffer(found.data[at + 8 :], "<f4"), expected[0], atol=1e-5)
    bomb = pool.request("POST", url, body=gzip.compress(bytes(80 * 1024 * 1024)), headers={"Content-Encoding": "gzip"})
    assert bomb.status == 413

"""The response cache in a real server: counted over REST and gRPC and over workers, bounded, gone when its model goes."""

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.models import WEIGHTS
from tests.serving.served import Served

import aweigh

Serve = Callable[..., Served]
MIB = str(1024 * 1024)
MODULES = [triton_http, triton_grpc]


def ask(module: Any, client: Any, model: str, rows: np.ndarray) -> np.ndarray:
    given = module.InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows)
    output: np.ndarray = client.infer(model, [given]).as_numpy("scores" if model == "linear" else "Y")
    return output


def metric(server: Served, name: str, model: str = "linear") -> int:
    found = re.search(rf'^{name}{{model="{model}",version="\d+"}} (\d+)$', server.get("/metrics").decode(), re.MULTILINE)
    assert found, name
    return int(found[1])


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_equal_requests_at_both_doors_are_one_execution(serve: Serve, rows: np.ndarray, expected: np.ndarray, executor: str) -> None:
    server = serve("linear", "words", "--response-cache-bytes", MIB, "--executor", executor)
    for module in MODULES:
        more = {} if module is triton_http else {"as_json": True}
        with module.InferenceServerClient(server.target) as client:
            for _ in range(3):
                assert np.allclose(ask(module, client, "linear", rows), expected, atol=1e-5)
            config = client.get_model_config("linear", **more)
            config = config if module is triton_http else config["config"]
            assert config["response_cache"] == {"enable": True}
            found = client.get_inference_statistics("linear", **more)["model_stats"][0]
    assert (int(found["inference_count"]), int(found["execution_count"])) == (len(rows), 1)
    told = found["inference_stats"]
    counts = {name: int(told[name].get("count", 0)) for name in ("success", "cache_hit", "cache_miss", "compute_infer")}
    assert counts == {"success": 6, "cache_hit": 5, "cache_miss": 1, "compute_infer": 1}
    assert int(told["cache_hit"]["ns"]) > 0
    assert int(told["cache_miss"]["ns"]) > 0
    assert (metric(server, "aweigh_cache_hits_total"), metric(server, "aweigh_cache_misses_total")) == (5, 1)
    assert 0 < metric(server, "aweigh_cache_bytes") < int(MIB)


def test_texts_too(serve: Serve) -> None:
    server = serve("words", "--response-cache-bytes", MIB)
    metadata = json.loads(server.get("/v2/models/words"))
    [given] = metadata["inputs"]
    answers = []
    for _ in range(2):
        shape = [1 if size < 0 else size for size in given["shape"]]
        body = {"inputs": [{"name": given["name"], "shape": shape, "datatype": "BYTES", "data": ["é"] * int(np.prod(shape))}]}
        request = urllib.request.Request(f"{server.url}/v2/models/words/infer", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            answers.append(answer.read())
    assert answers[0] == answers[1]
    assert metric(server, "aweigh_cache_hits_total", "words") == 1


def test_a_server_without_it_says_so(server: Served) -> None:
    config = json.loads(server.get("/v2/models/linear/config"))
    assert config["response_cache"] == {"enable": False}
    assert config["parameters"]["response_cache_reason"]["string_value"] == "response_cache_bytes is 0"
    assert "aweigh_cache" not in server.get("/metrics").decode()


def test_a_flood_stays_within_the_bound_and_unloading_gives_it_back(serve: Serve) -> None:
    limit = 64 * 1024
    server = serve("linear", "--response-cache-bytes", str(limit))
    with triton_http.InferenceServerClient(server.target) as client:
        for at in range(300):
            ask(triton_http, client, "linear", np.full((1, 4), at, np.float32))
        assert limit / 2 < metric(server, "aweigh_cache_bytes") <= limit
        assert metric(server, "aweigh_cache_misses_total") == 300
        ask(triton_http, client, "linear", np.full((1, 4), 299, np.float32))
        assert metric(server, "aweigh_cache_hits_total") == 1
        client.unload_model("linear")
        client.load_model("linear")
        assert metric(server, "aweigh_cache_bytes") == 0
        ask(triton_http, client, "linear", np.full((1, 4), 299, np.float32))
        assert metric(server, "aweigh_cache_hits_total") == 0  # of the model that was loaded again
        assert metric(server, "aweigh_cache_misses_total") == 1


def test_a_new_version_answers_for_itself(home: Path, tmp_path: Path, rows: np.ndarray) -> None:
    import onnx
    from onnx import numpy_helper

    shutil.copytree(home, tmp_path / "home")
    server = Served(tmp_path / "home", "linear", "--response-cache-bytes", MIB)
    try:
        with triton_http.InferenceServerClient(server.target) as client:
            for _ in range(2):
                assert np.allclose(ask(triton_http, client, "linear", rows), rows @ WEIGHTS, atol=1e-5)
            made = onnx.load(home.parent / "linear.onnx")
            made.graph.initializer[0].CopyFrom(numpy_helper.from_array(3 * WEIGHTS, "W"))
            onnx.save(made, tmp_path / "new.onnx")
            aweigh.pack(str(tmp_path / "new.onnx"), "linear", sample=rows, home=str(tmp_path / "home"))
            client.load_model("linear")
            for _ in range(2):
                assert np.allclose(ask(triton_http, client, "linear", rows), 3 * (rows @ WEIGHTS), atol=1e-4)
    finally:
        server.end()


def test_workers_add_up(serve: Serve, rows: np.ndarray, expected: np.ndarray) -> None:
    server = serve("linear", "--workers", "2", "--response-cache-bytes", MIB)
    for _ in range(20):
        with triton_http.InferenceServerClient(server.target) as client:
            assert np.allclose(ask(triton_http, client, "linear", rows), expected, atol=1e-5)
    hits, misses = metric(server, "aweigh_cache_hits_total"), metric(server, "aweigh_cache_misses_total")
    assert hits + misses == 20
    assert misses in (1, 2)  # each worker keeps its own
    deadline = time.monotonic() + 5
    while not (held := metric(server, "aweigh_cache_bytes")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert 0 < held < int(MIB)

"""Statistics, configuration and the repository as tritonclient asks for them: REST and gRPC alike, under load."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.served import Served
from tritonclient.utils import InferenceServerException

import aweigh

MODULES = [triton_http, triton_grpc]


@pytest.fixture
def shelf(home: Path, tmp_path: Path) -> Path:
    """A store of its own, with `linear` alone."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def server(shelf: Path) -> Iterator[Served]:
    started = Served(shelf, "linear")
    yield started
    assert started.end() == 0, started.log


def given(module: Any, rows: np.ndarray) -> list[Any]:
    made = module.InferInput("X", list(rows.shape), "FP32")
    made.set_data_from_numpy(rows)
    return [made]


@pytest.mark.parametrize("module", MODULES, ids=["http", "grpc"])
def test_statistics_and_configuration(server: Served, module: Any, rows: np.ndarray) -> None:
    more = {} if module is triton_http else {"as_json": True}
    with module.InferenceServerClient(server.target) as client:
        for _ in range(3):
            client.infer("linear", given(module, rows))
        found = client.get_inference_statistics("linear", **more)["model_stats"][0]
        assert (found["name"], int(found["inference_count"]), int(found["execution_count"])) == ("linear", 15, 3)
        assert int(found["inference_stats"]["success"]["count"]) == 3
        assert int(found["inference_stats"]["compute_infer"]["ns"]) > 0
        assert client.get_inference_statistics(**more)["model_stats"]
        config = client.get_model_config("linear", **more)
        config = config if module is triton_http else config["config"]
        assert (config["name"], config["max_batch_size"], config["backend"]) == ("linear", 65536, "onnxruntime")


@pytest.mark.parametrize("module", MODULES, ids=["http", "grpc"])
def test_a_new_version_is_loaded_while_others_ask(
    server: Served, shelf: Path, tmp_path: Path, home: Path, module: Any, rows: np.ndarray, expected: np.ndarray
) -> None:
    aweigh.pack(
        str(home.parent / "linear.onnx"), "linear", sample=np.random.default_rng(5).normal(size=(9, 4)).astype("<f4"), home=str(shelf)
    )
    stop, failures, asked = threading.Event(), list[object](), [0]

    def ask() -> None:
        with module.InferenceServerClient(server.target) as mine:
            while not stop.is_set():
                try:
                    assert np.allclose(mine.infer("linear", given(module, rows)).as_numpy("scores"), expected, atol=1e-5)
                    asked[0] += 1
                except (AssertionError, InferenceServerException) as error:
                    failures.append(error)

    other = threading.Thread(target=ask)
    other.start()
    try:
        with module.InferenceServerClient(server.target) as client:
            client.load_model("linear")
            answer = client.infer("linear", given(module, rows)).get_response()
            assert (answer["model_version"] if module is triton_http else answer.model_version) == "2"
            index = client.get_model_repository_index()
            lines = index if module is triton_http else [{"name": m.name, "version": m.version, "state": m.state} for m in index.models]
            states = {(line["name"], line["version"]): line["state"] for line in lines}
            assert states["linear", "2"] == "READY"
            assert states["linear", "1"] in {"UNLOADING", "UNAVAILABLE"}
            assert states["words", "1"] == "UNAVAILABLE"
            client.load_model("words")
            assert client.is_model_ready("words")
            with pytest.raises(InferenceServerException, match="there is no model 'none'"):
                client.load_model("none")
    finally:
        stop.set()
        other.join()
    assert not failures
    assert asked[0] > 10
    with module.InferenceServerClient(server.target) as client:
        client.unload_model("linear")
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'linear' is not found"):
            client.infer("linear", given(module, rows))
        client.load_model("linear")
        assert client.infer("linear", given(module, rows))


def test_model_control_can_be_turned_off(serve: Any) -> None:
    with triton_http.InferenceServerClient(serve("linear", "--model-control", "off").target) as client:
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
            client.unload_model("linear")
        assert client.get_model_repository_index()
        assert client.is_model_ready("linear")

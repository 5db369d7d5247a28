"""Versions as the store and the settings say: followed, several at once, by label, loaded on first use, within a memory budget. Real servers."""

import json
import os
import queue
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper, numpy_helper
from tests.serving.kit import BODY
from tests.serving.served import AWEIGH, Served
from tests.serving.workers import Counting, status, until

import aweigh

MIB = 1024**2


@pytest.fixture(scope="module")
def stages(home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same store with one, two and three versions of `linear`, which differ in their golden sets."""
    made = [home]
    for rows in (9, 10):
        made.append(tmp_path_factory.mktemp("stage") / "home")
        shutil.copytree(made[-2], made[-1])
        sample = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
        aweigh.pack(str(home.parent / "linear.onnx"), "linear", sample=sample, home=str(made[-1]))
    return made


@pytest.fixture
def shelf(stages: list[Path], tmp_path: Path) -> Path:
    """A store of its own, with one version of `linear`, `dear` and `words`."""
    shutil.copytree(stages[0], tmp_path / "home")
    return tmp_path / "home"


def publish(shelf: Path, stage: Path, *, spoilt: bool = False) -> None:
    """Bring a store to a later stage as a publication does: its files first, then its index. `spoilt`: with bytes that are not what they should be."""
    blobs, mine = stage / "store/blobs/sha256", shelf / "store/blobs/sha256"
    for name in {path.name for path in blobs.iterdir()} - {path.name for path in mine.iterdir()}:
        data = (blobs / name).read_bytes()
        (mine / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if spoilt and not data.startswith(b"{") else data)
    shutil.copy(stage / "store/index.json", shelf / "store/index.new")
    (shelf / "store/index.new").replace(shelf / "store/index.json")


def ask(server: Served, path: str, body: bytes = BODY) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://{server.target}{path}", body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")


def version(server: Served, path: str = "/v2/models/linear/infer") -> str:
    code, said = ask(server, path)
    return str(said["model_version"]) if code == 200 else str(code)


def index(server: Served) -> dict[str, tuple[str, str]]:
    _, lines = ask(server, "/v2/repository/index", b"{}")
    return {f"{line['name']}:{line['version']}": (line["state"], line["reason"]) for line in lines}  # type: ignore[index,call-overload]  # a list


@pytest.mark.parametrize(("workers", "transition"), [("1", "availability"), ("2", "availability"), ("1", "resource"), ("2", "resource")])
def test_a_server_follows_its_store_and_loses_nothing(
    serve_from: Any, shelf: Path, stages: list[Path], workers: str, transition: str
) -> None:
    """RevertToSmallerVersionNumber of TensorFlow Serving's aspired_versions_manager_test.cc, and its way there."""
    server = serve_from(shelf, "linear", "--poll-store-s", "0.2", "--workers", workers, "--version-transition", transition)
    with Counting(server, 4) as counting:
        publish(shelf, stages[1])
        until(lambda: version(server) == "2" and index(server)["linear:1"][0] != "READY")
        subprocess.run(
            [AWEIGH, "remove", "linear:2"], env={"AWEIGH_HOME": str(shelf), "PATH": os.environ["PATH"]}, check=True, capture_output=True
        )
        until(lambda: {version(server) for _ in range(4)} == {"1"})
    assert counting.answered > 50
    assert (set(counting.statuses), counting.lost) == ({200}, 0)


def test_aspire_error_dont_unload(serve_from: Any, shelf: Path, stages: list[Path]) -> None:
    """aspired_versions_manager_test.cc of TensorFlow Serving, AspireErrorDontUnload: what cannot be loaded changes nothing, and the reason is told."""
    server = serve_from(shelf, "linear", "--poll-store-s", "0.2")
    publish(shelf, stages[1], spoilt=True)
    until(lambda: index(server).get("linear:2", ("", ""))[1] not in ("", "unloaded"))
    assert index(server)["linear:2"][0] == "UNAVAILABLE"
    assert version(server) == "1"
    publish(shelf, stages[2])
    until(lambda: version(server) == "3")


def test_several_versions_and_labels(serve_from: Any, shelf: Path, stages: list[Path]) -> None:
    environment = {"AWEIGH_HOME": str(shelf), "PATH": os.environ["PATH"]}

    def alias(reference: str, name: str) -> None:
        subprocess.run([AWEIGH, "alias", reference, name], env=environment, check=True, capture_output=True)

    publish(shelf, stages[2])
    alias("linear:2", "stable")
    server = serve_from(shelf, "linear", "--version-policy", "specific:1,2", "--poll-store-s", "0.2")
    assert json.loads(server.get("/v2/models/linear"))["versions"] == ["1", "2"]
    paths = ["/v2/models/linear/infer", *(f"/v2/models/linear/versions/{each}/infer" for each in ("1", "2", "stable", "3", "none"))]
    assert [version(server, path) for path in paths] == ["2", "1", "2", "2", "404", "404"]
    with triton_grpc.InferenceServerClient(server.target) as client:
        assert client.is_model_ready("linear", "stable")
        assert client.get_model_metadata("linear", "stable").name == "linear"
    alias("linear:3", "stable")  # which is not loaded: AssignExistingLabelToUnavailableVersionDisallowed
    until(lambda: any("labels stay" in line for line in server.log))
    assert version(server, "/v2/models/linear/versions/stable/infer") == "2"
    alias("linear:1", "stable")
    until(lambda: version(server, "/v2/models/linear/versions/stable/infer") == "1")
    alias("linear:1", "live")
    until(lambda: version(server) == "1")


def test_what_a_client_loads_holds(serve_from: Any, shelf: Path, stages: list[Path]) -> None:
    publish(shelf, stages[1])
    server = serve_from(shelf, "linear", "--poll-store-s", "0.1")
    assert ask(server, "/v2/repository/models/linear/load", b'{"parameters":{"version":"1"}}')[0] == 200
    for _ in range(20):
        assert version(server) == "1"
        threading.Event().wait(0.02)
    assert ask(server, "/v2/repository/models/linear/load", b"{}")[0] == 200
    assert version(server) == "2"
    assert ask(server, "/v2/repository/models/linear/unload", b"{}")[0] == 200
    threading.Event().wait(0.4)
    assert version(server) == "404"


def test_a_policy_that_cannot_be_read(shelf: Path) -> None:
    environment = {"AWEIGH_HOME": str(shelf), "PATH": os.environ["PATH"]}
    words = [AWEIGH, "serve", "linear", "--port", "0", "--version-policy", "newest"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "'newest' is not a version policy" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_loaded_on_first_use(serve: Any, workers: str) -> None:
    """Many first requests at both doors wait for one load in each process, and all are answered."""
    server = serve("linear", "dear", "words", "--load-on-first-use", "--workers", workers)
    assert server.said["models"] == []
    assert server.said["loaded_on_first_use"] == ["linear:1", "dear:1", "words:1"]
    assert index(server)["linear:1"] == ("UNAVAILABLE", "loaded on first use")
    with triton_http.InferenceServerClient(server.target) as client:
        assert client.is_server_ready()
        assert not client.is_model_ready("linear")
    with ThreadPoolExecutor(8) as pool:
        assert {code for code, _ in pool.map(lambda _: ask(server, "/v2/models/linear/infer"), range(8))} == {200}
    rows = np.ones((1, 4), np.float32)
    given = triton_grpc.InferInput("X", [1, 4], "FP32")
    given.set_data_from_numpy(rows)
    with triton_grpc.InferenceServerClient(server.target) as client:
        assert client.get_model_metadata("words").inputs[0].name == "text", "who asks what it takes may wait too"
        found: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: found.put((result, error)))
        client.async_stream_infer("dear", [given])
        result, error = found.get(timeout=20)
        client.stop_stream()
        assert error is None
        assert np.array_equal(result.as_numpy("Y"), rows)
    for _ in range(10):
        assert ask(server, "/predict/linear", b'{"columns":["a","b","c","d"],"data":[[1,2,3,4]]}')[0] in (200, 400)
    metrics = server.get("/metrics").decode()
    woken = next(int(line.split()[1]) for line in metrics.splitlines() if line.startswith("aweigh_model_wakes_total "))
    assert woken <= 3
    assert ask(server, "/v2/models/none/infer")[0] == 404


def wide(folder: Path, name: str, size_bytes: int) -> Path:
    """Y is a row of W, which takes so many bytes: the row whose number is the sum of X."""
    rows = size_bytes // 16
    weights = np.random.default_rng(3).normal(size=(rows, 4)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceSum", ["X", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mod", ["whole", "rows"], ["row"]),
        helper.make_node("Gather", ["W", "row"], ["Y"]),
    ]
    inputs, outputs = ([helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", 4])] for each in ("X", "Y"))
    constants = [
        numpy_helper.from_array(weights, "W"),
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.int64(rows), "rows"),
    ]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_the_least_recently_used_makes_room(serve_from: Any, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        aweigh.pack(str(wide(tmp_path, name, 24 * MIB)), name, sample=np.ones((2, 4), np.float32), home=str(tmp_path / "home"))
    words = ("--load-on-first-use", "--executor", "inline", "--memory-budget-bytes")
    server = serve_from(tmp_path / "home", "one", "two", "three", *words, str(60 * MIB))

    def use(name: str) -> int:
        return ask(server, f"/v2/models/{name}/infer")[0]

    assert [use(name) for name in ("one", "two", "one", "three")] == [200] * 4
    told = status(server)
    sizes = {each["facts"]["name"]: each["facts"]["memory_bytes"] for each in told["models"]}
    assert all(24 * MIB <= size <= 60 * MIB for size in sizes.values()), sizes
    assert sum(sizes.values()) == told["room"]["used_bytes"] <= told["room"]["budget_bytes"] == 60 * MIB
    assert "three" in sizes
    assert told["asleep"], "three of them do not fit"
    assert told["room"]["evicted"] >= 1
    for _ in range(4):
        assert [use(name) for name in ("two", "three", "one")] == [200] * 3
    resident = status(server)["workers"][0]["resident_bytes"]
    assert resident < 220 * MIB, "what made room is released at once"
    assert b"aweigh_model_evictions_total" in server.get("/metrics")
    shown = subprocess.run(
        [AWEIGH, "status", "--url", server.url], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert "is not loaded: it made room for others" in shown.stdout


def test_insufficient_resources_at_the_start_and_later(serve_from: Any, tmp_path: Path) -> None:
    aweigh.pack(str(wide(tmp_path, "large", 24 * MIB)), "large", sample=np.ones((2, 4), np.float32), home=str(tmp_path / "home"))
    environment = {"AWEIGH_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    words = [AWEIGH, "serve", "large", "--port", "0", "--memory-budget-bytes", str(20 * MIB)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 4
    assert "model 'large:1' needs 24.0 MiB, and of the memory budget of 20.0 MiB 20.0 MiB are free" in done.stderr
    server = serve_from(tmp_path / "home", "large", "--memory-budget-bytes", str(20 * MIB), "--load-on-first-use")
    code, said = ask(server, "/v2/models/large/infer")
    assert code == 503
    assert said["error"].startswith("model 'large:1' needs 24.0 MiB")

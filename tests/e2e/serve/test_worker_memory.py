"""Four workers with a model of 400 MB take at most 1.3 times the memory of one process, and the price of sharing is told."""

import http.client
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.serving.served import Served
from tests.serving.workers import status

import aweigh

SIDE, LAYERS = 3232, 10
BODY = json.dumps({"inputs": [{"name": "X", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}]}).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `wide`: 8 numbers in, ten square layers of 42 MB each, 8 numbers out."""
    folder = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(1)
    sizes = [8, *[SIDE] * (LAYERS + 1), 8]
    weights = [
        numpy_helper.from_array(random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02), f"W{at}")
        for at, (rows, columns) in enumerate(itertools.pairwise(sizes))
    ]
    names = ["X", *[f"h{at}" for at in range(len(weights) - 1)], "Y"]
    nodes = [helper.make_node("MatMul", [names[at], f"W{at}"], [names[at + 1]]) for at in range(len(weights))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "wide", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "wide.onnx")
    sample = random.standard_normal((4, 8), dtype=np.float32)
    aweigh.pack(str(folder / "wide.onnx"), "wide", sample=sample, home=str(folder / "home"))
    (folder / "wide.onnx").unlink()
    return folder / "home"


def memory_of(server: Served) -> int:
    """The sum of PSS of every process of a server that has answered in all of them."""
    for _ in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/v2/models/wide/infer", BODY)
        assert connection.getresponse().status == 200
        connection.close()
    told = status(server)
    workers = sum(worker["proportional_bytes"] for worker in told["workers"])
    parent = told["supervisor_pid"]
    if parent:
        lines = Path(f"/proc/{parent}/smaps_rollup").read_text().splitlines()
        workers += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return workers


@pytest.mark.slow
@pytest.mark.budget
@pytest.mark.timeout(600)
def test_four_workers_take_little_more_memory_than_one_process(home: Path) -> None:
    found = {}
    for workers in (1, 4):
        server = Served(home, "wide", "--workers", str(workers))
        try:
            found[workers] = memory_of(server)
            weights = server.said["models"][0]["weights"]
            if workers > 1:
                assert weights.startswith("shared: ")
                assert "a call takes" in weights
                config = json.loads(server.get("/v2/models/wide/config"))
                assert config["parameters"]["weights"]["string_value"] == weights
        finally:
            assert server.end() == 0
    print(f"one process {found[1] / 2**20:.0f} MiB, four workers {found[4] / 2**20:.0f} MiB; {weights}")
    assert found[1] > 400e6
    assert found[4] <= 1.3 * found[1], found

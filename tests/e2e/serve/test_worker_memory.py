"""Four workers with a model of 400 MB take little more memory than one process, and the price of sharing is told."""

import http.client
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.serving.served import Served
from tests.serving.workers import descendants, status

from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import model_name
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.protocols import Draft
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.store import Store

pytestmark = pytest.mark.alone

SIDE, LAYERS = 3232, 10
MOST = 1.3
BODY = json.dumps({"inputs": [{"name": "X", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}]}).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `wide`: 8 numbers in, ten square layers of 42 MB each, 8 numbers out. Published as it is: proving it takes minutes."""
    folder = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(1)
    sizes = [8, *[SIDE] * (LAYERS + 1), 8]
    names = ["X", *[f"h{at}" for at in range(len(sizes) - 2)], "Y"]
    rows = random.standard_normal((4, 8), dtype=np.float32)
    nodes, constants, answer = [], [], rows
    for at, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights = random.standard_normal((before, after), dtype=np.float32) * np.float32(0.02)
        answer = answer @ weights
        constants.append(numpy_helper.from_array(weights, f"W{at}"))
        nodes.append(helper.make_node("MatMul", [names[at], f"W{at}"], [names[at + 1]]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "wide", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "wide.onnx")
    publish(folder, GoldenAnswers(name="sample", why="rows of the sample", inputs={"X": rows}, outputs=[answer]))
    (folder / "wide.onnx").unlink()
    return folder / "home"


def publish(folder: Path, golden: GoldenAnswers) -> None:
    """Put the model into the store of the folder's home, as one that was proven."""
    specs = {name: TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, 8)) for name in ("X", "Y")}
    signature = Signature(inputs=(specs["X"],), outputs=(specs["Y"],))
    cases, files = golden_files(signature, [golden])
    machine = Machine(system="Linux", architecture="any", processor="any", cores=1)
    evidence = Evidence(passed=True, strength=Strength.FULL, data="a test", made_at="2026-01-01T00:00:00Z", machine=machine, checks=())
    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",), evidence=evidence)
    manifest = PackageManifest(
        format_version=FORMAT_VERSION, signature=signature, variants=(variant,), golden=cases, provenance=Provenance(framework="onnx")
    )
    Store(folder / "home" / "store").publish(
        model_name("wide"), Draft(manifest=manifest, files={**files, "variants/onnx/model.onnx": folder / "wide.onnx"})
    )


def memory_of(server: Served) -> int:
    """The sum of PSS of every process of a server that has answered in all of them."""
    for _ in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/v2/models/wide/infer", BODY)
        assert connection.getresponse().status == 200
        connection.close()
    processes = [server.process.pid, *descendants(server.process.pid)]
    assert {worker["pid"] for worker in status(server)["workers"]} <= set(processes)
    lines = [line for pid in processes for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@pytest.mark.slow
@pytest.mark.budget
@pytest.mark.timeout(600)
def test_four_workers_take_little_more_memory_than_one_process(home: Path) -> None:
    found = {}
    for workers in (1, 4):
        server = Served(home, "wide", "--workers", str(workers), "--executor", "thread")
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
    assert found[4] <= MOST * found[1], found

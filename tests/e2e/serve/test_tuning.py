"""What a real server decides by itself about a dear model: batches, lanes, and batches kept small for an objective; seen in what it tells of itself.

No absolute time is asserted: each figure is held against another of the same run.
"""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.serving.served import Served

import aweigh

Serve = Callable[..., Served]
WIDTH, PLACES, INNER = 32, 64, 1024
CLIENTS = 24
NAME = "rowwise"

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `rowwise`, whose rows are dear, each about as much as the next."""
    folder = tmp_path_factory.mktemp("tuning")
    random = np.random.default_rng(2)
    weights = {
        "places": np.abs(random.normal(0, 1, (PLACES, WIDTH))),
        "up": np.abs(random.normal(0, 0.1, (WIDTH, INNER))),
        "down": np.abs(random.normal(0, 0.1, (INNER, WIDTH))),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["X", "middle"], ["row"]),
        helper.make_node("Mul", ["row", "places"], ["spread"]),
        helper.make_node("MatMul", ["spread", "up"], ["inner"]),
        helper.make_node("MatMul", ["inner", "down"], ["outer"]),
        helper.make_node("ReduceMean", ["outer", "middle"], ["Y"], keepdims=0),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("X", "Y")]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1]), "middle"))
    model = helper.make_model(
        helper.make_graph(nodes, NAME, values[:1], values[1:], constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(model, folder / "rowwise.onnx")
    sample = np.abs(random.normal(size=(20, WIDTH))).astype(np.float32)
    aweigh.pack(str(folder / "rowwise.onnx"), NAME, sample=sample, home=str(folder / "home"))
    return folder / "home"


class Told:
    """What a server says of `rowwise`."""

    def __init__(self, server: Served) -> None:
        said = json.loads(server.get(f"/v2/models/{NAME}/config"))["parameters"]
        self.config: dict[str, str] = {name: value["string_value"] for name, value in said.items()}
        [found] = json.loads(server.get(f"/v2/models/{NAME}/stats"))["model_stats"]
        self.requests: int = found["inference_stats"]["success"]["count"]
        self.executions: int = found["execution_count"]
        self.sizes: dict[int, int] = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in found["batch_stats"]}
        self.running_s: float = sum(batch["compute_infer"]["ns"] for batch in found["batch_stats"]) / 1e9
        self.queue_s: float = found["inference_stats"]["queue"]["ns"] / 1e9

    @property
    def rows(self) -> int:
        return int(self.config["batch_rows"])


def load(server: Served, seconds: float, clients: int = CLIENTS) -> dict[int, int]:
    """As many clients as told ask row by row, again at once whatever they are answered; how often by status."""
    body = json.dumps({"inputs": [{"name": "X", "shape": [1, WIDTH], "datatype": "FP32", "data": [0.5] * WIDTH}]})
    ends, counts, lock = time.monotonic() + seconds, dict[int, int](), threading.Lock()

    def ask() -> None:
        mine = dict[int, int]()
        with contextlib.closing(http.client.HTTPConnection(server.target, timeout=30)) as connection:
            while time.monotonic() < ends:
                connection.request("POST", f"/v2/models/{NAME}/infer", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                mine[answer.status] = mine.get(answer.status, 0) + 1
        with lock:
            for status, count in mine.items():
                counts[status] = counts.get(status, 0) + count

    asking = [threading.Thread(target=ask) for _ in range(clients)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)
    return counts


def test_what_gathers_while_all_lanes_are_busy_runs_together(serve_from: Serve, shelf: Path) -> None:
    together = serve_from(shelf, NAME, "--executor", "thread")
    assert load(together, 1.5).keys() == {200}
    told = Told(together)
    assert (told.config["executor"], told.config["batch_limit_rows"]) == ("thread", "256")
    assert told.rows > 1
    assert told.executions < told.requests / 2
    assert 1 < max(told.sizes) <= CLIENTS
    together.end()
    apart = serve_from(shelf, NAME, "--executor", "thread", "--batching", "off")
    load(apart, 0.5)
    told = Told(apart)
    assert told.executions == told.requests


def test_lanes_run_at_the_same_time(serve_from: Serve, shelf: Path) -> None:
    """Of two lanes both have work; one never runs for longer than the time that went by."""
    shares = []
    for threads in (2, 1):
        server = serve_from(shelf, NAME, "--executor", "thread", "--threads", str(threads), "--session-threads", "1")
        load(server, 0.3)
        before, began = Told(server), time.monotonic()
        load(server, 1.0)
        shares.append((Told(server).running_s - before.running_s) / (time.monotonic() - began))
        server.end()
    two, one = shares
    assert one <= 1.0
    assert two > 1.2 * one


def test_how_the_cores_are_shared_out_is_measured_and_told(serve_from: Serve, shelf: Path) -> None:
    reason = Told(serve_from(shelf, NAME, "--executor", "thread")).config["executor_reason"]
    if "measured" not in reason:
        pytest.skip("one core: there is nothing to share out")
    assert "rows/s in one call on" in reason
    assert "in a call per core" in reason


def test_an_objective_keeps_batches_and_queue_short(serve_from: Serve, shelf: Path) -> None:
    free = serve_from(shelf, NAME, "--executor", "thread", "--threads", "1", "--session-threads", "1")
    load(free, 1.5)
    without = Told(free)
    free.end()
    row_ms = 1e3 * without.running_s / without.requests
    limit_ms = 4 * row_ms
    words = ("--threads", "1", "--session-threads", "1", "--objective", f"p99 <= {limit_ms:.1f}ms")
    held = serve_from(shelf, NAME, "--executor", "thread", *words)
    counts = load(held, 2.0)
    told = Told(held)
    assert told.rows < without.rows
    assert "p99 <= " in told.config["batch_reason"]
    assert counts[429] > 0
    assert told.queue_s / told.requests < without.queue_s / without.requests


def test_refusals_that_are_repeated_at_once_do_not_make_batches_small(serve_from: Serve, shelf: Path) -> None:
    """Refusing takes the cores from the batches; what they cost meanwhile is not what batches cost."""
    words = ("--executor", "thread", "--threads", "1", "--session-threads", "1")
    free = serve_from(shelf, NAME, *words)
    load(free, 1.0)
    told = Told(free)
    free.end()
    limit_ms = 24e3 * told.running_s / told.requests
    held = serve_from(shelf, NAME, *words, "--objective", f"p99 <= {limit_ms:.1f}ms")
    before = Told(held).rows
    rows = []
    for _ in range(6):
        counts = load(held, 1.2, clients=64)
        rows.append(Told(held).rows)
    assert counts[429] > counts[200]
    assert max(rows[3:]) >= before / 2, (before, rows)  # the first rounds are still learning how fast the machine is now
    lines = [json.loads(line) for line in held.log if '"overloaded"' in line]
    assert len(lines) < counts[429] / 10

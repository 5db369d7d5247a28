"""A pipeline of three packages and a Python step, served: it answers as its parts do by hand, and says what each step did."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import InvalidInput

Serve = Callable[..., Served]
STEPS = ("scale", "linear", "tree", "both", "deep", "answer")


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes())


def steps(server: Served, name: str = "checkout") -> dict[str, dict[str, object]]:
    return {step["name"]: step for step in json.loads(server.get(f"/pipelines/{name}"))["steps"]}


def check(server: Served, data: np.ndarray, expected: dict[str, np.ndarray], protocol: str = "rest") -> None:
    with aweigh.Client(server.url, protocol=protocol) as client:  # type: ignore[arg-type]  # one of two words
        whole = client.infer("checkout", {"raw": data * np.float32(100)})
        assert same(whole["probabilities"], expected["probabilities"])
        assert same(whole["label"], expected["label"])
        for at in range(40):
            one = client.infer("checkout", {"raw": data[at : at + 1] * np.float32(100)})
            assert np.allclose(one["probabilities"], expected["probabilities"][at : at + 1], atol=1e-5)
            assert same(one["label"], expected["label"][at : at + 1])


def test_it_answers_as_the_parts_do_by_hand_bit_for_bit(serve: Serve, data: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    server = serve("checkout")
    for protocol in ("rest", "grpc"):
        check(server, data, expected, protocol)
    done = steps(server)
    assert tuple(done) == STEPS
    assert done["scale"]["executor"] == "process"
    assert done["tree"]["answered_rows"] == 2 * (len(data) + 40)
    assert done["deep"]["answered_rows"] == 2 * (
        int((expected["probabilities"][:, 1] > 0.5).sum()) + int((expected["probabilities"][:40, 1] > 0.5).sum())
    )
    stats = json.loads(server.get("/v2/models/checkout/stats"))["model_stats"]
    assert [each["name"] for each in stats] == ["checkout", *(f"checkout/{step}" for step in STEPS)]
    assert "scale" in json.loads(server.get("/v2/models/checkout/config"))["parameters"]["step_linear"]["string_value"]
    assert 'aweigh_step_rows_total{pipeline="checkout",version="1",step="linear",model="linear:1"}' in server.get("/metrics").decode()


@pytest.mark.parametrize("words", [(), ("--functions", "server")], ids=["function in a process", "function in the server"])
def test_rows_of_many_requests_run_together_at_each_step(
    serve: Serve, data: np.ndarray, expected: dict[str, np.ndarray], words: tuple[str, ...]
) -> None:
    server, wrong = serve("checkout", *words), []

    def ask(which: int) -> None:
        with aweigh.Client(server.url) as client:
            for at in range(which, which + 40):
                found = client.infer("checkout", {"raw": data[at : at + 1] * np.float32(100)})
                if not same(found["label"], expected["label"][at : at + 1]):
                    wrong.append(at)

    askers = [threading.Thread(target=ask, args=(8 * which,)) for which in range(12)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert not wrong
    done = steps(server)
    for name in ("scale", "linear", "tree"):
        assert done[name]["answered_rows"] == 480
        assert int(str(done[name]["executions"])) < 480, "some ran together"
    assert done["scale"]["executor"] == ("process" if not words else "inline")


def test_a_step_that_fails_is_reported_by_name(serve: Serve, data: np.ndarray) -> None:
    server = serve("checkout")
    bad = data[:2] * np.float32(100)
    bad[1, 0] = -7
    with aweigh.Client(server.url) as client, pytest.raises(InvalidInput) as caught:
        client.infer("checkout", {"raw": bad})
    assert (
        "step 'scale' of pipeline 'checkout': function features.py:scale failed: ValueError: a row of minus seven" in caught.value.message
    )
    assert steps(server)["scale"]["failed"] == 1
    assert steps(server)["linear"]["requests"] == 0


def test_a_deadline_that_passes_within_a_step_names_the_next_which_is_not_started(serve: Serve, data: np.ndarray) -> None:
    server = serve("checkout")
    slow = [-8.0, *map(float, data[0, 1:])]
    request = {"inputs": [{"name": "raw", "shape": [1, 6], "datatype": "FP32", "data": slow}], "parameters": {"timeout": 300_000}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/v2/models/checkout/infer", json.dumps(request))
    answer = connection.getresponse()
    said = json.loads(answer.read())["error"]
    connection.close()
    assert answer.status == 504
    assert said.startswith("step 'linear' of pipeline 'checkout': the request's deadline passed")
    done = steps(server)
    assert (done["scale"]["executions"], done["linear"]["executions"], done["tree"]["executions"]) == (1, 0, 0)
    with aweigh.Client(server.url) as client:
        client.infer("checkout", {"raw": data[:1] * np.float32(100)})


def test_two_workers_answer_and_count_together(serve: Serve, data: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    server = serve("checkout", "votes", "tree", "--workers", "2")
    for _ in range(4):
        check(server, data, expected)
    assert steps(server)["tree"]["answered_rows"] == 4 * (len(data) + 40)
    with aweigh.Client(server.url) as client:
        found = client.infer("votes", {"X": (data * np.float32(100) / np.float32(100)).astype(np.float32)})
    assert found["label"].tolist() == expected["votes"].tolist()


def test_the_server_keeps_one_session_for_all_that_serve_a_digest(serve: Serve, data: np.ndarray) -> None:
    server = serve("votes", "checkout", "tree")
    with aweigh.Client(server.url) as client:
        client.infer("tree", {"X": data[:3]})
        client.infer("votes", {"X": data[:5]})
    counts = {each["name"]: each["inference_count"] for each in json.loads(server.get("/v2/models/stats"))["model_stats"]}
    assert counts["tree"] == 3, "a step is counted by itself"
    assert counts["votes/tree"] == 5
    assert counts["checkout/tree"] == 0


def test_in_python_a_pipeline_is_a_mapping_and_may_hold_pipelines(copied: Path, data: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    nested = {
        "step": [
            {"name": "inner", "model": "votes"},
            {"name": "tree", "model": "tree"},
            {"name": "two", "combine": "concat", "inputs": ["inner", "tree.label"]},
        ],
        "outputs": {"labels": "two"},
    }
    package = aweigh.pack(nested, "nested", home=str(copied))
    assert [part.name for part in package.manifest.parts] == ["votes", "tree"]
    with aweigh.load("nested", home=str(copied)) as model:
        labels = model.infer({"X": data})["labels"]
    assert labels.shape == (len(data), 2)
    assert labels[:, 0].tolist() == expected["votes"].tolist()


@pytest.mark.budget
def test_a_step_adds_less_than_its_budget_beyond_what_its_model_takes(home: Path, data: np.ndarray) -> None:
    """50 us a step, with fivefold slack: in one call on this machine, whatever else runs there; the quickest of many counts."""

    def quickest_us(run: Callable[[dict[str, np.ndarray]], object]) -> float:
        feeds, best = {"X": data[:1]}, 1.0
        for _ in range(300):
            began = time.perf_counter()
            run(feeds)
            best = min(best, time.perf_counter() - began)
        return best * 1e6

    parts = 0.0
    for name in ("linear", "tree", "deep"):
        with aweigh.load(name, home=str(home)) as model:
            parts += quickest_us(model._loaded.run)
    with aweigh.load("votes", home=str(home)) as model:
        assert model._loaded.report.executor == "inline", model._loaded.report.why
        added = (quickest_us(model._loaded.run) - parts) / len(model._loaded.steps)
    assert added < 5 * 50
    print(f"{added:.1f} us a step")

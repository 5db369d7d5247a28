"""Statistics and configuration in Triton's fields, the same at both doors."""

import json
import time
from typing import Any

import pytest
from google.protobuf import json_format
from tests.serving.kit import BODY, Http2Peer, Rig, exchange, get, infer_message, model, post, rig

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.engine.statistics import MAX_BATCH_SIZES, ModelStatistics
from aweigh.protos import message
from aweigh.serve.model_facts import requested_version


def rest(server: Rig, path: str) -> Any:
    found = exchange(server, get(path))[0]
    assert found.status == 200
    return json.loads(found.body)


def grpc(server: Rig, method: str, **asked: Any) -> Any:
    peer = Http2Peer(server)
    stream = peer.call(message(f"inference.{method}Request")(**asked).SerializeToString(), f"/inference.GRPCInferenceService/{method}")
    peer.pump()
    return json_format.MessageToDict(
        peer.response(stream).message(f"inference.{method}Response"),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def test_statistics_count_what_was_asked() -> None:
    server = rig(model(), model(name="rose"))
    two = json.dumps({"inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32", "data": [1.0] * 8}]}).encode()
    before = time.time() * 1000
    exchange(server, post() + post(body=two) + post(body=BODY[:-3]))
    peer = Http2Peer(server)
    peer.call(infer_message().SerializeToString())
    peer.pump()
    said = rest(server, "/v2/models/iris/stats")["model_stats"]
    assert len(said) == 1
    found = said[0]
    assert (found["name"], found["version"], found["inference_count"], found["execution_count"]) == ("iris", "1", 4, 3)
    assert before - 1000 <= found["last_inference"] <= time.time() * 1000
    spans = found["inference_stats"]
    assert [spans[name]["count"] for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")] == [
        3,
        1,
        3,
        3,
        3,
        3,
    ]
    parts = sum(spans[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert all(spans[name]["ns"] > 0 for name in ("compute_input", "compute_infer", "compute_output"))
    assert abs(parts - spans["success"]["ns"]) < 10
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in found["batch_stats"]] == [(1, 2), (2, 1)]
    also = grpc(server, "ModelStatistics", name="iris")["model_stats"][0]
    assert int(also["inference_stats"]["success"]["ns"]) == spans["success"]["ns"]
    assert int(also["batch_stats"][1]["compute_infer"]["count"]) == 1
    assert [each["name"] for each in rest(server, "/v2/models/stats")["model_stats"]] == ["iris", "rose"]
    assert [each["name"] for each in grpc(server, "ModelStatistics")["model_stats"]] == ["iris", "rose"]
    assert rest(server, "/v2/models/rose/versions/1/stats")["model_stats"][0]["last_inference"] == 0
    assert exchange(server, get("/v2/models/none/stats"))[0].status == 404


def test_sizes_of_batches_are_bounded() -> None:
    done = ModelStatistics()
    for rows in range(2 * MAX_BATCH_SIZES):
        done.success(0.001, rows)
    assert len(done.batches) == MAX_BATCH_SIZES


def test_configuration_is_the_same_at_both_doors() -> None:
    server = rig(max_rows=100)
    said = rest(server, "/v2/models/iris/config")
    assert (said["max_batch_size"], said["input"]) == (100, [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}])
    assert said["output"] == [
        {"name": "label", "data_type": "TYPE_INT64", "dims": []},
        {"name": "scores", "data_type": "TYPE_FP32", "dims": [3]},
    ]
    assert said["parameters"]["executor"] == {"string_value": "inline"}
    config = grpc(server, "ModelConfig", name="iris")["config"]
    assert {name: config[name] for name in ("max_batch_size", "platform", "backend", "parameters")} == {
        name: said[name] for name in ("max_batch_size", "platform", "backend", "parameters")
    }
    assert config["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": ["4"]}]


def test_which_version_a_load_asks_for() -> None:
    assert requested_version({}) is None
    assert requested_version({"version": "7"}) == requested_version({"version": 7}) == 7
    for wrong in ({"version": "x"}, {"version": -1}, {"version": 1.5}):
        with pytest.raises(InvalidInput):
            requested_version(wrong)
    for triton in ({"config": "{}"}, {"file:1/model.onnx": "AA=="}):
        with pytest.raises(Unsupported):
            requested_version(triton)


def test_bodies_of_repository_requests() -> None:
    for body, status in (
        (b"", 501),
        (b"{}", 501),
        (b"[]", 400),
        (b"{", 400),
        (b'{"parameters":7}', 400),
        (b'{"parameters":{"config":"{}"}}', 501),
    ):
        assert exchange(rig(), post("/v2/repository/models/iris/load", body))[0].status == status

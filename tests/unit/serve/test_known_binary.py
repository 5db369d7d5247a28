"""What the JSON before raw tensors says is read once: the answers are those of a server that reads it each time."""

import json
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import Answer, Rig, exchange, model, post, rig

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype

PATH = "/v2/models/iris/infer"


def binary(rows: list[list[float]], *, size: int | None = None, blob: bytes | None = None, **more: Any) -> bytes:
    raw = np.array(rows, dtype="<f4").tobytes() if blob is None else blob
    shape = [len(rows), len(rows[0])]
    given = {"name": "X", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(raw) if size is None else size}}
    header = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}, **more}).encode()
    return post(PATH, header + raw, f"Inference-Header-Content-Length: {len(header)}")


def asked_twice(server: Rig, data: bytes) -> Answer:
    """The answer of the second time, which must be that of a server that was never asked before."""
    fresh, once, again = (exchange(on, data)[0] for on in (rig(), server, server))
    for answer in (fresh, once, again):
        for varying in ("date", "x-request-id"):
            answer.headers.pop(varying, None)
    assert fresh == once == again
    return again


def told(answer: Answer) -> dict[str, np.ndarray]:
    at = int(answer.headers["inference-header-content-length"])
    found = {}
    for entry in json.loads(answer.body[:at])["outputs"]:
        end = at + entry["parameters"]["binary_data_size"]
        dtype = {"INT64": "<i8", "FP32": "<f4"}[entry["datatype"]]
        found[entry["name"]] = np.frombuffer(answer.body[at:end], dtype).reshape(entry["shape"])
        at = end
    assert at == len(answer.body)
    return found


def test_other_numbers_get_other_answers() -> None:
    server = rig()
    for rows in ([[1, 2, 3, 4]], [[5, 6, 7, 8]], [[9, 9, 9, 9], [1, 1, 1, 1]], [[2, 2, 2, 2]]):
        found = told(asked_twice(server, binary(rows)))
        assert found["label"].tolist() == [sum(row) for row in rows]
        assert found["scores"].tolist() == [row[:3] for row in rows]


@pytest.mark.parametrize(
    "more",
    [
        {"id": "seven"},
        {"outputs": [{"name": "scores", "parameters": {"binary_data": True}}]},
        {"outputs": [{"name": "scores"}], "parameters": {}},
        {"outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "scores", "parameters": {"binary_data": True}}], "parameters": {}},
        {"outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
        {"parameters": {"binary_data_output": True, "timeout": 5_000_000, "priority": 1}},
        {"parameters": {"binary_data_output": True, "timeout": -1}},
        {"outputs": [{"name": "none"}]},
    ],
)  # fmt: skip
def test_whatever_else_is_asked_is_answered_alike(more: dict[str, Any]) -> None:
    asked_twice(rig(), binary([[1, 2, 3, 4]], **more))


def test_what_does_not_fit_is_refused_after_what_fits_as_before() -> None:
    server = rig()
    assert asked_twice(server, binary([[1, 2, 3, 4]])).status == 200
    for broken in (
        binary([[1, 2, 3, 4]], size=16, blob=bytes(12)),
        binary([[1, 2, 3, 4]], size=16, blob=bytes(20)),
        binary([[1, 2, 3, 4]], size=12, blob=bytes(12)),
        binary([[float("nan"), 2, 3, 4]]),
    ):
        asked_twice(server, broken)
    assert asked_twice(server, binary([[1, 2, 3, 4]])).status == 200


def test_outputs_of_varying_shape_say_their_own() -> None:
    spec = TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 4))
    changing = Signature(inputs=(spec,), outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=("found",)),))
    server = rig(model(lambda inputs: [inputs["X"][inputs["X"] > 0].ravel()], of=changing))
    for row in ([1, 2, 3, 4], [0, 2, 3, 0], [0, 0, 0, 0], [0, 2, 3, 0]):
        for _ in range(2):
            (answer,) = exchange(server, binary([row]))
            at = int(answer.headers["inference-header-content-length"])
            (entry,) = json.loads(answer.body[:at])["outputs"]
            assert np.frombuffer(answer.body[at:], "<f4").tolist() == [value for value in row if value]
            assert entry["shape"] == [sum(value > 0 for value in row)]


def test_the_memory_is_bounded() -> None:
    server = rig()
    for at in range(200):
        exchange(server, binary([[1, 2, 3, 4]] * (1 + at)))
    kept = server.dataplane.find("iris", "").prepared["open-inference-rest binaries"]
    assert 0 < len(kept._known) <= 64

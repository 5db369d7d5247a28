"""Classification and parameters, at both doors."""

import json
import time
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import BODY, HeldThreads, Http2Peer, exchange, infer_message, model, post, rig, signature

from aweigh.serve.classes import classified

SPEC = signature().outputs[1]


def test_the_largest_come_first_and_equals_keep_their_order() -> None:
    labelled = signature(labels=("cat", "dog", "eel"))
    rows = np.array([[0.25, 0.5, 0.25], [np.nan, -1.0, 7.0]], dtype=np.float32)
    assert classified(rows, 2, SPEC, labelled).tolist() == [["0.500000:1:dog", "0.250000:0:cat"], ["7.000000:2:eel", "-1.000000:1:dog"]]
    assert classified(rows[1:], 9, SPEC, labelled).tolist() == [["7.000000:2:eel", "-1.000000:1:dog", "nan:0:cat"]]
    integers = np.array([[3, 255, 3, 0]], dtype=np.uint8)
    assert classified(integers, 3, SPEC, labelled).tolist() == [["255:1", "3:0", "3:2"]]
    assert classified(np.zeros((0, 3), np.float32), 2, SPEC, labelled).shape == (0, 2)
    unbatched = signature(inputs=(type(SPEC)(name="X", datatype=SPEC.datatype, shape=(4,)),))
    assert classified(np.array([1.0, 3.0, 2.0], np.float32), 1, SPEC, unbatched).tolist() == ["3.000000:1:1"]


def rest(extra: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    found = exchange(rig(), post(body=json.dumps({**json.loads(BODY), **extra}).encode()))[0]
    return found.status, json.loads(found.body)


def test_both_doors_classify_alike() -> None:
    status, said = rest({"outputs": [{"name": "scores", "parameters": {"classification": 2}}, {"name": "label"}]})
    assert status == 200
    assert said["outputs"][0] == {"name": "scores", "datatype": "BYTES", "shape": [1, 2], "data": ["3.000000:2:2", "2.000000:1:1"]}
    assert said["outputs"][1]["data"] == [10]
    asked = infer_message(id="7")
    asked.outputs.add(name="scores").parameters["classification"].int64_param = 2
    asked.outputs.add(name="label")
    peer = Http2Peer(rig())
    stream = peer.call(asked.SerializeToString())
    peer.pump()
    answer = peer.response(stream).message()
    assert (answer.id, answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("7", "BYTES", [1, 2])
    assert answer.raw_output_contents[0] == b"\x0c\0\0\0003.000000:2:2\x0c\0\0\0002.000000:1:1"
    assert answer.raw_output_contents[1] == (10).to_bytes(8, "little")


PARAMETERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "anything of one's own": ({"a": 1, "b": "x", "c": True, "d": 0.5}, 200, ""),
    "a sequence": ({"sequence_id": 7, "sequence_start": True, "sequence_end": False}, 200, ""),
    "priority": ({"priority": 1}, 200, ""),
    "negative priority": ({"priority": -1}, 400, "Unable to parse 'priority'"),
    "timeout of text": ({"timeout": "1"}, 400, "Unable to parse 'timeout'"),
    "flag of a number": ({"sequence_start": 1}, 400, "Unable to parse 'sequence_start'"),
    "reserved": ({"triton_x": 1}, 400, "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."),
    "headers": ({"headers": "x"}, 400, "parameter 'headers' is reserved"),
    "a list": ({"a": [1]}, 400, "parameter 'a' has invalid type. It should be either 'int', 'bool', or 'string'."),
}


@pytest.mark.parametrize(("parameters", "status", "text"), PARAMETERS.values(), ids=PARAMETERS)
def test_request_parameters(parameters: dict[str, Any], status: int, text: str) -> None:
    found, said = rest({"parameters": parameters})
    assert (found, said.get("error", "").startswith(text)) == (status, True)


@pytest.mark.parametrize("classes", [-1, 1.5, "2", True, [1]])
def test_classes_are_a_count(classes: object) -> None:
    found, said = rest({"outputs": [{"name": "scores", "parameters": {"classification": classes}}]})
    assert (found, said["error"].startswith("Unable to parse 'classification'")) == (400, True)


def test_the_timeout_parameter_is_a_deadline_in_microseconds() -> None:
    for body, header, seconds in (
        (b',"parameters":{"timeout":5000000}}', "A: b", 5.0),
        (b',"parameters":{"timeout":5000000}}', "X-Request-Timeout-Ms: 1000", 1.0),
    ):
        held = HeldThreads()
        _, pipe = rig(model(threads=held)).open()
        pipe.send(post("/v2/models/iris/infer", BODY[:-1] + body, header))
        deadline = held.held[0][1].deadline
        assert deadline is not None
        assert abs(deadline - time.monotonic() - seconds) < 0.5
    asked = infer_message()
    asked.parameters["timeout"].uint64_param = 3_000_000
    held = HeldThreads()
    peer = Http2Peer(rig(model(threads=held)))
    peer.call(asked.SerializeToString())
    peer.pump()
    deadline = held.held[0][1].deadline
    assert deadline is not None
    assert abs(deadline - time.monotonic() - 3.0) < 0.5

"""What the parameters of a request ask for: a deadline, a place in the queue; what is refused, and what passes without effect."""

import asyncio
import json
import time
from typing import Any

import pytest
from tests.serving.kit import HeldThreads, Http2Peer, answers, exchange, infer_message, model, post, rig

TENSOR = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def asked(**parameters: Any) -> bytes:
    return post(body=json.dumps({"inputs": [TENSOR], "parameters": parameters}).encode())


def held(parameters: dict[str, Any]) -> list[Any]:
    """The callers of one request at each door, as they wait for a thread."""

    async def main() -> list[Any]:
        threads = HeldThreads()
        server = rig(model(threads=threads))
        _, pipe = server.open()
        pipe.send(asked(**parameters))
        message = infer_message()
        for name, value in parameters.items():
            message.parameters[name].int64_param = value
        peer = Http2Peer(server)
        peer.call(message.SerializeToString())
        peer.pump()
        return [caller for _, caller, _ in threads.held]

    return asyncio.run(main())


def test_a_timeout_is_a_deadline_from_the_arrival() -> None:
    before = time.monotonic()
    for caller in held({"timeout": 5_000_000}):
        assert before + 4.9 < caller.deadline < time.monotonic() + 5
    assert [caller.deadline for caller in held({"timeout": 0})] == [None, None]
    assert all(caller.deadline < before + 2e6 for caller in held({"timeout": 2**62}))


def test_priority_is_the_place_in_the_queue() -> None:
    assert [caller.priority for caller in held({"priority": 3})] == [3, 3]
    assert [caller.priority for caller in held({})] == [0, 0]


def test_time_that_is_up_already_runs_nothing() -> None:
    server = rig()
    found = exchange(server, asked(timeout=1))[0]
    assert (found.status, json.loads(found.body)["error"]) == (504, "the request's timeout of 1 us passed before it was started")
    done = next(iter(server.dataplane.models())).statistics
    assert (done.succeeded, done.executions, sum(done.failed.values())) == (0, 0, 1)
    assert done.failed_s > 0


REFUSED = {
    "timeout": (-1, 1.5, "1", True, None), "priority": (-1, "high", False), "sequence_id": (-1, 1.5, True, []), "sequence_start": (1, "yes"),
    "sequence_end": (0,), "binary_data_output": ("true",), "headers": ("x",), "triton_x": (1,), "mine": ([1], {"a": 1}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_parameters_of_another_kind_are_refused(name: str, value: object) -> None:
    found = exchange(rig(), asked(**{name: value}))[0]
    assert found.status == 400
    said = json.loads(found.body)["error"]
    assert name in said or "triton_" in said


def test_parameters_without_effect_pass() -> None:
    for parameters in (
        {"sequence_id": 7, "sequence_start": True, "sequence_end": True}, {"sequence_id": "seven"}, {"mine": "x", "yours": 1.5, "ours": True},
        {"triton_enable_empty_final_response": True},
    ):  # fmt: skip
        assert exchange(rig(), asked(**parameters))[0].status == 200


GENERATE = "/v2/models/iris/generate"


def generated(body: object, path: str = GENERATE) -> Any:
    _, pipe = (server := rig()).open()
    del server
    pipe.send(post(path, json.dumps(body).encode()))
    return answers(pipe.take())[0]


def test_generate_takes_inputs_by_name_and_gives_outputs_by_name() -> None:
    found = generated({"id": "7", "X": [1, 2, 3, 4], "parameters": {"temperature": 0}})
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.body == b'{"id":"7","label":10,"model_name":"iris","model_version":"1","scores":[1.0,2.0,3.0]}'
    assert json.loads(generated({"X": [1, 2, 3, 4, 5, 6, 7, 8]}).body)["label"] == [10, 26]
    assert json.loads(generated({"parameters": {"X": [1, 2, 3, 4]}}).body)["label"] == 10


def test_generate_stream_gives_one_event() -> None:
    found = generated({"X": [1, 2, 3, 4]}, f"{GENERATE}_stream")
    assert found.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert found.body == b'data: {"label":10,"model_name":"iris","model_version":"1","scores":[1.0,2.0,3.0]}\n\n'


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'iris'"), ([], "not a generate request"),
        ({"X": [1, 2, 3]}, "The schema can not convert input 'X' to tensor with proper shape"), ({"X": 1}, "The schema can not convert input 'X'"),
        ({"X": [[1, 2, 3, 4]] * 4}, "The schema can not convert input 'X'"), ({"X": ["a", "b", "c", "d"]}, "$.X.data"),
        ({"X": [1, 2, 3, 4], "id": 7}, "Unable to parse 'id'"), ({"X": [1, 2, 3, 4], "parameters": []}, "Expected JSON object for keyword: 'parameters'"),
        ({"X": [1, 2, 3, 4], "mine": [1]}, "parameter 'mine' has invalid type"), ({"X": [1, 2, 3, 4], "timeout": 1}, "the request's timeout of 1 us"),
    ],
)  # fmt: skip
def test_generate_explains_what_is_wrong(body: object, text: str) -> None:
    for path in (GENERATE, f"{GENERATE}_stream"):
        found = generated(body, path)
        assert found.status in {400, 504}
        assert json.loads(found.body)["error"].startswith(text)

"""Deadlines (B.3 numbers 21 and 22): whoever states one, and however, it reaches every queue, and work that is too late is never started."""

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from time import monotonic
from typing import Any

import grpc
import numpy as np
import pytest
from tests.faults.conftest import Start
from tests.faults.counted import Counted, row
from tests.faults.leaks import Leaks
from tests.serving.served import Served
from tests.serving.workers import until
from tritonclient.grpc import service_pb2, service_pb2_grpc

TURNED_AWAY = {"429", "504", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
STATED = ("x-request-timeout-ms", "timeout", "grpc-timeout", "grpc parameter")
"""The ways to state a deadline: a header, Triton's parameter (in microseconds) in JSON, gRPC's own, and Triton's parameter in a message."""
QUEUES = {"one by one": ("--batching", "off"), "together": (), "two processes": ("--batching", "off", "--processes", "2")}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    return Counted(tmp_path_factory.mktemp("deadlines"))


def over_rest(server: Served, values: list[float], deadline_ms: int, stated: str, model: str) -> str:
    headers = {"x-request-timeout-ms": str(deadline_ms)} if stated == STATED[0] and deadline_ms else {}
    parameters = {"parameters": {"timeout": deadline_ms * 1000}} if stated == STATED[1] and deadline_ms else {}
    body = {"inputs": [{"name": "X", "shape": [1, len(values)], "datatype": "FP32", "data": values}], **parameters}
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body), headers)
        return str(connection.getresponse().status)
    finally:
        connection.close()


def over_grpc(server: Served, values: list[float], deadline_ms: int, stated: str, model: str) -> str:
    asked: Any = service_pb2.ModelInferRequest(model_name=model)
    asked.inputs.add(name="X", datatype="FP32", shape=[1, len(values)])
    asked.raw_input_contents.append(np.array(values, "<f4").tobytes())
    if stated == STATED[3] and deadline_ms:
        asked.parameters["timeout"].int64_param = deadline_ms * 1000
    with grpc.insecure_channel(server.target) as channel:
        timeout_s = deadline_ms / 1000 if stated == STATED[2] and deadline_ms else 20
        try:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=timeout_s)
        except grpc.RpcError as error:
            again = "retry-after" in dict(error.trailing_metadata())
            return (
                str(error.code().name)
                if again or error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED
                else "no word of when to come again"
            )
    return "200"


def ask(server: Served, values: list[float], deadline_ms: int = 0, stated: str = STATED[0], model: str = "counted") -> str:
    return (over_grpc if stated.startswith("grpc") else over_rest)(server, values, deadline_ms, stated, model)


class Aside(threading.Thread):
    """A request whose outcome is asked for later."""

    def __init__(self, *asked: Any, **more: Any) -> None:
        super().__init__()
        self._asked, self._more = asked, more
        self.status, self.took_s = "", 0.0
        self.start()

    def run(self) -> None:
        began = monotonic()
        self.status = ask(*self._asked, **self._more)
        self.took_s = monotonic() - began


@pytest.fixture(scope="module")
def numbers() -> Iterator[float]:
    """Numbers that no request had before."""
    return iter(np.arange(10.0, 10_000.0).tolist())


def warm_up(server: Served, numbers: Iterator[float], lanes: int) -> None:
    """Until all processes of the model answer, side by side."""

    def together() -> bool:
        asides = [Aside(server, row(next(numbers), 0.3)) for _ in range(lanes)]
        for each in asides:
            each.join()
        return max(each.took_s for each in asides) < 0.5

    until(together, 30)


@pytest.mark.parametrize("queue", ["one by one", "together", pytest.param("two processes", marks=pytest.mark.slow)])
def test_21_a_deadline_of_10_ms_behind_a_request_of_a_second(start: Start, counted: Counted, numbers: Iterator[float], queue: str) -> None:
    server = start("counted", *QUEUES[queue], where=counted.home)
    lanes = 2 if queue == "two processes" else 1
    warm_up(server, numbers, lanes)
    leaks = Leaks(server)
    slow = [next(numbers) for _ in range(lanes)]
    running = [Aside(server, row(number, 1.0)) for number in slow]
    until(lambda: all(counted.ran(number) for number in slow))
    began = monotonic()
    late = [next(numbers) for _ in STATED]
    behind = [Aside(server, row(number), 10, stated) for number, stated in zip(late, STATED, strict=True)]
    for each in behind:
        each.join()
    assert monotonic() - began < 0.8  # while the lane was still taken
    for each in running:
        each.join()
    assert {each.status for each in running} == {"200"}
    assert {each.status for each in behind} <= TURNED_AWAY
    assert ask(server, row(next(numbers))) == "200"
    assert [counted.ran(number) for number in late] == [0] * len(late)
    leaks.check()


@pytest.mark.parametrize("queue", [pytest.param("one by one", marks=pytest.mark.slow), "together", "two processes"])
def test_22_what_expires_while_it_waits_is_never_started_and_what_has_time_is(
    start: Start, counted: Counted, numbers: Iterator[float], queue: str
) -> None:
    server = start("counted", *QUEUES[queue], where=counted.home)
    lanes = 2 if queue == "two processes" else 1
    warm_up(server, numbers, lanes)
    leaks = Leaks(server)
    slow = [next(numbers) for _ in range(lanes)]
    running = [Aside(server, row(number, 0.8)) for number in slow]
    until(lambda: all(counted.ran(number) for number in slow))
    short, long = [next(numbers) for _ in STATED], [next(numbers) for _ in STATED]
    expiring = [Aside(server, row(number), 250, stated) for number, stated in zip(short, STATED, strict=True)]
    waiting = [Aside(server, row(number), 15_000, stated) for number, stated in zip(long, STATED, strict=True)]
    for each in [*running, *expiring, *waiting]:
        each.join()
    assert {each.status for each in waiting} == {"200"}
    assert {each.status for each in expiring} <= TURNED_AWAY
    assert max(each.took_s for each in expiring) < 0.7
    assert [counted.ran(number) for number in long] == [1] * len(long)
    assert [counted.ran(number) for number in short] == [0] * len(short)
    leaks.check()


def executions(server: Served, model: str) -> int:
    return int(json.loads(server.get(f"/v2/models/{model}/stats"))["model_stats"][0]["execution_count"])


def test_22_on_threads(start: Start, counted: Counted) -> None:
    server = start("lasting", "--executor", "thread", "--threads", "1", "--session-threads", "1", where=counted.home)
    assert ask(server, [1.0], model="lasting") == "200"
    before, leaks = executions(server, "lasting"), Leaks(server)
    running = Aside(server, [7777.0], model="lasting")
    time.sleep(0.1)
    expiring = [Aside(server, [1.0], 100, stated, model="lasting") for stated in STATED]
    for each in expiring:
        each.join()
    assert running.is_alive()
    assert {each.status for each in expiring} <= TURNED_AWAY
    running.join()
    assert running.status == "200"
    assert executions(server, "lasting") == before + 1
    leaks.check(memory=0.2)

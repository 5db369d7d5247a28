"""B.3 26: one row of a batch of 32 makes the call of the model fail: 31 right answers, one error. On the event loop, on threads and in processes."""

import contextlib
import http.client
import json
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.shelves import metric_of
from tests.serving.kit import Http2Peer
from tests.serving.models import table
from tests.serving.served import Served

import aweigh
from aweigh.protos import message

ROWS = 32
POISON = 99
Ask = Callable[[Served, list[int]], list[float | None]]
"""Asks for each row by itself and all of them at once; the answers in order, None for an error."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    aweigh.pack(str(table(folder)), "table", sample=np.arange(8).reshape(8, 1), home=str(folder / "home"))
    return folder / "home"


@contextlib.contextmanager
def at_once(server: Served) -> Iterator[None]:
    """What is sent meanwhile is there when the server looks next."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def ask_rest(server: Served, rows: list[int]) -> list[float | None]:
    def body(row: int) -> str:
        return json.dumps({"inputs": [{"name": "X", "shape": [1, 1], "datatype": "INT64", "data": [row]}]})

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20))) for _ in rows]
        for client in clients:
            client.request("GET", "/live")
            client.getresponse().read()
        with at_once(server):
            for client, row in zip(clients, rows, strict=True):
                client.request("POST", "/v2/models/table/infer", body(row))
        found = [(answer.status, json.loads(answer.read())) for answer in (client.getresponse() for client in clients)]
    assert {status for status, _ in found} <= {200, 400}, found
    return [said["outputs"][0]["data"][0] if status == 200 else None for status, said in found]


class Wire:
    """A connection to a server, for peers that are made for one in memory."""

    def __init__(self, server: Served) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)

    def open(self) -> tuple[None, "Wire"]:
        return None, self

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def take(self) -> bytes:
        return self._socket.recv(2**20) if select.select([self._socket], [], [], 0.02)[0] else b""

    def close(self) -> None:
        self._socket.close()


def ask_grpc(server: Served, rows: list[int]) -> list[float | None]:
    def payload(row: int) -> bytes:
        asked = message("inference.ModelInferRequest")(model_name="table")
        asked.inputs.add(name="X", datatype="INT64", shape=[1, 1])
        asked.raw_input_contents.append(np.array([row], dtype="<i8").tobytes())
        return bytes(asked.SerializeToString())

    with contextlib.closing(Wire(server)) as opened:
        peer = Http2Peer(opened)  # type: ignore[arg-type]  # it opens, sends and takes as one in memory does
        streams = [peer.call(payload(row)) for row in rows]
        replies: list[Any] = []
        until = time.monotonic() + 20
        while not replies or not all(reply.ended for reply in replies):
            assert time.monotonic() < until
            peer.pump()
            replies = [peer.response(stream) for stream in streams]
    read = message("inference.ModelInferResponse").FromString
    assert {reply.grpc_status for reply in replies} <= {0, 3}
    return [
        float(np.frombuffer(read(reply.data[5:]).raw_output_contents[0], "<f4")[0]) if reply.grpc_status == 0 else None for reply in replies
    ]


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("ask", [ask_rest, ask_grpc])
def test_26_a_poison_row_fails_alone(start: Start, tables: Path, executor: str, ask: Ask) -> None:
    server = start("table", "--executor", executor, "--threads", "1", where=tables)
    rows = [at % 8 for at in range(ROWS)]
    right: list[float | None] = [1.5 * row for row in rows]
    assert ask(server, rows) == right
    assert metric_of(server, "aweigh_executions_total") < ROWS / 2, "they run together"
    leaks = Leaks(server)
    for at in (0, 13, ROWS - 1):
        poisoned = [*rows[:at], POISON, *rows[at + 1 :]]
        assert ask(server, poisoned) == [*right[:at], None, *right[at + 1 :]]
    assert ask(server, [POISON] * ROWS) == [None] * ROWS
    before = metric_of(server, "aweigh_executions_total")
    assert ask(server, rows) == right, "and are together again afterwards"
    assert metric_of(server, "aweigh_executions_total") - before < ROWS / 2
    leaks.check()

"""B.3 27: requests that are wrong, at both doors of a real server: the same code, the same words, the field named; right ones are answered after.

The words themselves, over a server in memory: tests/contract/serve/test_bad_input.py.
"""

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from tests.contract.serve.test_bad_input import Asked, whole
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.serving.kit import INFER
from tests.serving.served import Served

LIMIT = 64 * 2**20
ROW = [1.0, 2.0, 3.0, 4.0]
INVALID, NOT_FOUND, TOO_LARGE = (400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (413, "RESOURCE_EXHAUSTED")
OK = (200, "OK")


def linear(data: list[Any] = ROW, shape: tuple[int, ...] = (1, 4), *, name: str = "X", datatype: str = "FP32", **more: Any) -> Asked:
    return Asked(inputs=[(name, datatype, list(shape), data)], model=more.pop("model", "linear"), **more)


def words(text: str) -> Asked:
    return linear([text], (1, 1), name="text", datatype="BYTES", model="words")


WRONG: dict[str, tuple[Asked, tuple[int, str], str]] = {
    "datatype": (linear([1, 2, 3, 4], datatype="INT64"), INVALID, "input 'X'"),
    "shape": (linear(ROW[:3], (1, 3)), INVALID, "input 'X'"),
    "rank": (linear(ROW, (4,)), INVALID, "input 'X'"),
    "name": (linear(name="Y"), INVALID, "input 'Y'"),
    "NUL in a name": (linear(name="X\0"), INVALID, "input 'X\0'"),
    "model": (linear(model="none"), NOT_FOUND, "'none'"),
    "missing": (Asked(inputs=[], model="linear"), INVALID, "'X'"),
    "extra": (Asked(inputs=[("X", "FP32", [1, 4], ROW), ("Z", "FP32", [1], [1.0])], model="linear"), INVALID, "input 'Z'"),
    "input twice": (Asked(inputs=[("X", "FP32", [1, 4], ROW)] * 2, model="linear"), INVALID, "$.inputs[1]: input 'X'"),
    "no such output": (linear(outputs=("other",)), INVALID, "output 'other'"),
    "output twice": (linear(outputs=("scores", "scores")), INVALID, "output 'scores'"),
    "huge axes": (linear([], (2**31, 2**31)), TOO_LARGE, "$.inputs[0].shape"),
    "negative axis": (linear(ROW, (-1, 4)), INVALID, "$.inputs[0].shape"),
}
RIGHT = {
    "NaN": linear([1.0, float("nan"), 3.0, 4.0]), "infinity": linear([1.0, float("inf"), 3.0, 4.0]), "no rows": linear([], (0, 4)),
    "NUL": words("a\0b"),
}  # fmt: skip


@pytest.fixture
def server(start: Start) -> Served:
    return start("linear", "words")


def rest(server: Served, asked: Asked, body: bytes | None = None) -> tuple[int, str]:
    """Status and text; the text of a success is empty."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer may come before all was sent
            connection.request("POST", f"/v2/models/{asked.model}/infer", asked.json() if body is None else body)
        answer = connection.getresponse()
        said = json.loads(answer.read())
    return answer.status, "" if answer.status == 200 else whole(said["error"], said.get("hint", ""))


def rpc(server: Served, payload: bytes) -> tuple[str, str]:
    """The same of a gRPC call."""
    with grpc.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        try:
            channel.unary_unary(INFER)(payload, timeout=30)
        except grpc.RpcError as error:
            more = dict(error.trailing_metadata() or ())
            return error.code().name, whole(error.details(), unquote(more.get("aweigh-hint", "")))
    return "OK", ""


def test_27_what_is_wrong_is_said_alike_at_both_doors(server: Served) -> None:
    leaks = Leaks(server)
    with Load(server, rate=20) as clients:
        for case, (asked, code, field) in WRONG.items():
            status, text = rest(server, asked)
            name, words_said = rpc(server, asked.proto())
            assert (status, name) == code, (case, text, words_said)
            assert text == words_said, case
            assert field in text, case
        for case, asked in RIGHT.items():
            assert (rest(server, asked), rpc(server, asked.proto())) == ((200, ""), ("OK", "")), case
    assert not clients.lost, clients.told()
    leaks.check()


def test_27_half_a_surrogate_pair_is_refused_by_the_name_of_its_input(server: Served) -> None:
    status, text = rest(server, words("a\ud800b"))
    assert (status, "$.inputs[0].data[0]" in text, "lone surrogate at position 1" in text) == (400, True, True), text
    code, text = rpc(server, words("a\ud800b").proto())
    assert (code, "input 'text'" in text, "not UTF-8" in text) == ("INVALID_ARGUMENT", True, True), text
    status, text = rest(server, linear(name="X\ud800"))
    assert (status, "unexpected inference input 'X" in text) == (400, True), text
    assert rest(server, words("\U0001f600")) == (200, "")


def test_27_one_byte_beyond_the_limit_is_refused_alike_at_both_doors(server: Served) -> None:
    leaks = Leaks(server)
    with Load(server, rate=20) as clients:
        status, text = rest(server, linear(), b"x" * (LIMIT + 1))
        code, said = rpc(server, b"x" * (LIMIT + 1))
    assert (status, code) == TOO_LARGE
    assert text == said == f"a request of more than {LIMIT} bytes (max_body_bytes sets the limit)"
    assert not clients.lost, clients.told()
    leaks.check(memory=1.0)

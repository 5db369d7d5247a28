"""The serial client of `--scenario latency`: when an answer is whole, what is the same in right ones, and what the page says."""

import numpy as np
import pytest
from bench import latency, page
from bench.processes import BenchError
from bench.workload import Workload

from aweigh.core import http2 as f


@pytest.fixture
def workload(tmp_path) -> Workload:
    return Workload(title="t", model="null", file=tmp_path / "null", inputs={"X": np.zeros((1, 4), np.float32)}, expected=None, null=True)


def grpc_answer(stream: int, end: bytes = f.GRPC_OK) -> bytes:
    message = f.frame(f.HEADERS, f.END_HEADERS, stream, f.GRPC_HEADERS) + f.frame(f.DATA, 0, stream, b"\0\0\0\0\2ok")
    return message + f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, end)


def test_an_answer_of_rest_is_whole_with_its_body(workload: Workload) -> None:
    door = latency.Rest(workload)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a-1\r\n\r\nok"
    assert [door.essence(answer[:at]) for at in (10, len(answer) - 1, len(answer))] == [None, None, b"ok"]
    assert door.essence(answer.replace(b"a-1", b"a-2")) == b"ok"
    with pytest.raises(BenchError, match="503"):
        door.essence(answer.replace(b"200 OK", b"503 No"))


def test_an_answer_of_grpc_is_whole_with_its_trailers_whatever_its_stream(workload: Workload) -> None:
    door = latency.Grpc(workload)
    first, second = grpc_answer(1), f.window_frame(0, 5) + grpc_answer(3)
    assert door.essence(first) == door.essence(second) is not None
    assert [door.essence(first[:at]) for at in range(len(first))] == [None] * len(first)
    with pytest.raises(BenchError):
        door.essence(grpc_answer(1, f.literal(b"grpc-status", b"3")))


def test_requests_of_one_door_are_of_one_size(workload: Workload) -> None:
    for door in (latency.Rest(workload), latency.Grpc(workload)):
        assert len({len(door.request(number)) for number in (0, 1, 2000)}) == 1


def test_what_was_measured_last_stands_on_the_page(tmp_path) -> None:
    assert latency.newest(tmp_path) is None
    budget = '{"name": "REST: added", "value": 42.26, "unit": "us", "limit": 100.0}'
    (tmp_path / "latency-20260101T000000Z.json").write_text("{}")
    (tmp_path / "latency-20260102T000000Z.json").write_text(f'{{"at": "2026-01-02T00:00:00", "budgets": [{budget}]}}')
    text = page.text([], latency.newest(tmp_path))
    assert "| REST: added | 42.3 us | 100 us |" in text
    assert "One request at a time" not in page.text([])

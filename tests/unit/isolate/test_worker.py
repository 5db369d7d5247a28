"""Workers: tensors cross unharmed, a dead child fails one request and comes back, nothing is left behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded, InternalError, InvalidFile, InvalidInput, Unavailable
from aweigh.isolate import Caps, Worker

Paths = tuple[str, ...]
MIB = 1024 * 1024


@pytest.fixture
def worker(paths: Paths) -> Iterator[Worker]:
    made = Worker("hostile:open_session", 2.0, paths=paths, caps=Caps(timeout_s=20, memory_bytes=1024 * MIB))
    yield made
    made.close()


def test_tensors_of_every_kind_cross_unharmed(worker: Worker) -> None:
    texts = np.empty((2, 3), dtype=object)
    texts[:] = [["a", b"\x00\xff", None], ["", "\N{SNOWMAN}", 1.5]]
    tensors = {
        "half": np.array([[1.5, np.nan]], dtype=np.float16),
        "wide": np.arange(300_000, dtype=np.float64).reshape(300, 1000)[:, ::2],
        "scalar": np.array(7, dtype=np.int8),
        "none": np.zeros((0, 4), dtype=np.float32),
        "flags": np.array([True, False]),
        "big": np.array([2**64 - 1], dtype=np.uint64),
        "texts": texts,
        "unicode": np.array(["x", "yy"]),
    }
    header, answers = worker.request({"id": "7", "deep": {"list": [1, None]}}, tensors)
    assert header == {"id": "7", "deep": {"list": [1, None]}}
    assert list(answers) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.astype(object) if tensor.dtype.kind == "U" else tensor
        assert answers[name].dtype == expected.dtype
        np.testing.assert_array_equal(answers[name], expected)
    assert answers["wide"].flags.writeable


@pytest.mark.parametrize(
    "tensor",
    [np.array(["\ud800"], dtype=object), np.array([object()], dtype=object), np.array([1 + 2j]), np.array(["2020"], dtype="M8[Y]")],
    ids=["surrogate", "object", "complex", "date"],
)
def test_what_cannot_cross_is_refused_by_name_and_harms_nobody(worker: Worker, tensor: np.ndarray) -> None:
    pid = worker.pid
    with pytest.raises(InvalidInput, match="tensor 'x'"):
        worker.request({}, {"x": tensor})
    assert worker.request({"multiply": True}, {"x": np.ones(2)})[0] == {"pid": pid}


def test_errors_of_the_target_leave_the_child_alive(worker: Worker) -> None:
    pid = worker.pid
    with pytest.raises(InternalError, match="ValueError: this is not good"):
        worker.request({"do": "value"}, {})
    with pytest.raises(InvalidFile, match="file x is bad"):
        worker.request({"do": "typed"}, {})
    with pytest.raises(ChildDied, match="exceeded 1024 MiB"):
        worker.request({"do": "memory"}, {})
    assert worker.pid == pid


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("surrogate", InternalError, r"ValueError: no such file: odd\\udcff\.bin"),
        ("typed surrogate", InvalidFile, r"odd\\udcff\.bin is bad"),
        ("speechless", InternalError, r"Speechless: \(its text cannot be made\)"),
        ("speechless context", InternalError, r"InvalidFile: \(its text cannot be made\)"),
    ],
)
def test_errors_whose_text_has_no_form_cross_and_leave_the_child_alive(
    worker: Worker, how: str, kind: type[AweighError], text: str
) -> None:
    pid = worker.pid
    with pytest.raises(kind, match=text):
        worker.request({"do": how}, {})
    assert worker.request({"multiply": True}, {"x": np.ones(2)})[0] == {"pid": pid}


@pytest.mark.parametrize(("how", "text"), [("segfault", "SIGSEGV"), ("exit", "exit code 0"), ("orphan", "exit code 1")])
def test_dead_child_fails_its_request_and_the_next_restarts_it(worker: Worker, how: str, text: str) -> None:
    pid = worker.pid
    with pytest.raises(ChildDied, match=text):
        worker.request({"do": how}, {})
    assert worker.pid is None
    header, answers = worker.request({"multiply": True}, {"x": np.ones(2)})
    assert header["pid"] != pid
    np.testing.assert_array_equal(answers["x"], [2.0, 2.0])


def test_code_that_calls_exit_does_not_end_the_session(worker: Worker) -> None:
    pid = worker.pid
    with pytest.raises(InternalError, match="SystemExit: 3"):
        worker.request({"do": "sys.exit"}, {})
    assert worker.pid == pid


def test_child_killed_while_idle_fails_no_request(worker: Worker) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert worker.request({"id": 1}, {})[0] == {"id": 1}


def test_endless_request_is_killed_at_its_own_deadline(worker: Worker) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
        worker.request({"do": "loop"}, {}, deadline_s=0.3)
    assert time.monotonic() - started < 3
    assert worker.request({}, {})[0] == {}


def test_child_that_keeps_dying_is_given_pauses(worker: Worker) -> None:
    for _ in range(2):
        with pytest.raises(ChildDied):
            worker.request({"do": "exit"}, {})
    with pytest.raises(Unavailable, match="died 2 times in a row") as caught:
        worker.request({}, {})
    assert "retry_after_s" in caught.value.context
    time.sleep(0.15)
    assert worker.request({}, {})[0] == {}


def test_what_a_child_writes_during_a_request_does_not_fill_the_disk(worker: Worker) -> None:
    header, _ = worker.request({"write": 2}, {}, deadline_s=60)
    assert len(header["sizes"]) == 2
    assert max(header["sizes"]) < 64 * 1024


def test_what_cannot_be_opened_fails_in_the_constructor(paths: Paths) -> None:
    with pytest.raises(InvalidFile, match="factor 0"):
        Worker("hostile:open_session", 0.0, paths=paths)


def test_threads_share_a_worker(worker: Worker) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for step in range(20):
            value = float(number * 100 + step)
            _, answers = worker.request({"multiply": True}, {"x": np.full(3, value)})
            if not (answers["x"] == 2 * value).all():
                wrong.append((number, step))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == []


def test_close_ends_a_request_in_flight_and_may_be_called_twice(worker: Worker) -> None:
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            worker.request({"do": "loop"}, {})
        except AweighError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.1)
    worker.close()
    worker.close()
    thread.join(5)
    assert [type(error) for error in caught] == [ChildDied]
    with pytest.raises(Unavailable, match="closed"):
        worker.request({}, {})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_behind(worker: Worker, paths: Paths) -> None:
    def left() -> tuple[int, int, int]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(children)

    before = left()
    other = Worker("hostile:open_session", 2.0, paths=paths)
    with pytest.raises(ChildDied):
        other.request({"do": "segfault"}, {})
    other.request({}, {})
    other.close()
    assert left() == before

"""Workers are forked from one process that has imported everything. Without it, or with threads in it, they are fresh interpreters that serve as well."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving.served import Served
from tests.serving.workers import Counting, alive, children, descendants, kill, pids, status, template_of, until

pytestmark = pytest.mark.alone

Start = Callable[..., Served]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts servers that end with the test, and with all that they started."""
    started: list[Served] = []

    def begin(*words: str, **environment: str) -> Served:
        started.append(Served(home, *words, environment=environment))
        return started[-1]

    yield begin
    for server in started:
        processes = descendants(server.process.pid)
        server.end()
        until(lambda gone=processes: not any(map(alive, gone)), 3)  # type: ignore[misc]  # a lambda of a loop


def test_workers_come_from_a_template_of_one_thread_and_go_with_it(start: Start) -> None:
    server = start("linear", "--workers", "2")
    template, before = template_of(server), pids(server)
    assert sorted(children(template)) == sorted(before)
    assert children(server.process.pid) == [template]
    assert len(list(Path(f"/proc/{template}/task").iterdir())) == 1
    assert {os.getsid(pid) for pid in before} == set(before)
    kill(before[0])
    until(lambda: before[0] not in pids(server) and len(pids(server)) == 2)
    assert set(pids(server)) == set(children(template))
    zombies = [pid for pid in before if Path(f"/proc/{pid}").exists() and not alive(pid)]
    assert zombies == []
    held = pids(server)
    kill(template)
    until(lambda: not any(map(alive, held)), 1)
    until(lambda: len(pids(server)) == 2)
    assert set(pids(server)) == set(children(server.process.pid))
    assert {worker["last_end"] for worker in status(server)["workers"]} == {"it ended together with the template"}
    assert server.end() == 0


def test_threads_at_the_start_of_interpreters_mean_fresh_ones(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    server = start("linear", "--workers", "2", PYTHONPATH=str(tmp_path))
    assert sorted(children(server.process.pid)) == sorted(pids(server))
    assert "it has 2 threads" in "".join(server.log)
    assert server.end() == 0


def test_a_signal_to_every_process_at_once_drains_as_one_to_the_server(start: Start) -> None:
    server = start("dear", "--workers", "2", "--drain-delay-s", "0.3")
    with Counting(server, 4, path="/v2/models/dear/infer") as clients:
        until(lambda: clients.answered > 20)
        for pid in (server.process.pid, *descendants(server.process.pid)):
            kill(pid, signal.SIGTERM)
        assert server.process.wait(15) == 0
    assert (set(clients.statuses), clients.lost) == ({200}, 0)


@pytest.mark.slow
def test_a_template_that_does_not_answer_is_not_waited_for(start: Start) -> None:
    server = start("linear", "--workers", "2")
    template, before = template_of(server), pids(server)
    kill(template, signal.SIGSTOP)
    kill(before[0])
    until(lambda: not alive(before[0]), 1)
    began = time.monotonic()
    until(lambda: before[0] not in pids(server) and len(pids(server)) == 2)
    assert time.monotonic() - began < 6
    assert before[1] in pids(server)
    assert server.end() == 0

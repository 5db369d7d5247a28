"""B.3 25: no file descriptor is left. Whoever is connected is answered, nothing spins meanwhile, and it passes when the crowd has gone."""

import contextlib
import http.client
import os
import time
from pathlib import Path

import pytest
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks, family
from tests.faults.shelves import shelf_of
from tests.serving.kit import BODY
from tests.serving.served import Served
from tests.serving.workers import until

FILES = 256
FEW_FILES = ("sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh")
INFER = "/v2/models/linear/infer"


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_25_without_file_descriptors_who_is_connected_is_answered_and_nothing_spins(
    start: Start, home: Path, tmp_path: Path, workers: str
) -> None:
    server = start("linear", "dear", "--workers", workers, where=shelf_of(home, tmp_path), through=FEW_FILES)
    assert server.get("/live") == b"live\n"  # with its first connection an event loop opens a file for itself
    leaks = Leaks(server)
    with contextlib.ExitStack() as crowd:
        connections = [crowd.enter_context(contextlib.closing(connect(server))) for _ in range(4)]
        for connection in connections:
            assert ask(connection, INFER, BODY)[0] == 200
        for _ in range(FILES * int(workers) + 50):
            crowd.enter_context(contextlib.closing(connect(server)))
        until(lambda: at_the_end_of_files(server, int(workers)))
        before = cpu_s(server)
        time.sleep(2)
        assert cpu_s(server) - before < 0.2, "of two seconds"
        for connection in connections:
            assert ask(connection, INFER, BODY)[0] == 200
            assert ask(connection, "/v2/models/dear/infer", BODY)[0] == 200
        status, said = ask(connections[0], "/v2/repository/models/linear/load")
        assert status in {200, 503}, said
        assert status == 200 or b"Too many open files" in said
        assert ask(connections[0], INFER, BODY)[0] == 200
    until(lambda: server.get("/live") == b"live\n", 5)
    until(lambda: ask_anew(server, "/v2/repository/models/linear/load") == 200)
    leaks.check(threads=int(workers))
    assert server.end() == 0, server.log


def connect(server: Served) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    return connection


def ask(connection: http.client.HTTPConnection, path: str, body: bytes = b"{}") -> tuple[int, bytes]:
    connection.request("POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask_anew(server: Served, path: str) -> int:
    with contextlib.closing(connect(server)) as connection:
        return ask(connection, path)[0]


def at_the_end_of_files(server: Served, workers: int) -> bool:
    """Whether so many processes have as many files as they may."""
    held = sorted(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family(server.process.pid))
    return min(held[-workers:]) >= FILES - 8


def cpu_s(server: Served) -> float:
    """Of all processes of the server, so far."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in family(server.process.pid)]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

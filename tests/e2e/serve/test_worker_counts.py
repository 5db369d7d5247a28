"""Statistics and Prometheus figures of several workers are what a counting client saw, also after a worker was killed."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from tests.serving.kit import BODY
from tests.serving.served import Served
from tests.serving.workers import Counting, kill, pids, until

pytestmark = pytest.mark.alone

TWO_ROWS = b'{"inputs":[{"name":"X","shape":[2,4],"datatype":"FP32","data":[1,2,3,4,5,6,7,8]}]}'
BAD = b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'


class Figures:
    """What the server says it did, read once by a connection of its own."""

    def __init__(self, server: Served) -> None:
        lines = [line for line in server.get("/metrics").decode().splitlines() if line[0] != "#"]
        self.metrics = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
        self.statistics: dict[str, Any] = json.loads(server.get("/v2/models/linear/stats"))["model_stats"][0]

    def of(self, name: str, more: str = "") -> int:
        return int(self.metrics.get(f'{name}{{model="linear",version="1"{more}}}', 0))

    @property
    def ok(self) -> int:
        """Requests answered; every figure that counts them must say the same."""
        found = {
            self.of("aweigh_requests_total", ',outcome="ok"'),
            self.of("aweigh_request_duration_seconds_count"),
            self.of("aweigh_request_duration_seconds_bucket", ',le="+Inf"'),
            int(self.statistics["inference_stats"]["success"]["count"]),
        }
        assert len(found) == 1, found
        return found.pop()

    @property
    def refused(self) -> int:
        found = {self.of("aweigh_requests_total", ',outcome="invalid"'), int(self.statistics["inference_stats"]["fail"]["count"])}
        assert len(found) == 1, found
        return found.pop()

    @property
    def rows(self) -> int:
        assert self.of("aweigh_rows_total") == int(self.statistics["inference_count"])
        return self.of("aweigh_rows_total")


def all_workers_agree(server: Served, wanted: tuple[int, int, int]) -> None:
    """Whichever worker is asked tells the sums."""
    for _ in range(9):
        figures = Figures(server)
        assert (figures.ok, figures.refused, figures.rows) == wanted
        sizes = sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in figures.statistics["batch_stats"])
        calls = sum(batch["compute_infer"]["count"] for batch in figures.statistics["batch_stats"])
        assert sizes == figures.rows
        assert calls == int(figures.statistics["execution_count"]) == figures.of("aweigh_executions_total") <= figures.ok


def by_a_worker(clients: Counting) -> int:
    """Answers of workers: what a dead one held is answered 503 by the supervisor."""
    return clients.answered - clients.statuses.get(503, 0)


def lost_by_it(clients: Counting) -> int:
    """Requests that a worker may have answered without a client seeing it."""
    return clients.lost + clients.statuses.get(503, 0)


def test_figures_equal_what_a_counting_client_saw_across_workers_and_a_death(home: Path) -> None:
    server = Served(home, "linear", "--workers", "3")
    try:
        with Counting(server, 6) as one, Counting(server, 3, body=TWO_ROWS) as two, Counting(server, 3, body=BAD) as bad:
            until(lambda: min(one.answered, two.answered, bad.answered) > 300)
        assert one.lost + two.lost + bad.lost == 0
        all_workers_agree(server, (one.answered + two.answered, bad.answered, one.answered + 2 * two.answered))

        victim = pids(server)[1]
        with Counting(server, 6) as late_one, Counting(server, 3, body=TWO_ROWS) as late_two, Counting(server, 3, body=BAD) as late_bad:
            until(lambda: min(late_one.answered, late_two.answered, late_bad.answered) > 200)
            kill(victim)
            until(lambda: len(pids(server)) == 3 and victim not in pids(server))
            until(lambda: min(late_one.answered, late_two.answered, late_bad.answered) > 600)
        figures = Figures(server)
        answered = one.answered + two.answered + by_a_worker(late_one) + by_a_worker(late_two)
        # An answer is counted before it is sent: what a client saw is always there, and what it lost in the death may be.
        assert 0 <= figures.ok - answered <= lost_by_it(late_one) + lost_by_it(late_two) <= 9
        assert 0 <= figures.refused - bad.answered - by_a_worker(late_bad) <= lost_by_it(late_bad) <= 3
        rows = one.answered + by_a_worker(late_one) + 2 * (two.answered + by_a_worker(late_two))
        assert 0 <= figures.rows - rows <= lost_by_it(late_one) + 2 * lost_by_it(late_two)
        all_workers_agree(server, (figures.ok, figures.refused, figures.rows))
        assert int(figures.metrics['aweigh_requests_in_flight{model="linear",version="1"}']) == 0

        with Counting(server, 4) as again:  # and from here on exactly, with the new worker among those that count
            until(lambda: again.answered > 200)
        assert again.lost == 0
        all_workers_agree(server, (figures.ok + again.answered, figures.refused, figures.rows + again.answered))
    finally:
        assert server.end() == 0


def test_connections_are_shared_out_and_counted(home: Path) -> None:
    server = Served(home, "linear", "--workers", "4")
    try:
        held = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=5) for _ in range(40)]
        for connection in held:
            connection.request("POST", "/v2/models/linear/infer", BODY)
            assert connection.getresponse().read()
        shares = [worker["connections"] for worker in json.loads(server.get("/status"))["workers"]]
        metrics = server.get("/metrics").decode()
        assert sum(shares) == 41
        assert max(shares) - min(shares) <= 3, shares
        assert "aweigh_connections 41\n" in metrics
        assert "aweigh_connections_total 42\n" in metrics
        for connection in held:
            connection.close()
        until(lambda: "aweigh_connections 1\n" in server.get("/metrics").decode())
    finally:
        assert server.end() == 0

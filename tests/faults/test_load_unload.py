"""Loading and unloading as often and from as many sides as anybody may.

B.3 15: concurrent load and unload of the same model from 16 clients x 200: the end state is the last accepted intent; no leak.
B.3 16: 200 load/unload cycles with inference: memory grows by less than 0.1 MB a cycle after the first 20.
"""

import dataclasses
import http.client
import json
import threading
import time
from collections import Counter

import numpy as np
import pytest
from tests.faults.conftest import Start
from tests.faults.leaks import Holdings, Leaks
from tests.serving.kit import BODY
from tests.serving.served import Served

POOL = 5
"""Threads that asyncio's own pool may have grown by while many asked at once: it keeps them, six on two cores."""
SLOPE_BYTES = 0.1e6
WARM_CYCLES = 20
PAUSE_S = 0.05
"""After a refusal and an unload: without it, no load is ever done before the next unload is accepted, which overrules it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """One request to load or unload. Times are of `monotonic`."""

    verb: str
    status: int
    began: float
    ended: float


class Client:
    """One connection that loads, unloads and asks."""

    def __init__(self, server: Served, name: str = "linear") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._name = name

    def post(self, path: str, body: str | bytes = b"{}") -> tuple[int, bytes]:
        self._connection.request("POST", path, body)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def intend(self, verb: str) -> Intent:
        began = time.monotonic()
        status, _ = self.post(f"/v2/repository/models/{self._name}/{verb}")
        return Intent(verb, status, began, time.monotonic())

    def infer(self) -> int:
        return self.post(f"/v2/models/{self._name}/infer", BODY)[0]

    def state(self) -> str:
        lines = json.loads(self.post("/v2/repository/index")[1])
        return str(next(line["state"] for line in lines if line["name"] == self._name))

    def close(self) -> None:
        self._connection.close()


def last_verbs(accepted: list[Intent]) -> set[str]:
    """What the last accepted intent may have been: several where the last ones overlap, for nobody outside knows which the server took first."""
    latest = max(each.began for each in accepted)
    return {each.verb for each in accepted if each.ended >= latest}


def quarrel(server: Served, clients: int, rounds: int) -> list[Intent]:
    """Clients that load and unload the same model as fast as they are answered."""
    found: list[Intent] = []

    def run(which: int) -> None:
        client = Client(server)
        for count in range(rounds):
            intent = client.intend("load" if (which + count) % 4 else "unload")
            found.append(intent)
            if intent.status != 200 or intent.verb == "unload":
                time.sleep(PAUSE_S)
        client.close()

    threads = [threading.Thread(target=run, args=(which,)) for which in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return found


@pytest.mark.parametrize(
    ("workers", "rounds"),
    [(1, 40), (2, 15), pytest.param(1, 200, marks=pytest.mark.slow), pytest.param(2, 200, marks=pytest.mark.slow)],
)
def test_15_the_last_accepted_intent_holds_whoever_loads_and_unloads(start: Start, workers: int, rounds: int) -> None:
    server = start("linear", "dear", "--workers", str(workers))
    client = Client(server)
    for verb in ("unload", "load", "unload", "load"):
        assert client.intend(verb).status == 200
        assert client.infer() == (200 if verb == "load" else 404)
    leaks = Leaks(server)
    intents = quarrel(server, 16, rounds)
    ends = Counter((each.verb, each.status) for each in intents)
    accepted = [each for each in intents if each.status == 200]
    assert set(ends) <= {("load", 200), ("load", 409), ("unload", 200), ("unload", 404)}, ends
    assert min(ends["load", 200], ends["unload", 200]) >= min(3, rounds // 15), ends
    verbs = last_verbs(accepted)
    state, answer = client.state(), client.infer()
    assert (state == "READY") == (answer == 200), (state, answer)
    if len(verbs) == 1:
        assert (answer == 200) == (verbs == {"load"}), (verbs, state, answer, sorted(accepted, key=lambda each: each.ended)[-3:])
    for verb in ("load", "unload", "load"):  # and it still obeys
        intent = client.intend(verb)
        assert intent.status == 200 or (verb == "unload" and intent.status == 404), intent
    assert client.infer() == 200
    client.close()
    leaks.check(threads=POOL)


@pytest.mark.parametrize(
    ("executor", "cycles"),
    [("auto", 200), pytest.param("thread", 200, marks=pytest.mark.slow), pytest.param("process", 70, marks=pytest.mark.slow)],
)
def test_16_memory_does_not_grow_with_loads_and_unloads(start: Start, executor: str, cycles: int) -> None:
    server = start("linear", "--executor", executor, "--threads", "1", "--session-threads", "1")
    client = Client(server)
    sizes: list[int] = []
    leaks: Leaks | None = None
    for count in range(cycles):
        assert client.intend("unload").status == 200
        assert client.intend("load").status == 200
        assert client.infer() == 200
        sizes.append(Holdings.of(server.process.pid).memory_bytes)
        if count == WARM_CYCLES:
            leaks = Leaks(server)
    slope = np.polyfit(np.arange(cycles - WARM_CYCLES), np.array(sizes[WARM_CYCLES:], dtype=float), 1)[0]
    assert slope < SLOPE_BYTES, f"{slope / 1e6:.3f} MB a cycle: {[size // 2**20 for size in sizes[:: cycles // 20]]} MiB"
    client.close()
    assert leaks is not None
    leaks.check(memory=0.1, within_s=10)

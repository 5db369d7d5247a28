"""B.3 30: faults at random, one a second, under load on several models: no failure that no fault explains, no wrong answer, flat memory, no zombie.

Two hours behind `make soak` (AWEIGH_SOAK_S: seconds), three quarters of a minute among the slow tests. AWEIGH_SOAK_SEED chooses the order.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.faults.asking import Asking
from tests.faults.leaks import Holdings, Leaks, family
from tests.faults.load import Load
from tests.faults.outcomes import Outcome
from tests.faults.shelves import load
from tests.serving.kit import BODY
from tests.serving.models import dear, linear
from tests.serving.served import Served
from tests.serving.trouble import HOOK, MAGIC, TROUBLES
from tests.serving.workers import alive, pids, until

import aweigh
from aweigh.core.names import parse_reference
from aweigh.store import Store

SHORT_S, LONG_S = 45.0, 7200.0
WORKERS = 2
EACH_COSTS = 24
"""Most requests that one fault may cost: what a worker can hold of this load."""
ROUND_S = 1.0
SETTLE_S = 4.0
"""By when what a fault costs has been paid: death seen, worker back."""
TROUBLE = ("segfault", "exit", "sys.exit", "value", "memory-error", "base")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`linear` in three versions that answer alike, the last of them damaged; `dear`; `trouble`, which does what its rows ask for."""
    folder = tmp_path_factory.mktemp("mix")
    where = folder / "home"
    for seed in (7, 8, 9):
        sample = np.random.default_rng(seed).normal(size=(20, 4)).astype(np.float32)
        aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(where))
    aweigh.pack(str(dear(folder)), "dear", sample=sample[:2], home=str(where))
    (folder / "trouble_hook.py").write_text(HOOK)
    sys.path.insert(0, str(folder))
    try:
        aweigh.pack(str(folder / "linear.onnx"), "trouble", sample=sample, pre="trouble_hook:pre", home=str(where))
    finally:
        sys.path.remove(str(folder))
    damage(Store(where / "store"))
    return where


def damage(store: Store) -> None:
    """Spoil what the third version of `linear` alone has."""
    files = {version: store.open(parse_reference(f"linear:{version}")).manifest.files for version in (1, 2, 3)}
    shared = {file.digest for version in (1, 2) for file in files[version]}
    own = next(file.digest for file in files[3] if file.path.startswith("golden/") and file.digest not in shared)
    blob = store.folder / "blobs/sha256" / own.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1])


@dataclasses.dataclass
class Mix:
    """The faults, and when each began. What a fault may cost is in `PRICES`."""

    server: Served
    home: Path
    chance: random.Random
    begun: list[tuple[str, float]] = dataclasses.field(default_factory=list)

    def strike(self) -> None:
        """One fault, chosen at random."""
        name = self.chance.choice(list(_FAULTS))
        self.begun.append((name, time.monotonic()))
        _FAULTS[name](self)

    def explains(self, model: str, outcome: Outcome) -> bool:
        """Whether a fault that may cost requests of this model was under way."""
        return any(
            model in PRICES[name] and outcome.ended > at and outcome.sent < at + SETTLE_S for name, at in self.begun if name in PRICES
        )

    def a_worker(self) -> int | None:
        """One of several that serve."""
        found = pids(self.server)
        return self.chance.choice(found) if len(found) == WORKERS else None


def kill_worker(mix: Mix) -> None:
    if (pid := mix.a_worker()) is not None:
        os.kill(pid, signal.SIGKILL)


def stop_worker(mix: Mix) -> None:
    if (pid := mix.a_worker()) is not None:
        os.kill(pid, signal.SIGSTOP)
        until(lambda: not alive(pid))


def misbehave(mix: Mix) -> None:
    row = [MAGIC, TROUBLES[mix.chance.choice(TROUBLE)], 0, 0]
    ask(mix.server, "/v2/models/trouble/infer", {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": row}]})


def swap(mix: Mix) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):  # the worker that was asked may have been killed
        load(mix.server, mix.chance.choice((1, 2)))


def load_damaged(mix: Mix) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert load(mix.server, 3)[0] >= 400


def take_the_store_away(mix: Mix) -> None:
    mix.home.rename(mix.home.with_name("away"))
    with contextlib.suppress(OSError, http.client.HTTPException):
        load(mix.server)
    mix.home.with_name("away").rename(mix.home)


def burst(mix: Mix) -> None:
    with Load(mix.server, users=24):
        time.sleep(0.5)


def leave(mix: Mix) -> None:
    raw = b"POST /v2/models/dear/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    for _ in range(30):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", mix.server.port), timeout=5) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(raw[: mix.chance.randrange(1, len(raw) + 1)])


def crowd(mix: Mix) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", mix.server.port), timeout=5)).send(b"POST /v2")
        time.sleep(0.3)


def ask_wrongly(mix: Mix) -> None:
    for document in ({}, {"inputs": []}, {"inputs": [{"name": "Y", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}):
        status = ask(mix.server, "/v2/models/linear/infer", document)
        assert status in {0, 400} or mix.begun, status


def ask(server: Served, path: str, document: object) -> int:
    """The status, or 0 where the connection broke."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        try:
            connection.request("POST", path, json.dumps(document))
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


_FAULTS: dict[str, Callable[[Mix], None]] = {
    each.__name__: each
    for each in (kill_worker, stop_worker, misbehave, swap, load_damaged, take_the_store_away, burst, leave, crowd, ask_wrongly)
}
EVERY = frozenset({"linear", "dear", "trouble"})
PRICES = {
    "kill_worker": EVERY, "stop_worker": EVERY, "misbehave": frozenset({"trouble"}), "take_the_store_away": frozenset({"trouble"}),
}  # fmt: skip
"""Which models' requests a fault may cost; the others cost none."""


@contextlib.contextmanager
def sampled(pid: int, taken: list[int], every_s: float) -> Iterator[Callable[[], None]]:
    """Takes the memory of a server with all its processes, at most so often."""
    last = 0.0

    def take() -> None:
        nonlocal last
        if time.monotonic() - last > every_s:
            last = time.monotonic()
            taken.append(Holdings.of(pid).memory_bytes)

    yield take


def zombies(pid: int) -> list[str]:
    """Children of the server's processes that ended and that nobody asked after."""
    mine, found = set(family(pid)), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            if state == "Z" and int(parent) in mine:
                found.append(stat.parent.name)
    return found


def judge(home: Path, seconds: float, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("AWEIGH_SOAK_SEED", "3"))
    server = Served(home, "linear:1", "dear", "trouble", "--workers", str(WORKERS), "--request-timeout-s", "5")
    mix = Mix(server, home, random.Random(seed))
    right = Asking()._right["scores"]  # type: ignore[index]
    askings = {"linear": Asking(), "dear": Asking("dear"), "trouble": Asking("trouble", right={"scores": right})}
    loads = [(model, Load(server, asking, rate=15)) for model, asking in askings.items()]
    rpc = Asking()
    loads.append(("linear", Load(server, rpc, rate=15, protocol="grpc")))
    taken: list[int] = []
    try:
        with contextlib.ExitStack() as stack:
            for _, each in loads:
                stack.enter_context(each)
            time.sleep(2)
            leaks = Leaks(server)
            take = stack.enter_context(sampled(server.process.pid, taken, seconds / 40))
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                mix.strike()
                take()
                time.sleep(mix.chance.uniform(0.2, 2 * ROUND_S))
            until(lambda: len(pids(server)) == WORKERS, 60)
            time.sleep(SETTLE_S)
        counts = Counter(name for name, _ in mix.begun)
        say(f"faults: {dict(counts)}; MiB: {[size >> 20 for size in taken]}")
        for model, each in loads:
            say(f"{model}: {dict(each.ends())}")
            assert not each.of("wrong"), each.told()
            unexplained = [outcome for outcome in each.lost if not mix.explains(model, outcome)]
            assert not unexplained, (mix.begun, unexplained[:5])
            assert len(each.lost) <= EACH_COSTS * sum(counts[name] for name, models in PRICES.items() if model in models), each.told()
        for asking in (*askings.values(), rpc):
            assert len(asking._known) <= 2, "answers of one version are the same to the last bit"
        half = len(taken) // 2
        assert statistics.median(taken[half:]) < 1.15 * statistics.median(taken[:half]) + (16 << 20), [size >> 20 for size in taken]
        leaks.check(memory=0.3, threads=6 * WORKERS, files=4 * WORKERS)
        assert not zombies(server.process.pid)
    finally:
        code = server.end()
    assert code == 0, server.log[-5:]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_30_faults_at_random_for_a_while(home: Path) -> None:
    judge(home, SHORT_S, print)


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_30_faults_at_random_for_hours(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(line: str) -> None:
        with capsys.disabled():
            print(line)

    judge(home, float(os.environ.get("AWEIGH_SOAK_S", LONG_S)), say)

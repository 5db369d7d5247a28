"""No request ever gets another's answer: mixed requests over REST and gRPC, on the event loop, together and on threads, with clients that leave."""

import asyncio
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.models import linear, words
from tests.serving.served import Served
from tests.soak.pool import build_calls, build_plain
from tests.soak.sessions import Mix, Tally, call_session, plain_session

import aweigh

SHORT, LONG = 200_000, 10_000_000
EACH_KIND = 200
CLIENTS = 12
MAX_GROWTH_MB = 200
WAYS = {
    "as installed": (),
    "on threads": ("--executor", "thread", "--max-queue", "100000"),
    "each alone": ("--settings", "alone.toml"),
}
SHARES = [7, 1, 2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soak")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    aweigh.pack(str(words(folder)), "words", home=str(folder / "home"))
    (folder / "home" / "alone.toml").write_text('batching = "off"\n')
    return folder / "home"


@pytest.fixture(scope="module")
def servers(home: Path) -> Iterator[list[Served]]:
    started: list[Served] = []
    try:
        for ways in WAYS.values():
            flags = [str(home / word) if word.endswith(".toml") else word for word in ways]
            started.append(Served(home, "linear", "words", *flags))
        yield started
    finally:
        ended = [server.end() for server in started]
    assert ended == [0] * len(WAYS), [server.log[-5:] for server in started]


def memory_mb(server: Served) -> float:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def load(servers: list[Served], total: int, seed: int, say: Callable[[str], None]) -> Tally:
    """Sessions until `total` requests were sent whole, or one answer was wrong."""
    chance, tally = random.Random(seed), Tally()
    plain, calls = (Mix(build(servers[0].port, EACH_KIND), chance) for build in (build_plain, build_calls))
    began = said = time.monotonic()

    async def client() -> None:
        nonlocal said
        while tally.sent < total and not tally.wrong:
            (server,) = chance.choices(servers, SHARES)
            if chance.random() < 0.2:
                await plain_session(server.port, plain, chance, tally)
            else:
                await call_session(server.port, calls, chance, tally)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(
                    f"{tally.sent:,} sent, {tally.compared:,} compared, {said - began:.0f} s, MB {[round(memory_mb(each)) for each in servers]}"
                )

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    seconds = time.monotonic() - began
    say(
        f"{tally.sent:,} requests sent, {tally.compared:,} answers compared, {tally.left:,} left or reset, {tally.sessions:,} connections, "
        f"{len(tally.wrong)} wrong, {seconds:.0f} s"
    )
    return tally


def idle(server: Served) -> bool:
    """Whether nothing is in flight, now or within some seconds: calls whose clients have left may still run."""
    for _ in range(50):
        counts = re.findall(r"^aweigh_requests_in_flight\S* (\S+)$", server.get("/metrics").decode(), re.MULTILINE)
        if len(counts) >= 2 and not any(map(float, counts)):
            return True
        time.sleep(0.1)
    return False


def judge(servers: list[Served], total: int, say: Callable[[str], None]) -> None:
    asyncio.run(load(servers, 20_000, 1, say))
    before = [memory_mb(server) for server in servers]
    tally = asyncio.run(load(servers, total, int(os.environ.get("AWEIGH_SOAK_SEED", "2")), say))
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.sent >= total
    assert tally.compared > 0.9 * total
    growth = [memory_mb(server) - was for server, was in zip(servers, before, strict=True)]
    assert max(growth) < MAX_GROWTH_MB, f"MB grown: {growth}"
    for server in servers:
        assert server.get("/v2/health/ready") == b""
        assert idle(server), server.get("/metrics")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_gets_anothers_answer(servers: list[Served]) -> None:
    judge(servers, SHORT, print)


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_ten_million_requests(servers: list[Served], capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    judge(servers, LONG, say)

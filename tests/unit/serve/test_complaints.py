"""Log lines of requests that are turned away: the first at once, the others of a second together, whatever their number."""

import asyncio
import logging

import pytest
from tests.serving.kit import get, rig

from aweigh.core.errors import AweighError, NotReady, Overloaded
from aweigh.serve import complaints
from aweigh.serve.message import Head, Reply, Request
from aweigh.serve.outcome import failure_of


def turn_away(error: AweighError, path: str = "/v2/models/iris/infer") -> None:
    server = rig()
    head: Head = server.listener.dispatcher.resolve("POST", path, {})
    reply: Reply = lambda request, response: None  # noqa: E731  # nobody waits for it
    failure_of(error, Request(head, b"", lambda: b"id", reply))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "_EVERY_S", 0.02)


def test_a_flood_is_one_line_and_then_one_a_second_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    async def flood() -> None:
        for _ in range(500):
            turn_away(Overloaded("full", hint="later"))
        assert len(caplog.records) == 1
        await asyncio.sleep(0.03)

    asyncio.run(flood())
    assert [record.message for record in caplog.records] == ["full", "full"]
    assert vars(caplog.records[1])["times"] == 499


def test_causes_are_told_apart_up_to_a_number(caplog: pytest.LogCaptureFixture) -> None:
    async def flood() -> None:
        for at in range(200):
            turn_away(NotReady("starting"), f"/v2/models/m{at}/infer")
            turn_away(Overloaded("full"), f"/v2/models/m{at}/infer")
        await asyncio.sleep(0.03)

    asyncio.run(flood())
    told = sum(int(vars(record).get("times", 1)) for record in caplog.records)
    assert told == 400
    assert len(caplog.records) < 80


def test_a_new_loop_begins_anew_and_without_one_every_line_is_written(caplog: pytest.LogCaptureFixture) -> None:
    async def once() -> None:
        turn_away(Overloaded("full"))

    for _ in range(3):
        asyncio.run(once())
    turn_away(Overloaded("full"))
    turn_away(Overloaded("full"))
    assert len(caplog.records) == 5


def test_what_is_the_callers_own_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        server = rig()
        _, pipe = server.open()
        pipe.send(get("/v2/models/nobody"))
    assert not caplog.records

"""Admission by deadline: how far behind the event loop is, and who is refused for it."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest
from tests.serving.kit import Clock, exchange, get, model, post, rig

from aweigh.core.errors import Overloaded
from aweigh.serve.admission import Admission, Backlog


class Loop:
    """An event loop whose turns the test makes: what is to run soon runs before the sockets are looked at again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._soon: list[Callable[[], None]] = []
        self.backlog = Backlog(now=self.clock, soon=self._soon.append)

    def turn(self, *reads: float) -> list[float]:
        """One turn with so many reads of so many seconds each; how long each had been waiting at most."""
        soon, self._soon[:] = list(self._soon), []
        for callback in soon:
            callback()
        waited = []
        for seconds in reads:
            waited.append(self.clock() - self.backlog.since(self.clock()))
            self.clock.seconds += seconds
        return waited


def test_a_quiet_loop_is_never_behind() -> None:
    loop = Loop()
    for _ in range(5):
        assert loop.turn(0.01) == [0]
        loop.turn()
        loop.turn()
        loop.clock.seconds += 60


def test_within_a_turn_what_is_read_later_has_waited_for_what_was_read_before() -> None:
    assert Loop().turn(0.01, 0.02, 0.03) == pytest.approx([0, 0.01, 0.03])


def test_while_the_loop_finds_something_at_each_look_it_may_have_come_during_the_turn_before() -> None:
    loop = Loop()
    loop.turn(0.02, 0.02)
    assert loop.turn(0.01, 0.01) == pytest.approx([0.04, 0.05])
    assert loop.turn(0.01) == pytest.approx([0.02])
    assert loop.turn() == []
    assert loop.turn(0.01) == [0]


def test_a_look_that_finds_nothing_ends_the_backlog() -> None:
    loop = Loop()
    loop.turn(0.5)
    loop.turn()
    loop.turn()
    loop.clock.seconds += 0.1
    assert loop.turn(0.01) == [0]


def test_a_short_turn_costs_no_further_look() -> None:
    loop = Loop()
    loop.turn(0.0005)
    loop.turn()
    assert loop._soon == []


class Behind(Backlog):
    """A loop that is so far behind."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def since(self, now: float) -> float:
        return now - self.seconds


def test_who_cannot_be_answered_in_time_is_refused_and_counted() -> None:
    late: list[int] = []
    admission = Admission(0.0, lambda: late.append(1), Behind(0.09))
    deadline = admission.deadline(0.2)
    assert deadline == pytest.approx(monotonic() + 0.11, abs=0.05)
    with pytest.raises(Overloaded, match="the server is 90ms behind: too far for an answer within 150ms"):
        admission.deadline(0.15)
    assert late == [1]


def test_the_servers_own_promise_holds_for_who_states_no_deadline_and_for_who_allows_more() -> None:
    admission = Admission(0.05, lambda: None, Behind(0.06))
    for timeout_s in (None, 10.0):
        with pytest.raises(Overloaded):
            admission.deadline(timeout_s)


def test_requests_behind_a_long_one_are_refused_before_they_are_decoded_and_health_is_answered() -> None:
    server = rig(model())
    body = post("/v2/models/iris/infer", b"not even JSON", "x-request-timeout-ms: 20")
    health = get("/v2/health/live", "x-request-timeout-ms: 20")

    async def turn() -> list[int]:
        first = [answer.status for answer in exchange(server, body)]
        until = monotonic() + 0.03
        while monotonic() < until:  # the loop stands still
            pass
        return [*first, *[answer.status for answer in exchange(server, body + health)]]

    assert asyncio.run(turn()) == [400, 429, 200]
    assert "aweigh_late_total 1" in exchange(server, get("/metrics"))[0].body.decode()

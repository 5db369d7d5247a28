"""Open and closed loops over a connection that answers when the test says so: intended times, queues, expiry."""

from time import monotonic

import pytest

from aweigh.bench.http1 import Ticket
from aweigh.bench.pacing import ClosedLoop, OpenLoop
from aweigh.bench.recorder import Recorder


class FakeConnection:
    slots = 1

    def ask(self, ticket: Ticket) -> int:
        return 1

    def expire(self, before: float) -> None: ...

    def close(self) -> None: ...


class Sent(list[Ticket]):
    def __call__(self, connection: object, ticket: Ticket) -> None:
        self.append(ticket)


def open_loop(due: list[float], *, questions: int = 2) -> tuple[OpenLoop, Recorder, Sent]:
    recorder, sent = Recorder(due[0] - 1, due[-1] + 100), Sent()
    return OpenLoop(iter(due), recorder, questions, sent), recorder, sent


def test_what_is_late_is_sent_at_once_and_keeps_its_due_time() -> None:
    now = monotonic()
    loop, recorder, sent = open_loop([now - 3, now - 2, now - 1])
    for _ in range(3):
        loop.free(FakeConnection())
    loop.tick()
    assert [ticket.due for ticket in sent] == [now - 3, now - 2, now - 1]
    assert all(ticket.sent >= now for ticket in sent)
    assert [ticket.question for ticket in sent] == [1, 0, 1]
    assert recorder.scheduled == 3
    assert loop.over


def test_without_a_free_connection_requests_wait_in_turn() -> None:
    now = monotonic()
    loop, recorder, sent = open_loop([now - 3, now - 2, now - 1])
    loop.free(FakeConnection())
    loop.tick()
    assert [ticket.due for ticket in sent] == [now - 3]
    assert (loop.waiting(), recorder.queued) == (2, 2)
    loop.free(FakeConnection())
    assert [ticket.due for ticket in sent] == [now - 3, now - 2]
    loop.expire(now - 0.5, now)
    assert loop.waiting() == 0
    assert recorder.errors == {"timeout before it was sent": 1}


def test_what_is_not_due_is_not_sent() -> None:
    now = monotonic()
    loop, _, sent = open_loop([now - 1, now + 50])
    loop.free(FakeConnection())
    loop.tick()
    loop.free(FakeConnection())
    assert len(sent) == 1
    assert not loop.over


def test_a_lost_connection_is_not_used() -> None:
    now = monotonic()
    loop, _, sent = open_loop([now - 1])
    dead = FakeConnection()
    loop.free(dead)
    dead.slots = 0
    loop.tick()
    assert not sent
    loop.refused(now, "refused")
    assert loop.waiting() == 0


def test_users_ask_again_until_the_end() -> None:
    recorder, sent = Recorder(0.0, monotonic() + 100), Sent()
    loop = ClosedLoop(monotonic() + 100, recorder, 1, sent)
    user = FakeConnection()
    loop.free(user)
    assert not sent
    loop.begin()
    loop.free(user)
    assert len(sent) == 2
    assert all(ticket.due == ticket.sent for ticket in sent)
    loop.stop()
    loop.free(user)
    assert len(sent) == 2
    assert loop.over


def test_the_recorder_counts_by_when_a_request_was_due() -> None:
    recorder = Recorder(10.0, 20.0)
    recorder.answered(9.9, 9.9, 10.1)  # warm-up: not in the latency, but an answer in the measured time
    recorder.answered(19.9, 19.95, 25.0)  # due in time, answered after it
    recorder.answered(15.0, 15.5, 16.0)
    recorder.failed("status 503", 12.0, "busy")
    recorder.failed("status 503", 9.0, "busy")
    recorder.timed_out(13.0, 18.0, "timeout", "")
    tally = recorder.tally(1)
    assert tally.answered_in_time == 2
    assert sum(tally.latency.counts) == 3
    assert tally.latency.highest_s == pytest.approx(5.1)
    assert tally.service.highest_s == pytest.approx(5.05)
    assert tally.errors == {"status 503": 1, "timeout": 1}
    assert sum(tally.timeline_errors) == 2
    assert sum(tally.timeline_timeouts) == 1

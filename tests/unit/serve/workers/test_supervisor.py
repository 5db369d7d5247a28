"""The supervisor over workers that are nothing but a link: what becomes of seats when a worker cannot be started, or there is no room for one."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aweigh.core.errors import ChildDied, Conflict
from aweigh.core.rollout import Plan, Record, Report
from aweigh.core.settings import Settings
from aweigh.engine.slab import Board
from aweigh.serve.workers.messages import Up, Version
from aweigh.serve.workers.seat import Member, Seat, free_slab, room_for_relief
from aweigh.serve.workers.supervisor import Supervisor

MODELS = [Version(name="m", number=1)]


class Process:
    """A worker that says what the test has it say, and ends when it is killed."""

    pid = 0
    started = 0.0
    how = "exit code 1"

    def __init__(self) -> None:
        self.connection, self._theirs = socket.socketpair()
        self.ended = False

    def up(self) -> None:
        said = msgspec.msgpack.encode(Up(models=(), generation=1))
        self._theirs.sendall(len(said).to_bytes(4, "little") + said)

    def kill(self) -> None:
        self.ended = True

    def reap(self, timeout_s: float = 2.0) -> None: ...

    def close(self) -> None:
        self._theirs.close()


class Starter:
    def __init__(self) -> None:
        self.started: list[Process] = []
        self.failures = 0

    async def prepare(self) -> None: ...

    def start(self, listening: socket.socket, board: int) -> Process:
        if self.failures:
            self.failures -= 1
            raise ChildDied("a worker cannot be started: Resource temporarily unavailable")
        self.started.append(Process())
        return self.started[-1]

    def close(self) -> None: ...


class Watched:
    """A supervisor that runs, and its first workers, which are ready."""

    def __init__(self, workers: int, *under_way: Report) -> None:
        self.starter = Starter()
        self.written: list[object] = []
        known = {report.plan.name: Record(current=report) for report in under_way}
        rolled: Any = SimpleNamespace(
            all=dict, read=known.get, names=lambda: list(known), write=lambda _, record: self.written.append(record)
        )
        settings = Settings(workers=workers, hang_timeout_s=0, load_timeout_s=0, worker_memory_bytes=0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        starter: Any = self.starter
        self.supervisor = Supervisor(
            settings, MODELS, self._listening, starter=starter, variant="", newest=lambda _: 1, rolled=rolled
        )  # fmt: skip

    @property
    def seats(self) -> list[Seat]:
        return self.supervisor._seats

    def members(self) -> list[Process]:
        """Who sits in the seats."""
        return [seat.member.process for seat in self.seats if seat.member is not None]  # type: ignore[misc]  # all are fakes

    async def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.005)

    async def comes(self, count: int) -> Process:
        """The newest worker, when so many have been started."""
        await self.until(lambda: len(self.starter.started) == count)
        return self.starter.started[-1]

    async def play(self, scene: Callable[["Watched"], Awaitable[None]]) -> None:
        began = asyncio.Event()
        running = asyncio.ensure_future(self.supervisor.run(lambda _: began.set()))
        try:
            await self.comes(len(self.seats))
            for process in self.starter.started:
                process.up()
            await asyncio.wait_for(began.wait(), 5)
            await scene(self)
            self.supervisor.kill()
            await asyncio.wait_for(running, 5)
        finally:
            running.cancel()
            self._listening.close()
            for process in self.starter.started:
                process.close()


def play(scene: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        await Watched(2).play(scene)

    asyncio.run(main())


def test_it_serves_while_the_candidate_of_a_rollout_that_was_under_way_is_loaded_again() -> None:
    report = Report(plan=Plan(name="m", candidate=2, canary=0.5), stable=1, state="running", began_at="then")

    async def scene(on: Watched) -> None:
        await asyncio.sleep(0)  # its workers are asked, and never say that they have it
        with pytest.raises(Conflict):
            await on.supervisor._rollouts.begin(Plan(name="m", candidate=3))
        on.supervisor.drain()

    async def main() -> None:
        watched = Watched(2, report)
        await watched.play(scene)
        assert watched.written == [], "it goes on after the next start"

    asyncio.run(main())


def test_a_roll_takes_a_new_worker_into_each_seat_one_after_the_other() -> None:
    async def scene(on: Watched) -> None:
        first, second = on.starter.started
        on.supervisor.roll()
        third = await on.comes(3)
        third.up()
        fourth = await on.comes(4)
        assert on.members() == [third, second]
        fourth.up()
        await on.until(lambda: on.members() == [third, fourth])
        assert [seat.leaving[0].process for seat in on.seats] == [first, second]

    play(scene)


def test_who_cannot_be_relieved_keeps_its_seat_and_its_slab() -> None:
    async def scene(on: Watched) -> None:
        before = on.members()
        on.starter.failures = 1
        on.supervisor.roll()
        await asyncio.sleep(0.1)
        assert on.members() == before
        assert len(on.starter.started) == 2
        assert "Resource temporarily unavailable" in on.seats[0].last_end
        on.supervisor.roll()  # the roll that failed stands in nobody's way
        (await on.comes(3)).up()
        await on.comes(4)

    play(scene)


def test_a_relief_that_dies_leaves_the_worker_and_ends_the_roll() -> None:
    async def scene(on: Watched) -> None:
        before = on.members()
        on.supervisor.roll()
        (await on.comes(3)).ended = True
        await on.until(lambda: on.seats[0].relief is None)
        await asyncio.sleep(0.1)
        assert (on.members(), len(on.starter.started)) == (before, 3)

    play(scene)


def test_a_second_roll_waits_for_those_that_drain_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(on: Watched) -> None:
        first, second = on.starter.started
        on.supervisor.roll()
        (await on.comes(3)).up()
        (await on.comes(4)).up()
        await on.until(lambda: bool(on.seats[1].leaving))
        on.supervisor.roll()  # every slab is taken: both former workers drain
        await asyncio.sleep(0.1)
        assert len(on.starter.started) == 4
        first.ended = True
        fifth = await on.comes(5)
        await asyncio.sleep(0.1)
        assert on.seats[0].relief is not None
        fifth.up()
        second.ended = True
        (await on.comes(6)).up()
        await on.until(lambda: on.members() == on.starter.started[4:])
        assert not caplog.records

    with caplog.at_level(logging.ERROR):
        play(scene)


def test_a_relief_that_takes_an_empty_seat_is_not_followed_by_another() -> None:
    async def scene(on: Watched) -> None:
        seat = on.seats[0]
        seat.backoff.died(0.0)  # so that the next death means a pause
        on.supervisor.roll()
        relief = await on.comes(3)
        seat.member.process.kill()  # type: ignore[union-attr]  # it is there
        await on.until(lambda: seat.member is None)
        relief.up()
        await on.until(lambda: seat.member is not None)
        (await on.comes(4)).up()  # the next seat's
        await asyncio.sleep(0.4)
        assert len(on.starter.started) == 4
        assert on.members()[0] is relief

    play(scene)


def test_whatever_the_watch_of_one_worker_meets_the_others_are_watched_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(on: Watched) -> None:
        broken: Any = on.seats[0].member
        sweep, broken.keeper.sweep = broken.keeper.sweep, lambda: 1 / 0
        on.members()[1].ended = True
        await on.comes(3)
        broken.keeper.sweep = sweep

    play(scene)
    assert "a worker cannot be watched" in caplog.text


def test_the_places_of_empty_seats_are_not_for_reliefs() -> None:
    def members(*places: int) -> list[Member]:
        made: Any = [SimpleNamespace(slab=board.slabs[place]) for place in places]
        return list(made)

    board = Board.create(4)
    try:
        seats = [Seat(number=0), Seat(number=1)]
        [seats[0].member] = members(0)
        seats[0].leaving = members(1)
        assert room_for_relief(board, seats)
        seats[1].leaving = members(2)
        assert not room_for_relief(board, seats)
        assert free_slab(board, seats) == 3
        with pytest.raises(ChildDied, match="still drain"):
            free_slab(board, seats, relief=True)
        [seats[1].member] = members(3)
        with pytest.raises(ChildDied, match="still drain"):
            free_slab(board, seats)
    finally:
        board.close()

"""The supervisor: keeps N workers serving the same models on one socket, replaces those that die, hang or grow, and drains them at the end.

Run by `app` in the parent process on an event loop of its own. Answers no request that a worker can answer, and loads no model.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec

from aweigh.core.errors import AweighError, ChildDied, InternalError, from_dict
from aweigh.core.rollout import Report
from aweigh.core.settings import Settings
from aweigh.engine.rollout_records import Keeper as RolloutKeeper
from aweigh.engine.rollouts import Rollouts
from aweigh.engine.slab import BEATS, ENDED, PATIENT_UNTIL, STATE, Board
from aweigh.serve.overview import ModelFacts, Overview, private_bytes_of
from aweigh.serve.workers.changes import Changes
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.farewell import last_words, part
from aweigh.serve.workers.fleet import AllWorkers
from aweigh.serve.workers.forks import Starter
from aweigh.serve.workers.keeper import Keeper
from aweigh.serve.workers.lobby import Lobby
from aweigh.serve.workers.messages import Alarm, Answer, Ask, Become, Begin, Did, Drain, Failed, Link, Open, Up, Version
from aweigh.serve.workers.seat import Member, Seat, answered, clock, free_slab, room_for_relief
from aweigh.serve.workers.watch import BEAT_S, Limits, Watch

_LOG: Final = logging.getLogger("aweigh.supervisor")
_MEMORY_ROUND: Final = 10
"""Beats between two looks at memory: half a second."""
_END_SLACK_S: Final = 0.5
"""How much longer than its grace a worker may take to end."""
Ready = Callable[[tuple[ModelFacts, ...]], None]


class Supervisor:
    """`starter` starts workers. `newest` says which version a bare name means, `rolled` keeps rollouts; both may block, and are called on a thread."""

    def __init__(
        self,
        settings: Settings,
        models: Sequence[Version],
        listening: socket.socket,
        *,
        starter: Starter,
        variant: str,
        newest: Callable[[str], int],
        rolled: RolloutKeeper,
    ) -> None:
        self._settings = settings
        self._starter = starter
        self._variant = variant
        self._listening = listening
        self._desired = Desired(models)
        self._board = Board.create(2 * settings.workers)
        self._seats = [Seat(number=number) for number in range(settings.workers)]
        self._limits = Limits(hang_s=settings.hang_timeout_s, load_s=settings.load_timeout_s, memory_bytes=settings.worker_memory_bytes)
        self._lobby = Lobby(listening)
        first = settings.version_transition == "resource"
        self._changes = Changes(self._desired, self._ready_members, newest, self._converge, first=first)
        self._fleet = AllWorkers(self._desired, self._changes, self._ready_members, self._converge)
        self._rollouts = Rollouts(self._fleet, rolled)
        self._changes.rolled = self._rollouts.rolls
        self._began = clock()
        self._announce: Ready | None = None
        self._started = self._ending = False
        self._outcome: asyncio.Future[None] | None = None
        self._to_roll: list[Seat] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._resuming: asyncio.Task[None] | None = None
        """Goes on with the rollouts that were under way."""

    async def run(self, ready: Ready) -> None:
        """Serve until `drain`; `ready` is told the models once all workers have them. Raises why the first workers cannot serve."""
        self._outcome = asyncio.get_running_loop().create_future()
        self._announce = ready
        looking = asyncio.ensure_future(self._look())
        try:
            self._mind_the_lobby()
            await self._starter.prepare()
            for seat in self._seats if not self._ending else ():
                self._fill(seat)
            await self._outcome
        finally:
            self._ending = True
            looking.cancel()
            self._rollouts.close()
            self._lobby.close()
            self._kill_all("the supervisor ends")
            for task in list(self._tasks):
                task.cancel()
            for member in (member for seat in self._seats for member in seat.members()):
                member.gone()
                member.process.reap()
                self._part(member)
            self._starter.close()
            self._board.close()

    @property
    def changes(self) -> Changes:
        """What changes the models of all workers."""
        return self._changes

    @property
    def desired(self) -> Desired:
        """What they are to serve."""
        return self._desired

    def drain(self) -> None:
        """Let every worker answer what it has, then end."""
        if self._ending:
            return
        self._ending = True
        if self._resuming is not None:
            self._resuming.cancel()
        self._rollouts.close()
        self._lobby.close()
        for seat in self._seats:
            if seat.timer is not None:
                seat.timer.cancel()
            for member in seat.members():
                member.state = "draining"
                member.link.send(Drain(alone=False))
        self._listening.close()  # the workers have it still: the last of them closes the port
        longest = self._settings.drain_delay_s + self._settings.drain_timeout_s + _END_SLACK_S
        asyncio.get_running_loop().call_later(longest, self._kill_all, "it did not drain in time")
        self._end_if_empty()

    def kill(self) -> None:
        """End every worker now."""
        self._ending = True
        self._kill_all("asked to end at once")

    def roll(self) -> None:
        """Replace every worker, one after the other, each by one that is ready first."""
        if self._started and not self._ending and not self._to_roll:
            self._to_roll = list(self._seats)
            self._roll_next()

    def overview(self) -> Overview:
        """The server as an operator sees it."""
        now = clock()
        workers = tuple(seat.facts(now) for seat in self._seats)
        return Overview(supervisor_pid=os.getpid(), uptime_s=round(now - self._began, 1), workers=workers)

    def _fill(self, seat: Seat, *, relief: bool = False) -> None:
        """Start a worker in an empty seat, or one that is to relieve who sits there."""
        try:
            place = free_slab(self._board, self._seats, relief=relief)
            process = self._starter.start(self._listening, self._board.descriptor)
        except AweighError as error:
            if relief:
                self._unrelieved(seat, error.message)
            else:
                self._vacant(seat, error.message, 0.0)
            return
        slab = self._board.slabs[place]
        slab.clear_gauges()
        watch, link, keeper = Watch(self._limits, process.pid, clock()), Link(process.connection), Keeper(slab)
        keeper.entrust(process.connection)
        member = Member(
            process=process,
            slab=slab,
            watch=watch,
            link=link,
            keeper=keeper,
            answered_before=answered(slab),
            open=not self._ready_members(),
        )
        if keeper.fileno() >= 0:
            asyncio.get_running_loop().add_reader(keeper.fileno(), self._keep, keeper)
        if relief:
            seat.relief = member
        else:
            seat.member = member
        settings = msgspec.Raw(msgspec.msgpack.encode(self._settings))
        link.send(Begin(settings=settings, variant=self._variant, place=place, slabs=len(self._board.slabs), open=member.open))
        self._become(member)
        self._task(self._hear(seat, member))
        self._mind_the_lobby()

    def _keep(self, keeper: Keeper) -> None:
        if not keeper.receive():
            asyncio.get_running_loop().remove_reader(keeper.fileno())

    def _part(self, member: Member) -> None:
        """A worker is no more: its clients are answered, or go on with another."""
        if member.keeper.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(member.keeper.fileno())
        others = [other.keeper for other in self._ready_members() if other is not member and not self._ending]
        part(member.keeper, others, last_words(member.why or member.process.how, hung=member.hung))

    def _become(self, member: Member) -> None:
        member.link.send(Become(models=self._desired.models, plans=self._desired.plans, generation=self._desired.generation))

    def _converge(self) -> None:
        """Tell whoever is up and serves something else what to serve."""
        for member in self._ready_members():
            if member.generation != self._desired.generation:
                self._become(member)

    async def _hear(self, seat: Seat, member: Member) -> None:
        await member.link.connect()
        while (message := await member.link.from_worker()) is not None:
            if isinstance(message, Up):
                self._up(seat, member, message)
            elif isinstance(message, Failed):
                self._failed(member, message)
            elif isinstance(message, Did):
                member.did(message)
            elif isinstance(message, Alarm):
                self._rollouts.alarm(message.name)
            else:
                self._task(self._answer(member, message))
        member.gone()

    def _up(self, seat: Seat, member: Member, said: Up) -> None:
        member.generation, member.models = said.generation, said.models
        self._fleet.heard()
        if said.generation != self._desired.generation:
            self._become(member)  # what is desired has changed while it loaded
            return
        if member.state == "starting":
            member.state, member.ready_at, member.open = "ready", clock(), True
            member.link.send(Open(started=self._started))
            _LOG.info("worker ready", extra={"worker": seat.number, "pid": member.process.pid})
        if member is seat.relief:
            self._relieve(seat)
        if not self._started and all(each.member is not None and each.member.ready for each in self._seats):
            self._started = True
            self._task(self._begin(said.models))

    async def _begin(self, models: tuple[ModelFacts, ...]) -> None:
        """All workers serve: tell whoever waits, and go on with the rollouts that were under way."""
        await self._rollouts.recall()
        for member in self._ready_members():
            member.link.send(Open(started=True))
        if self._announce is not None:
            self._announce(models)
        if not self._ending:
            self._resuming = self._task(self._rollouts.resume())

    def _relieve(self, seat: Seat) -> None:
        """The one beside takes the seat; the one in it drains."""
        old, seat.member, seat.relief = seat.member, seat.relief, None
        if seat.timer is not None:
            seat.timer.cancel()  # the seat is not empty any more
        seat.restarts += 1
        if old is not None:
            seat.leaving.append(old)
            old.state = "draining"
            old.link.send(Drain(alone=True))
            asyncio.get_running_loop().call_later(self._settings.drain_timeout_s + _END_SLACK_S, old.kill, "it did not drain in time")
        self._roll_next()

    def _failed(self, member: Member, said: Failed) -> None:
        """At the start this is the server's failure; later it is this worker's, which is started again."""
        error = from_dict(said.error)
        if not self._started:
            self._fail(error)
        else:
            _LOG.error("a worker cannot load what is served", extra={"pid": member.process.pid, "error": error.message})
            member.kill(f"it could not load its models: {error.message}")

    async def _answer(self, member: Member, asked: Ask) -> None:
        error: AweighError | None = None
        reports: list[Report] = []
        try:
            reports = await self._do(asked)
        except AweighError as raised:
            error = raised
        except Exception:  # noqa: BLE001  # the request boundary: a client waits for an answer
            _LOG.exception("a request to the supervisor failed", extra={"verb": asked.verb})
            error = InternalError("the server failed to do this", hint="the server's log has more")
        overview = self.overview() if asked.verb == "overview" else None
        said = None if error is None else error.as_dict()
        member.link.send(Answer(number=asked.number, error=said, overview=overview, reports=tuple(reports)))

    async def _do(self, asked: Ask) -> list[Report]:
        """What a client asked a worker for; the reports of rollouts, where it was about those."""
        if asked.verb == "load":
            await self._changes.load(asked.name, asked.version)
        elif asked.verb == "unload":
            await self._changes.unload(asked.name)
        elif asked.plan is not None:
            return [await self._rollouts.begin(asked.plan)]
        elif asked.verb == "promote":
            return [await self._rollouts.promote(asked.name)]
        elif asked.verb == "rollback":
            return [await self._rollouts.rollback(asked.name)]
        elif asked.verb == "reports":
            return await self._rollouts.reports(asked.name)
        return []

    async def _look(self) -> None:
        """Every beat: who has ended, who hangs; now and then: who has grown."""
        count = 0
        while True:
            await asyncio.sleep(BEAT_S)
            count += 1
            now = clock()
            for seat in self._seats:
                for member in seat.members():
                    try:
                        self._mind(seat, member, now, memory=count % _MEMORY_ROUND == 0)
                    except Exception:  # noqa: BLE001  # boundary: whatever one worker does to its watcher, the others are watched on
                        _LOG.exception("a worker cannot be watched", extra={"worker": seat.number, "pid": member.process.pid})

    def _mind(self, seat: Seat, member: Member, now: float, *, memory: bool) -> None:
        member.keeper.sweep()
        if member.process.ended:
            self._ended(seat, member, now)
        else:
            self._check(seat, member, now, memory=memory)

    def _check(self, seat: Seat, member: Member, now: float, *, memory: bool) -> None:
        cells = member.slab.cells
        late_s = member.watch.late(now, cells[BEATS], cells[STATE], cells[PATIENT_UNTIL] / 1000)
        if late_s:
            _LOG.error("a worker hangs: killed", extra={"worker": seat.number, "pid": member.process.pid, "late_s": round(late_s, 2)})
            member.hung = True
            member.kill(f"its event loop stood still for {late_s:.1f} s")
        elif memory and self._limits.memory_bytes and not self._ending:
            private = private_bytes_of(member.process.pid)
            verdict = member.watch.memory(private)
            if verdict == "kill":
                _LOG.error("a worker is far beyond its memory: killed", extra={"pid": member.process.pid, "private_bytes": private})
                member.kill(f"it took {private} bytes of memory")
            elif verdict == "relieve" and member is seat.member and member.ready and seat.relief is None and now >= seat.calm_until:
                _LOG.warning("a worker is beyond its memory: relieved", extra={"pid": member.process.pid, "private_bytes": private})
                self._relieve_of_memory(seat, f"it took {private} bytes of memory", now - member.ready_at)

    def _relieve_of_memory(self, seat: Seat, why: str, lived_s: float) -> None:
        seat.last_end = why
        self._fill(seat, relief=True)
        if seat.relief is not None:
            seat.calm_until = clock() + seat.backoff.died(lived_s)

    def _ended(self, seat: Seat, member: Member, now: float) -> None:
        member.gone()
        self._part(member)
        member.slab.clear_gauges()
        if member in seat.leaving:
            seat.leaving.remove(member)
            if not any(each.relief for each in self._seats):
                self._roll_next()  # it may have waited for room
        elif member is seat.relief:
            seat.relief = None
            self._unrelieved(seat, member.why or member.process.how)
        else:
            seat.member = None
            why = member.why or member.process.how
            if not self._ending:
                member.slab.cells[ENDED] += 1
                _LOG.error("a worker ended", extra={"worker": seat.number, "pid": member.process.pid, "why": why})
                for name in self._fleet.lost():
                    self._rollouts.alarm(name)
                self._vacant(seat, why, now - member.ready_at if member.ready_at else 0.0)
        self._end_if_empty()

    def _unrelieved(self, seat: Seat, why: str) -> None:
        """Who sits there stays: what cannot be started anew is not ended."""
        seat.last_end = why
        seat.calm_until = clock() + seat.backoff.died(0.0)
        self._to_roll.clear()
        if not self._ending:
            _LOG.error("a worker cannot be relieved", extra={"worker": seat.number, "why": why})

    def _vacant(self, seat: Seat, why: str, lived_s: float) -> None:
        """Fill an empty seat, at once or after a pause; at the start the server fails instead."""
        seat.last_end = why
        if not self._started:
            self._fail(ChildDied(f"a worker ended before it could serve: {why}", hint="the log above says more; try --workers 1"))
            return
        seat.restarts += 1
        pause_s = seat.backoff.died(lived_s)
        if pause_s:
            _LOG.warning("a worker dies again and again: a pause", extra={"worker": seat.number, "pause_s": pause_s})
        if not self._ready_members():  # those that load are all there is to answer
            for member in (each for other in self._seats for each in other.members()):
                if member.state == "starting" and not member.open:
                    member.open = True
                    member.link.send(Open(started=self._started))
        seat.timer = asyncio.get_running_loop().call_later(pause_s, self._fill, seat)
        self._mind_the_lobby()

    def _mind_the_lobby(self) -> None:
        """Somebody answers at any time: a worker, even one that is still loading, else the supervisor itself."""
        if any(member.open for seat in self._seats for member in seat.members()) or self._ending:
            self._lobby.close()
        else:
            self._lobby.open()

    def _roll_next(self) -> None:
        """Begin with the next seat, when the one before has its new worker, and there is room for one more."""
        while self._to_roll and not self._ending:
            seat = self._to_roll[0]
            wanted = seat.member is not None and seat.relief is None
            if wanted and not room_for_relief(self._board, self._seats):
                return
            self._to_roll.pop(0)
            if wanted:
                self._fill(seat, relief=True)
                return

    def _ready_members(self) -> list[Member]:
        return [member for seat in self._seats for member in (seat.member, seat.relief) if member is not None and member.ready]

    def _kill_all(self, why: str) -> None:
        for seat in self._seats:
            for member in seat.members():
                member.kill(why)

    def _fail(self, error: AweighError) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_exception(error)

    def _end_if_empty(self) -> None:
        if self._ending and not any(seat.members() for seat in self._seats) and self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                _LOG.error("the supervisor failed at something", exc_info=error)

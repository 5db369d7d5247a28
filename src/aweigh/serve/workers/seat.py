"""A seat is a worker's place in a server: who sits in it, how often that changed and why. A member is one process in a seat."""

import asyncio
import dataclasses
import time

from aweigh.core.errors import ChildDied
from aweigh.core.process_memory import memory_of
from aweigh.engine.slab import OPEN, Board, Slab
from aweigh.serve.overview import ModelFacts, WorkerFacts
from aweigh.serve.workers.keeper import Keeper
from aweigh.serve.workers.messages import Did, Link, Order
from aweigh.serve.workers.processes import WorkerProcess
from aweigh.serve.workers.watch import Backoff, Watch


@dataclasses.dataclass(slots=True, eq=False)
class Member:
    """One worker process, from its start to its end."""

    process: WorkerProcess
    slab: Slab
    watch: Watch
    link: Link
    keeper: Keeper
    answered_before: int
    """What its slab had counted when it came."""
    state: str = "starting"
    """starting, ready, draining or ending."""
    open: bool = False
    """Whether it takes connections."""
    ready_at: float = 0.0
    generation: int = 0
    models: tuple[ModelFacts, ...] = ()
    why: str = ""
    """Why it was killed, if it was."""
    hung: bool = False
    """Whether it was killed because it stood still."""
    waits: "dict[int, asyncio.Future[Did]]" = dataclasses.field(default_factory=dict)
    """What it was told to do and has not done yet."""

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def tell(self, order: Order) -> "asyncio.Future[Did]":
        """Give an order; done when the worker has done it or is gone."""
        future: asyncio.Future[Did] = asyncio.get_running_loop().create_future()
        self.waits[order.number] = future
        self.link.send(order)
        return future

    def did(self, done: Did) -> None:
        future = self.waits.pop(done.number, None)
        if future is not None and not future.done():
            future.set_result(done)

    def gone(self) -> None:
        """Whoever waits for it waits no more: what it was told to do is nobody's any longer."""
        self.link.close()
        for number in list(self.waits):
            self.did(Did(number=number))

    def kill(self, why: str) -> None:
        self.why = self.why or why
        self.state = "ending"
        self.process.kill()


@dataclasses.dataclass(slots=True, eq=False)
class Seat:
    """`member` is the one that counts; `leaving` those that still drain."""

    number: int
    member: Member | None = None
    leaving: list[Member] = dataclasses.field(default_factory=list)
    relief: Member | None = None
    """Who is about to take over from `member`."""
    backoff: Backoff = dataclasses.field(default_factory=Backoff)
    restarts: int = 0
    last_end: str = ""
    timer: asyncio.TimerHandle | None = None
    calm_until: float = 0.0
    """No relief for memory is sent before then."""

    def members(self) -> list[Member]:
        """Everyone in it."""
        return [*self.leaving, *(member for member in (self.member, self.relief) if member is not None)]

    def facts(self, now: float) -> WorkerFacts:
        """What an operator sees of it."""
        member = self.member
        if member is None:
            return WorkerFacts(
                pid=0, state="unhealthy" if self.backoff.unhealthy else "waiting", uptime_s=0.0, restarts=self.restarts, resident_bytes=0,
                proportional_bytes=0, private_bytes=0, requests=0, connections=0, last_end=self.last_end,
            )  # fmt: skip
        memory = memory_of(member.process.pid)
        return WorkerFacts(
            pid=member.process.pid,
            state=member.state,
            uptime_s=round(now - member.process.started, 1),
            restarts=self.restarts,
            resident_bytes=memory.resident,
            proportional_bytes=memory.proportional,
            private_bytes=memory.private,
            requests=answered(member.slab) - member.answered_before,
            connections=member.slab.cells[OPEN],
            last_end=self.last_end,
        )


def answered(slab: Slab) -> int:
    """Requests that a slab has counted, whichever workers had it."""
    return sum(sum(record.duration) for record in slab.records())


def free_slab(board: Board, seats: list[Seat], *, relief: bool = False) -> int:
    """A slab that no living worker has: twice as many as seats are there, so that one may come while another goes. Raises ChildDied."""
    free = _free_slabs(board, seats)
    if not free or (relief and not room_for_relief(board, seats)):
        raise ChildDied("a worker cannot be started: those that still drain have all the places", hint="they end within drain_timeout_s")
    return free[0]


def room_for_relief(board: Board, seats: list[Seat]) -> bool:
    """Whether a worker may come beside another: the empty seats' places are not for it."""
    return len(_free_slabs(board, seats)) > sum(seat.member is None for seat in seats)


def _free_slabs(board: Board, seats: list[Seat]) -> list[int]:
    taken = {id(member.slab) for seat in seats for member in seat.members()}
    return [place for place, slab in enumerate(board.slabs) if id(slab) not in taken]


def clock() -> float:
    """The supervisor's time, in seconds."""
    return time.monotonic()

"""All workers as a rollout sees them: what they should serve is changed in one place, and they are waited for until they do. Used by the supervisor."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from aweigh.core.errors import Conflict, NotReady
from aweigh.core.rollout import Counted, Plan, Seen
from aweigh.engine.strays import added
from aweigh.serve.workers.changes import Changes
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Look, Version
from aweigh.serve.workers.seat import Member, clock

_PATIENCE_S: Final = 0.1
_RECENT_S: Final = 600.0
_FIRST_LOOK: Final = 1_000_000
"""Numbers of orders from here on are of this file."""


class AllWorkers:
    """`converge` tells every worker that serves something else what to serve."""

    def __init__(self, desired: Desired, changes: Changes, ready: Callable[[], list[Member]], converge: Callable[[], None]) -> None:
        self._desired = desired
        self._changes = changes
        self._ready = ready
        self._converge = converge
        self._numbers = itertools.count(_FIRST_LOOK)
        self._heard = asyncio.Event()
        self._own: dict[str, dict[Member, Seen]] = {}
        """What each worker told last of each name."""
        self._of_the_dead: dict[str, Seen] = {}
        """The sums of what those told that are no more: it counts too."""
        self._lost: dict[str, list[float]] = {}
        """When workers ended while a candidate of the name was tried out."""

    def lost(self) -> list[str]:
        """A worker has ended that was not told to; the names whose candidates may have ended it."""
        names = [plan.name for plan in self._desired.plans]
        for name in names:
            self._lost[name] = [*self._recent(name), clock()]
        return names

    def heard(self) -> None:
        """A worker has told what it serves."""
        self._heard.set()

    def stable(self, name: str) -> int | None:
        return next(reversed(self._desired.versions(name)), None)

    async def prepare(self, name: str, number: int) -> None:
        """Load a version in every worker; it answers whoever asks for it by its number."""
        await self._changes.join(Version(name=name, number=number), default=self.stable(name) is None, first=False)

    async def discard(self, name: str, number: int) -> None:
        if number != self.stable(name):
            await self._changes.drop(Version(name=name, number=number))

    async def try_out(self, plan: Plan) -> None:
        if self.stable(plan.name) == plan.candidate:
            raise Conflict(f"version {plan.candidate} of '{plan.name}' answers already", hint="try another version")
        self._forget(plan.name)
        self._desired.try_out(plan)
        await self._follow()

    async def take_over(self, name: str, number: int) -> None:
        self._forget(name)
        self._desired.try_no_more(name)
        self._desired.take_over(Version(name=name, number=number))
        await self._follow()

    async def give_up(self, name: str, number: int) -> None:
        self._forget(name)
        self._desired.try_no_more(name)
        self._desired.drop(Version(name=name, number=number))
        await self._follow()

    async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
        """What the workers tell: counts are of all workers, whoever tells them; what shadows found is each one's own. Raises NotReady."""
        members, number = self._ready(), next(self._numbers)
        told = await asyncio.gather(*[member.tell(Look(number=number, plan=plan, stable=stable)) for member in members])
        looks = [done.seen for done in told if done.seen is not None]
        lost = len(self._recent(plan.name))
        if not looks and not lost:
            raise NotReady("no worker tells how the rollout goes", hint="try again in a moment")
        own = self._own.setdefault(plan.name, {})
        own |= {member: done.seen for member, done in zip(members, told, strict=True) if done.seen is not None}
        dead = self._of_the_dead.get(plan.name, Seen())
        for member in [each for each in own if each not in members]:
            dead = _sum((dead, own.pop(member)))
        self._of_the_dead[plan.name] = dead
        whole = _sum((dead, *own.values()))
        last = max(looks, key=lambda seen: _requests(seen.stable) + _requests(seen.candidate), default=Seen())
        errors = dict.fromkeys(error for done in told for error in done.errors)
        return Seen(stable=last.stable, candidate=last.candidate, compared=whole.compared, failed=whole.failed, lost=lost), tuple(errors)

    def _recent(self, name: str) -> list[float]:
        now = clock()
        return [ended for ended in self._lost.get(name, []) if now - ended < _RECENT_S]

    def _forget(self, name: str) -> None:
        self._lost.pop(name, None)
        self._own.pop(name, None)
        self._of_the_dead.pop(name, None)

    async def _follow(self) -> None:
        """Until every worker serves what is desired; those that die meanwhile begin with it."""
        self._converge()
        while any(member.generation != self._desired.generation for member in self._ready()):
            self._heard.clear()
            with contextlib.suppress(TimeoutError):  # one that dies is not heard of
                await asyncio.wait_for(self._heard.wait(), _PATIENCE_S)


def _sum(parts: Sequence[Seen]) -> Seen:
    """What several found, each by itself."""
    return Seen(compared=added(part.compared for part in parts), failed=sum(part.failed for part in parts))


def _requests(done: Counted) -> int:
    return done.answered + done.failed

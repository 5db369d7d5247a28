"""All workers as a rollout sees them: what they tell is added up, what the dead have told counts once, and for ever."""

import asyncio
from typing import Any

import pytest

from aweigh.core.errors import Conflict, NotReady
from aweigh.core.rollout import Compared, Counted, Plan, Seen
from aweigh.serve.workers.changes import Changes
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.fleet import AllWorkers
from aweigh.serve.workers.messages import Did, Version

PLAN = Plan(name="iris", candidate=2, canary=0.5, shadow=1)


class Teller:
    """A worker that serves what is desired, and tells what it was made with."""

    def __init__(self, desired: Desired, failed: int, calls: int) -> None:
        self._desired = desired
        self.failed, self.calls = failed, calls
        self.ready = True
        """As of a member: one that was killed from outside never said otherwise."""

    @property
    def generation(self) -> int:
        return self._desired.generation

    def tell(self, order: Any) -> "asyncio.Future[Did]":
        future: asyncio.Future[Did] = asyncio.get_running_loop().create_future()
        seen = Seen(stable=Counted(answered=10), candidate=Counted(answered=7), compared=Compared(calls=self.calls), failed=self.failed)
        future.set_result(Did(number=order.number, seen=seen))
        return future


def fleet_of(members: list[Teller], desired: Desired) -> AllWorkers:
    ready: Any = lambda: [member for member in members if member.ready]  # noqa: E731
    converge = lambda: None  # noqa: E731
    return AllWorkers(desired, Changes(desired, ready, lambda _: 9, converge), ready, converge)


def test_what_the_dead_have_told_is_counted_once_whoever_comes_after_them() -> None:
    async def main() -> None:
        desired = Desired([Version(name="iris", number=2), Version(name="iris", number=1)])
        members = [Teller(desired, 1, 10), Teller(desired, 2, 20)]
        fleet = fleet_of(members, desired)
        await fleet.try_out(PLAN)
        for successor in range(1, 6):
            seen, _ = await fleet.seen(PLAN, 1)
            members.pop(0)  # its place in memory is the next one's
            members.insert(0, Teller(desired, 1, 10))
            seen, _ = await fleet.seen(PLAN, 1)
            assert (seen.failed, seen.compared.calls) == (2 + 1 + successor, 20 + 10 + 10 * successor)
            assert (seen.stable.answered, seen.candidate.answered) == (10, 7), "what all workers count is told by each"
        await fleet.give_up("iris", 2)
        await fleet.try_out(Plan(name="iris", candidate=3, canary=0.5))
        seen, _ = await fleet.seen(PLAN, 1)
        assert (seen.failed, seen.compared.calls) == (3, 30), "the next rollout begins with what lives"
        members.clear()
        with pytest.raises(NotReady):
            await fleet.seen(PLAN, 1)

    asyncio.run(main())


def test_what_answers_already_is_not_tried_beside_itself() -> None:
    async def main() -> None:
        desired = Desired([Version(name="iris", number=2)])
        with pytest.raises(Conflict, match="answers already"):
            await fleet_of([Teller(desired, 0, 0)], desired).try_out(PLAN)
        assert desired.plans == ()

    asyncio.run(main())


def test_workers_that_end_while_a_candidate_is_tried_are_told_even_when_none_is_left_to_tell() -> None:
    async def main() -> None:
        desired = Desired([Version(name="iris", number=2), Version(name="iris", number=1), Version(name="rose", number=1)])
        members: list[Teller] = []
        fleet = fleet_of(members, desired)
        assert fleet.lost() == [], "nothing is tried"
        await fleet.try_out(PLAN)
        with pytest.raises(NotReady):
            await fleet.seen(PLAN, 1)
        assert [fleet.lost(), fleet.lost()] == [["iris"]] * 2
        assert (await fleet.seen(PLAN, 1))[0].lost == 2
        await fleet.give_up("iris", 2)
        await fleet.try_out(Plan(name="iris", candidate=3, canary=0.5))
        members.append(Teller(desired, 0, 0))
        assert (await fleet.seen(PLAN, 1))[0].lost == 0

    asyncio.run(main())

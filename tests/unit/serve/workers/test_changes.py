"""Changes for all workers: all prepare before any moves, none moves when one cannot, and the dead are not waited for."""

import asyncio
from typing import Any

import pytest

from aweigh.core.errors import ChildDied, Conflict, GoldenMismatch, ModelNotFound, NotReady
from aweigh.serve.workers.changes import Changes
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Abort, Commit, Did, Prepare, Remove, Version


class Follower:
    """Does what it is told, or fails, or dies."""

    def __init__(self, *, fails: bool = False, dies: bool = False, holds: bool = False) -> None:
        self.fails, self.dies, self.holds = fails, dies, holds
        self.ready = True
        self.generation = 1
        self.told: list[Any] = []
        self.waiting: list[tuple[asyncio.Future[Did], Did]] = []

    def tell(self, order: Any) -> "asyncio.Future[Did]":
        self.told.append(order)
        future: asyncio.Future[Did] = asyncio.get_running_loop().create_future()
        error = GoldenMismatch("it answers differently").as_dict() if self.fails and isinstance(order, Prepare) else None
        self.ready = not self.dies
        if self.holds:
            self.waiting.append((future, Did(number=order.number, error=error)))
        else:
            future.set_result(Did(number=order.number, error=error))
        return future

    def kinds(self) -> list[type]:
        return [type(order) for order in self.told]


def changes(*followers: Follower) -> tuple[Desired, Changes, list[int]]:
    desired, converged = Desired([Version(name="iris", number=1)]), list[int]()
    ready = lambda: [each for each in followers if each.ready]  # noqa: E731
    return desired, Changes(desired, ready, lambda _: 9, lambda: converged.append(desired.generation)), converged  # type: ignore[arg-type]


def test_all_prepare_then_all_move() -> None:
    followers = [Follower(), Follower(), Follower()]
    desired, made, converged = changes(*followers)
    asyncio.run(made.load("iris", None))
    assert [follower.kinds() for follower in followers] == [[Prepare, Commit]] * 3
    assert followers[0].told[0].model == Version(name="iris", number=9)
    assert desired.models == (Version(name="iris", number=9),)
    assert {follower.generation for follower in followers} == {desired.generation} == set(converged)


def test_when_one_cannot_none_moves() -> None:
    followers = [Follower(), Follower(fails=True), Follower()]
    desired, made, converged = changes(*followers)
    with pytest.raises(GoldenMismatch, match="differently"):
        asyncio.run(made.load("iris", 2))
    assert [follower.kinds() for follower in followers] == [[Prepare, Abort]] * 3
    assert (desired.models, desired.generation, converged) == ((Version(name="iris", number=1),), 1, [])


def test_one_that_dies_is_not_waited_for() -> None:
    followers = [Follower(), Follower(dies=True)]
    desired, made, _ = changes(*followers)
    asyncio.run(made.load("iris", 2))
    assert [follower.kinds() for follower in followers] == [[Prepare, Commit], [Prepare]]
    assert desired.models == (Version(name="iris", number=2),)


def test_one_load_at_a_time() -> None:
    async def main() -> None:
        follower = Follower(holds=True)
        desired, made, _ = changes(follower)
        first = asyncio.ensure_future(made.load("iris", 2))
        await asyncio.sleep(0)
        with pytest.raises(Conflict, match="'iris' is being loaded"):
            await made.load("rose", 1)
        while not first.done():
            for future, done in follower.waiting:
                if not future.done():
                    future.set_result(done)
            await asyncio.sleep(0)
        assert desired.models == (Version(name="iris", number=2),)

    asyncio.run(main())


def test_nobody_to_load() -> None:
    with pytest.raises(NotReady):
        asyncio.run(changes()[1].load("iris", 2))


def test_unloading_reaches_all_and_twice_is_refused() -> None:
    followers = [Follower(), Follower()]
    desired, made, _ = changes(*followers)
    asyncio.run(made.unload("iris"))
    assert [follower.kinds() for follower in followers] == [[Remove]] * 2
    assert desired.models == ()
    with pytest.raises(ModelNotFound, match="no version is available"):
        asyncio.run(made.unload("iris"))


def test_a_version_joins_the_others_or_none_does() -> None:
    followers = [Follower(), Follower()]
    desired, made, converged = changes(*followers)
    asyncio.run(made.join(Version(name="iris", number=2), default=True, first=False))
    assert [(told.beside, told.default) for told in (follower.told[-1] for follower in followers)] == [(True, True)] * 2
    assert desired.versions("iris") == [1, 2]
    asyncio.run(made.join(Version(name="iris", number=3), default=False, first=False))
    assert desired.versions("iris") == [1, 3, 2]
    followers[0].fails = True
    with pytest.raises(GoldenMismatch):
        asyncio.run(made.join(Version(name="iris", number=4), default=True, first=False))
    asyncio.run(made.prefer(Version(name="iris", number=3)))
    asyncio.run(made.drop(Version(name="iris", number=1)))
    assert desired.versions("iris") == [2, 3]
    assert converged[-1] == desired.generation


def test_what_is_unloaded_while_it_is_loaded_stays_unloaded() -> None:
    async def main() -> None:
        follower = Follower(holds=True)
        desired, made, _ = changes(follower)
        told: list[tuple[str, int | None, bool]] = []
        made.decided = lambda name, version, *, loaded: told.append((name, version, loaded))
        loading = asyncio.ensure_future(made.load("iris", 2))
        await asyncio.sleep(0)
        unloading = asyncio.ensure_future(made.unload("iris"))
        while not (loading.done() and unloading.done()):
            for future, done in list(follower.waiting):
                if not future.done():
                    future.set_result(done)
            await asyncio.sleep(0)
        with pytest.raises(Conflict, match="'iris' was unloaded while it was loaded"):
            await loading
        assert (desired.models, told) == ((), [("iris", None, False)])
        assert follower.kinds() == [Prepare, Remove, Abort]

    asyncio.run(main())


def test_what_is_unloaded_while_it_joins_stays_unloaded() -> None:
    async def main() -> None:
        follower = Follower(holds=True)
        desired, made, _ = changes(follower)
        followed = {"iris"}
        made.decided = lambda name, version, *, loaded: followed.discard(name)
        version = Version(name="iris", number=2)
        joining = asyncio.ensure_future(made.join(version, default=True, first=False, wanted=lambda: "iris" in followed))
        await asyncio.sleep(0)
        unloading = asyncio.ensure_future(made.unload("iris"))
        while not (joining.done() and unloading.done()):
            for future, done in list(follower.waiting):
                if not future.done():
                    future.set_result(done)
            await asyncio.sleep(0)
        with pytest.raises(Conflict, match="'iris' was unloaded while it was loaded"):
            await joining
        assert desired.models == ()
        assert follower.kinds() == [Prepare, Remove, Abort]

    asyncio.run(main())


def test_a_version_whose_loading_ends_every_worker_is_not_what_their_successors_begin_with() -> None:
    for beside in (False, True):
        desired, made, converged = changes(Follower(dies=True), Follower(dies=True))
        joining = made.join(Version(name="iris", number=2), default=False, first=False)
        with pytest.raises(ChildDied, match="every worker ended while 'iris' version 2 was loaded"):
            asyncio.run(joining if beside else made.load("iris", 2))
        joining.close()
        assert (desired.versions("iris"), converged) == ([1], [])


def test_a_load_that_waited_for_its_turn_does_not_take_over_what_is_rolled_out_by_then() -> None:
    async def main() -> None:
        follower, rolled = Follower(holds=True), set[str]()
        desired, made, _ = changes(follower)
        made.rolled = rolled.__contains__
        joining = asyncio.ensure_future(made.join(Version(name="iris", number=2), default=False, first=False))
        await asyncio.sleep(0)
        loading = asyncio.ensure_future(made.load("iris", 3))
        await asyncio.sleep(0)
        rolled.add("iris")
        while not (joining.done() and loading.done()):
            for future, done in list(follower.waiting):
                if not future.done():
                    future.set_result(done)
            await asyncio.sleep(0)
        with pytest.raises(Conflict, match="is being rolled out"):
            await loading
        assert desired.versions("iris") == [2, 1]

    asyncio.run(main())

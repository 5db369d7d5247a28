"""A server follows its store: what is listed is served, what is not goes, what fails changes nothing, what clients decided holds."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.serving.kit import Clock

from aweigh.core.errors import GoldenMismatch, StoreUnavailable, Unavailable
from aweigh.core.settings import Settings
from aweigh.core.version_policy import Selection
from aweigh.engine.follower import Followed, Follower, Shelved


class Server:
    """The hands, and the store beside them."""

    def __init__(self, **settings: Any) -> None:
        self.stored: dict[str, Shelved] = {"iris": Shelved(numbers=(1,))}
        self.running: dict[str, list[int]] = {"iris": [1]}
        self.meant: dict[str, int] = {"iris": 1}
        self.broken: dict[int, Exception] = {}
        self.meanwhile: Callable[[], None] | None = None
        """What happens while a version is loaded."""
        self.done: list[str] = []
        self.others = False
        self.clock = Clock()
        follow = Followed(selection=Selection(), live="live")
        self.follower = Follower(
            Settings(**{"poll_store_s": 0.01, **settings}),
            self.catalogue,
            self,
            {"iris": follow},
            by_policy=lambda _: follow,
            clock=self.clock,
        )

    def catalogue(self) -> dict[str, Shelved]:
        if not self.stored:
            raise StoreUnavailable("the disk is gone")
        return self.stored

    def served(self, name: str) -> list[int] | None:
        return None if self.others else list(self.running.get(name, ()))

    async def load(self, name: str, number: int, *, default: bool, first: bool, wanted: Callable[[], bool]) -> None:
        self.done.append(f"load {number}{' first' if first else ''}")
        if self.meanwhile is not None:
            self.meanwhile()
        if number in self.broken:
            raise self.broken[number]
        if not wanted():
            self.done.append(f"discard {number}")
            return
        self.running.setdefault(name, []).append(number)
        if default:
            self.meant[name] = number

    async def unload(self, name: str, number: int) -> None:
        self.done.append(f"unload {number}")
        self.running[name].remove(number)

    async def prefer(self, name: str, number: int) -> None:
        self.meant[name] = number

    async def relabel(self) -> None:
        self.done.append("relabel")

    def shelve(self, *numbers: int, **aliases: int) -> None:
        self.stored["iris"] = Shelved(numbers=numbers, aliases=aliases)

    async def look(self) -> list[str]:
        self.done.clear()
        await self.follower.look()
        return [each for each in self.done if each != "relabel"]


def play(main: Callable[[Server], Coroutine[Any, Any, None]], **settings: Any) -> None:
    asyncio.run(main(Server(**settings)))


def test_a_new_version_takes_over_and_one_that_is_removed_goes() -> None:
    async def main(server: Server) -> None:
        assert await server.look() == []
        server.shelve(1, 2)
        assert await server.look() == ["load 2", "unload 1"]
        assert (server.running, server.meant) == ({"iris": [2]}, {"iris": 2})
        server.shelve(1)
        assert await server.look() == ["load 1", "unload 2"], "the smaller number is what is left"
        server.stored["iris"] = Shelved()
        assert await server.look() == ["unload 1"]

    play(main)


def test_with_resource_preserving_the_old_one_makes_way_and_goes_when_the_new_one_is_there() -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.broken[2] = GoldenMismatch("it answers differently")
        assert await server.look() == ["load 2 first"]
        assert server.running == {"iris": [1]}, "it comes back on its next use"
        server.shelve(1, 2, 3)
        assert await server.look() == ["load 3 first", "unload 1"]

    play(main, version_transition="resource")


def test_an_alias_says_what_the_bare_name_means() -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2, live=1)
        assert await server.look() == [], "a version that was published waits to be made live"
        server.shelve(1, 2, live=2)
        assert await server.look() == ["load 2", "unload 1"]
        assert server.meant == {"iris": 2}

    play(main)


def test_a_version_that_fails_is_tried_again_later_and_the_old_one_stays() -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.broken[2] = Unavailable("not now")
        assert await server.look() == ["load 2"]
        assert await server.look() == []
        server.clock.seconds += 60.0
        del server.broken[2]
        assert await server.look() == ["load 2", "unload 1"]

    play(main)


def test_a_store_that_cannot_be_read_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main(server: Server) -> None:
        server.stored = {}
        assert await server.look() == []
        assert server.running == {"iris": [1]}

    play(main)
    assert "the store cannot be looked at" in caplog.text


def test_what_clients_decide_holds_until_they_load_the_newest() -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.follower.decided("iris", 1, loaded=True)
        assert await server.look() == []
        server.follower.decided("iris", None, loaded=True)
        assert await server.look() == ["load 2", "unload 1"]
        server.follower.decided("iris", None, loaded=False)
        server.running["iris"] = []
        assert await server.look() == []

    play(main)


@pytest.mark.parametrize("transition", ["availability", "resource"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_client_unloads_while_it_is_loaded_stays_unloaded(
    transition: str, *, fails: bool, again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def unload(server: Server) -> None:
        server.follower.decided("iris", None, loaded=False)
        server.running["iris"], server.meanwhile = [], None
        if again:
            server.follower.decided("iris", None, loaded=True)

    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.meanwhile = lambda: unload(server)
        if fails:
            server.broken[2] = Unavailable("not now")
        done = await server.look()
        assert done[0].startswith("load 2")
        assert done[1:] == ([] if fails else ["discard 2"])
        assert server.running == {"iris": []}
        server.broken.clear()
        assert await server.look() == (["load 2"] if again else [])
        assert "cannot be served" not in caplog.text

    play(main, version_transition=transition)


def test_nothing_is_done_while_others_change_the_name() -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.others = True
        assert await server.look() == []
        server.others = False
        assert await server.look() == ["load 2", "unload 1"]

    play(main)


def test_aliases_that_move_are_told() -> None:
    async def main(server: Server) -> None:
        await server.look()
        assert await server.look() == []
        assert server.done == []
        server.shelve(1, champion=1)
        await server.look()
        assert server.done == ["relabel"]

    play(main)


def test_whatever_goes_wrong_in_a_look_there_is_a_next_one(caplog: pytest.LogCaptureFixture) -> None:
    async def main(server: Server) -> None:
        server.shelve(1, 2)
        server.broken[2] = TypeError("nobody expected this")
        running = asyncio.ensure_future(server.follower.run())
        for _ in range(200):
            if "the store cannot be followed" in caplog.text:
                break
            await asyncio.sleep(0.01)
        server.broken.clear()
        server.clock.seconds += 60.0
        for _ in range(200):
            if server.running == {"iris": [2]}:
                break
            await asyncio.sleep(0.01)
        running.cancel()
        assert server.running == {"iris": [2]}

    play(main)
    assert "TypeError: nobody expected this" in caplog.text


def test_it_looks_again_and_again() -> None:
    async def main(server: Server) -> None:
        running = asyncio.ensure_future(server.follower.run())
        server.shelve(1, 2)
        for _ in range(200):
            if server.running == {"iris": [2]}:
                break
            await asyncio.sleep(0.01)
        running.cancel()
        assert server.running == {"iris": [2]}

    play(main)

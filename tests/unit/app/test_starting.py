"""A server of one process follows its store: what a client unloads while it is loaded is let go of, and does not come back."""

import asyncio
from typing import Any

from tests.serving.shelf import Shelf

from aweigh.app.starting import OneProcessHands
from aweigh.core.settings import Settings
from aweigh.core.version_policy import Selection
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.follower import Followed, Follower, Shelved


async def until(true: Any) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not become true in time")


def test_what_a_client_unloads_while_the_store_has_it_loaded_is_not_served() -> None:
    async def main() -> None:
        shelf = Shelf(("a", 1), ("a", 2))
        settings = Settings(poll_store_s=0.01)
        dataplane = DataPlane(settings)
        control = ModelControl(dataplane, shelf, shelf.load, allowed=True)
        policy = Followed(selection=Selection(), live="")
        follower = Follower(
            settings,
            lambda: {"a": Shelved(numbers=(1, 2))},
            OneProcessHands(dataplane, control),
            {"a": policy},
            by_policy=lambda _: policy,
            clock=asyncio.get_running_loop().time,
        )
        control.decided = follower.decided
        loaded = asyncio.get_running_loop().create_future()
        control.load("a", 1, lambda _, error: loaded.set_result(error))
        assert await loaded is None
        follower.decided("a", None, loaded=True)
        shelf.gate.clear()
        looking = asyncio.ensure_future(follower.look())
        await until(lambda: ("a", 2) in shelf.loads)
        control.unload("a", lambda *_: None)
        shelf.gate.set()
        await looking
        assert dataplane.versions("a") == []
        await follower.look()
        assert (dataplane.versions("a"), shelf.loads) == ([], [("a", 1), ("a", 2)])
        await until(lambda: not control.loader.apart)
        control.close()
        dataplane.close()
        assert all(each.session.closed for each in shelf.models), "whatever was loaded is released"  # type: ignore[attr-defined]

    asyncio.run(main())

"""One process as a rollout sees it: what is counted, what is loaded for it, and what stays in memory while it lasts."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import numpy as np
import pytest
from tests.serving.shelf import MIB, Shelf

from aweigh.core.errors import Conflict, InsufficientMemory
from aweigh.core.rollout import Plan
from aweigh.core.settings import Settings
from aweigh.engine.asleep import ON_FIRST_USE
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.fleet import OneProcess, loaded

ROWS = {"X": np.ones((1, 4), np.float32)}
CANARY = Plan(name="a", candidate=2, canary=0.5)
SHADOW = Plan(name="a", candidate=2, shadow=1.0)


def run(scene: Callable[[OneProcess, DataPlane, ModelControl], Awaitable[None]], **settings: object) -> None:
    """Over a shelf that has two versions of `a` and `b`, each of 100 MiB; nothing is loaded yet."""

    async def main() -> None:
        shelf = Shelf(*((name, number) for name in "ab" for number in (1, 2)))
        shelf.sizes = dict.fromkeys("ab", 100 * MIB)
        dataplane = DataPlane(Settings(**settings))  # type: ignore[arg-type]  # what each test says
        dataplane.started = True
        control = ModelControl(dataplane, shelf, shelf.load, allowed=True)
        fleet = OneProcess(dataplane, control)
        try:
            await scene(fleet, dataplane, control)
        finally:
            for name in fleet.trials():
                fleet.end(name)
            control.close()

    asyncio.run(main())


async def serve(control: ModelControl, name: str, number: int, *, default: bool = True) -> None:
    control.join(await loaded(control, name, number), default=default)


def test_what_a_version_that_is_served_already_has_done_is_known_before_it_is_tried() -> None:
    async def scene(fleet: OneProcess, dataplane: DataPlane, control: ModelControl) -> None:
        await serve(control, "a", 1)
        await serve(control, "a", 2, default=False)
        dataplane.run(dataplane.find("a", "2"), ROWS, 1)
        before, _ = fleet.look(CANARY, 1)
        assert before.candidate.answered == 1
        await fleet.try_out(CANARY)
        assert fleet.look(CANARY, 1)[0].candidate == before.candidate

    run(scene)


def test_a_stable_version_that_is_asleep_is_loaded_to_be_tried_beside() -> None:
    async def scene(fleet: OneProcess, dataplane: DataPlane, control: ModelControl) -> None:
        dataplane.asleep.put("a", "1", ON_FIRST_USE, default=True)
        assert fleet.stable("a") == 1
        await fleet.prepare("a", 2)
        await fleet.try_out(CANARY)
        assert dataplane.find("a").version == "1"
        who = SimpleNamespace(chosen=None, header=lambda _: None)
        assert {dataplane.choose("a", "", SimpleNamespace(**vars(who))).version for _ in range(8)} == {"1", "2"}

    run(scene)


@pytest.mark.parametrize("plan", [CANARY, SHADOW])
def test_neither_version_makes_room_for_others_while_it_is_tried(plan: Plan) -> None:
    async def scene(fleet: OneProcess, dataplane: DataPlane, control: ModelControl) -> None:
        await serve(control, "a", 1)
        await fleet.prepare("a", 2)
        await fleet.try_out(plan)
        with pytest.raises(InsufficientMemory):
            await loaded(control, "b", 1)
        assert dataplane.versions("a") == ["1", "2"]
        await fleet.give_up("a", 2)
        await serve(control, "b", 1)

    run(scene, memory_budget_bytes=250 * MIB)


def test_what_answers_already_is_not_tried_beside_itself() -> None:
    async def scene(fleet: OneProcess, dataplane: DataPlane, control: ModelControl) -> None:
        await serve(control, "a", 2)
        with pytest.raises(Conflict, match="answers already"):
            await fleet.try_out(CANARY)
        assert dataplane.find("a").version == "2"

    run(scene)

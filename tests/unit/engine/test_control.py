"""Loading and unloading while serving: the old version answers until the new one may, and ends with the answers it owes."""

import asyncio
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import HeldThreads, model
from tests.serving.shelf import Shelf

from aweigh.core.errors import Conflict, Denied, GoldenMismatch, InternalError, ModelNotFound
from aweigh.core.settings import Settings
from aweigh.engine.control import IndexLine, ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.slab import LOADS_FAILED


def control(*, allowed: bool = True) -> tuple[DataPlane, Shelf, ModelControl]:
    dataplane, shelf = DataPlane(Settings(drain_timeout_s=5.0)), Shelf(("iris", 1), ("iris", 2), ("rose", 1))
    dataplane.started = True
    dataplane.add(model())
    return dataplane, shelf, ModelControl(dataplane, shelf, shelf.load, allowed=allowed)


async def outcome(begin: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    begin(lambda found, error: future.set_exception(error) if error else future.set_result(found))
    return await asyncio.wait_for(future, 10)


def test_a_new_version_takes_over_and_the_old_one_is_released() -> None:
    async def main() -> None:
        dataplane, shelf, changes = control()
        old = dataplane.find("iris")
        shelf.gate.clear()
        loading = asyncio.ensure_future(outcome(lambda done: changes.load("iris", None, done)))
        await asyncio.sleep(0.01)
        assert dataplane.find("iris") is old, "until the new one may answer"
        with pytest.raises(Conflict, match="'iris' is being loaded"):
            changes.load("rose", None, lambda *_: None)
        shelf.gate.set()
        await loading
        assert dataplane.versions("iris") == ["2"]
        assert dataplane.find("iris").version == "2"
        for _ in range(200):
            if old.session.closed:  # type: ignore[attr-defined]  # a FakeSession
                break
            await asyncio.sleep(0.01)
        assert old.session.closed  # type: ignore[attr-defined]
        lines = await outcome(changes.index)
        assert [(line.name, line.version, line.state) for line in lines] == [
            ("iris", "1", "UNAVAILABLE"),
            ("iris", "2", "READY"),
            ("rose", "1", "UNAVAILABLE"),
        ]
        ready = await outcome(lambda done: changes.index(done, ready_only=True))
        assert ready == [IndexLine(name="iris", version="2", state="READY", reason="")]
        changes.close()

    asyncio.run(main())


def test_what_cannot_be_loaded_changes_nothing() -> None:
    async def main() -> None:
        dataplane, shelf, changes = control()
        old = dataplane.find("iris")
        shelf.failures["iris"] = GoldenMismatch("it answers differently here")
        with pytest.raises(GoldenMismatch):
            await outcome(lambda done: changes.load("iris", 2, done))
        shelf.failures["iris"] = ValueError("a bug")
        with pytest.raises(InternalError, match="failed to do this"):
            await outcome(lambda done: changes.load("iris", 2, done))
        with pytest.raises(ModelNotFound):
            await outcome(lambda done: changes.load("none", None, done))
        assert dataplane.find("iris") is old
        lines = {(line.name, line.version): line.reason for line in await outcome(changes.index)}
        assert lines == {("iris", "1"): "", ("iris", "2"): "it answers differently here", ("rose", "1"): "unloaded"}
        assert dataplane.counts[LOADS_FAILED] == 2, "a name that nobody knows is no failure of the server"
        shelf.failures.clear()
        await outcome(lambda done: changes.load("iris", 2, done))
        shelf.failures["iris"] = GoldenMismatch("it answers differently here")
        changes.remove("iris")
        await asyncio.sleep(0.1)
        lines = {(line.name, line.version): line.reason for line in await outcome(changes.index)}
        assert lines["iris", "2"] == "unloaded", "what failed once and was loaded since did not fail"
        shelf.failures.clear()
        dataplane.add(model())
        await outcome(lambda done: changes.load("rose", 1, done))
        assert [each.name for each in dataplane.models()] == ["iris", "rose"]
        changes.close()

    asyncio.run(main())


def test_unloading_drains() -> None:
    async def main() -> None:
        dataplane, _, changes = control()
        held = HeldThreads()
        busy = model(name="busy", threads=held)
        dataplane.add(busy)
        answers: list[Any] = []
        caller: Any = type("Caller", (), {"deadline": None, "cancelled": False, "id": b"1"})()
        dataplane.submit(busy, {"X": np.ones((1, 4), np.float32)}, 1, caller, lambda outputs, error: answers.append((outputs, error)))
        await outcome(lambda done: changes.unload("busy", done))
        with pytest.raises(ModelNotFound):
            dataplane.find("busy")
        await asyncio.sleep(0.05)
        assert not busy.session.closed  # type: ignore[attr-defined]
        lines = await outcome(changes.index)
        assert ("busy", "1", "UNLOADING") in [(line.name, line.version, line.state) for line in lines]
        held.release()
        for _ in range(200):
            if busy.session.closed:  # type: ignore[attr-defined]
                break
            await asyncio.sleep(0.01)
        assert busy.session.closed  # type: ignore[attr-defined]
        assert answers[0][1] is None
        with pytest.raises(ModelNotFound, match="failed to unload 'busy'"):
            changes.unload("busy", lambda *_: None)
        changes.close()

    asyncio.run(main())


def test_where_it_is_not_allowed() -> None:
    async def main() -> None:
        _, _, changes = control(allowed=False)
        for refused in (lambda: changes.load("iris", None, lambda *_: None), lambda: changes.unload("iris", lambda *_: None)):
            with pytest.raises(Denied, match="not allowed"):
                refused()
        assert await outcome(changes.index)
        changes.close()

    asyncio.run(main())

"""Loading within a budget, on first use and in turn: who waits, who makes room, what a load that fails leaves behind."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import HeldThreads, model
from tests.serving.shelf import MIB, Shelf

from aweigh.core.errors import (
    AweighError,
    Conflict,
    DeadlineExceeded,
    InsufficientMemory,
    ModelNotFound,
    NotLoaded,
    Overloaded,
    Unavailable,
)
from aweigh.core.settings import Settings
from aweigh.engine.asleep import ON_FIRST_USE
from aweigh.engine.circuit import Circuit
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.routing import Fallback

NAMES = ("a", "b", "c", "d")


class Stand:
    """A data plane with a control over a shelf that has two versions of `a` to `d`, each of 100 MiB: they weigh what their files do."""

    def __init__(self, **settings: Any) -> None:
        self.shelf = Shelf(*((name, number) for name in NAMES for number in (1, 2)))
        self.shelf.sizes = dict.fromkeys(NAMES, 100 * MIB)
        self.dataplane = DataPlane(Settings(**{"drain_timeout_s": 5.0, **settings}))
        self.dataplane.started = True
        self.control = ModelControl(self.dataplane, self.shelf, self.shelf.load, allowed=True)

    async def load(self, name: str, version: int | None = 1) -> None:
        await outcome(lambda done: self.control.load(name, version, done))

    async def use(self, name: str, version: str = "", **caller: Any) -> LoadedModel:
        """What a request does: find its model, wait for it where it is asleep, and be counted as its last use."""
        who = SimpleNamespace(deadline=None, cancelled=False, id=b"1", priority=0, **caller)
        try:
            found = self.dataplane.find(name, version)
        except NotLoaded as error:
            wake: Any = error.wake
            await outcome(lambda done: wake(who, lambda failed: done(None, failed)))
            found = self.dataplane.find(name, version)
        self.dataplane.run(found, {"X": np.ones((1, 4), np.float32)}, 1)
        return found

    def loaded(self) -> list[str]:
        return [f"{each.name}:{each.version}" for each in self.dataplane.models()]

    async def lines(self) -> dict[str, tuple[str, str]]:
        found = await outcome(self.control.index)
        return {f"{line.name}:{line.version}": (line.state, line.reason) for line in found}


async def outcome(begin: Callable[[Any], None]) -> Any:
    future = asyncio.get_running_loop().create_future()
    begin(lambda found, error=None: future.set_exception(error) if error else future.set_result(found))
    return await asyncio.wait_for(future, 10)


async def until(true: Callable[[], Any]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not become true in time")


def play(main: Callable[[Stand], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        stand = Stand(**settings)
        try:
            await main(stand)
        finally:
            stand.control.close()
            stand.dataplane.close()
        assert all(each.session.closed for each in stand.shelf.models), "whatever was loaded is released"  # type: ignore[attr-defined]

    asyncio.run(run())


def test_the_least_recently_used_makes_room_and_comes_back_on_its_next_use() -> None:
    async def main(stand: Stand) -> None:
        for name in ("a", "b", "c"):
            await stand.load(name)
        await stand.use("a")
        await stand.load("d")
        assert stand.loaded() == ["a:1", "c:1", "d:1"]
        lines = await stand.lines()
        assert lines["b:1"] == ("UNAVAILABLE", "it made room for others, and is loaded again on its next use")
        evicted = next(each for each in stand.shelf.models if each.name == "b")
        assert evicted.session.closed  # type: ignore[attr-defined]
        assert (await stand.use("b")).name == "b"
        assert stand.loaded() == ["a:1", "b:1", "d:1"], "c was the least recently used"
        assert stand.control.evicted == 2
        assert stand.control.loader.used_bytes() == 300 * MIB

    play(main, memory_budget_bytes=300 * MIB)


def test_insufficient_resources() -> None:
    """basic_manager_test.cc of TensorFlow Serving, InsufficientResources: the load is refused, says why, and what is served stays."""

    async def main(stand: Stand) -> None:
        await stand.load("a")
        held = HeldThreads()
        busy = model(name="busy", threads=held)
        busy.weigh(100 * MIB, time.perf_counter())
        stand.dataplane.add(busy)
        stand.dataplane.submit(
            busy, {"X": np.ones((1, 4), np.float32)}, 1, SimpleNamespace(deadline=None, cancelled=False, id=b"1"), lambda *_: None
        )  # type: ignore[arg-type]  # all that a caller is
        stand.shelf.sizes["c"] = 250 * MIB
        with pytest.raises(
            InsufficientMemory, match=r"model 'c:1' needs 250.0 MiB, and of the memory budget of 300.0 MiB 100.0 MiB are free"
        ):
            await stand.load("c")
        assert stand.loaded() == ["a:1", "busy:1"]
        assert stand.shelf.loads == [("a", 1)], "it was not even begun"
        assert (await stand.lines())["c:1"][1].startswith("model 'c:1' needs 250.0 MiB")
        held.release()
        await stand.load("c", None)
        assert stand.loaded() == ["c:2"]

    play(main, memory_budget_bytes=300 * MIB)


def test_resources_released_if_load_fails() -> None:
    """basic_manager_test.cc of TensorFlow Serving, ResourcesReleasedIfLoadFails: a second load has the room of the first, which failed."""

    async def main(stand: Stand) -> None:
        stand.shelf.failures["a"] = Unavailable("Load failure")
        with pytest.raises(Unavailable):
            await stand.load("a")
        assert stand.control.loader.budget.reserved_bytes == 0
        await stand.load("b")
        assert stand.loaded() == ["b:1"]

    play(main, memory_budget_bytes=100 * MIB)


def test_what_is_larger_than_its_files_say_is_counted_as_it_is() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a")
        await stand.load("b")
        stand.control.loader.budget.measured("sha256:c-1", 150 * MIB)
        await stand.load("c")
        assert stand.loaded() == ["b:1", "c:1"], "100 MiB, as it was measured now"
        stand.control.loader.budget.measured("sha256:d-1", 260 * MIB)
        with pytest.raises(InsufficientMemory):
            await stand.load("d")

    play(main, memory_budget_bytes=250 * MIB)


def test_what_is_replaced_answers_until_its_successor_may() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a")
        with pytest.raises(InsufficientMemory, match=r"a:1 \(it answers until the other may\)"):
            await stand.load("a", 2)
        assert stand.loaded() == ["a:1"]

    play(main, memory_budget_bytes=150 * MIB)


def test_with_resource_preserving_the_old_version_goes_first_and_comes_back_if_the_new_one_fails() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a")
        stand.shelf.failures["a:2"] = Unavailable("no")
        with pytest.raises(Unavailable):
            await stand.load("a", 2)
        assert (stand.loaded(), stand.dataplane.asleep.default("a")) == ([], "1")
        assert (await stand.use("a")).version == "1"
        del stand.shelf.failures["a:2"]
        await stand.load("a", 2)
        assert (stand.loaded(), stand.dataplane.asleep.versions("a")) == (["a:2"], [])

    play(main, memory_budget_bytes=150 * MIB, version_transition="resource")


def test_requests_in_the_gap_of_resource_preserving_wait_for_the_new_version() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a")
        stand.shelf.gate.clear()
        loading = asyncio.ensure_future(stand.load("a", 2))
        await until(lambda: not (stand.loaded()))
        using = asyncio.ensure_future(stand.use("a"))
        await asyncio.sleep(0.01)
        stand.shelf.gate.set()
        await loading
        assert (await using).version == "2"
        assert stand.shelf.loads == [("a", 1), ("a", 2)], "the old one was not loaded for it"

    play(main, version_transition="resource")


def test_pinned_models_stay() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a")
        await stand.load("b")
        await stand.load("c")
        assert stand.loaded() == ["a:1", "c:1"]
        with pytest.raises(ModelNotFound):
            stand.dataplane.find("d")

    play(main, memory_budget_bytes=200 * MIB, pinned_models="a*")


def test_first_requests_wait_for_one_load() -> None:
    async def main(stand: Stand) -> None:
        stand.dataplane.asleep.put("a", "1", ON_FIRST_USE, default=True)
        assert (await stand.lines())["a:1"] == ("UNAVAILABLE", "loaded on first use")
        stand.shelf.gate.clear()
        waiting = [asyncio.ensure_future(stand.use("a")) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert stand.control.waking.waiting == 5
        stand.shelf.gate.set()
        models = await asyncio.gather(*waiting)
        assert len({id(each) for each in models}) == 1
        assert stand.shelf.loads == [("a", 1)]

    play(main)


def test_who_gave_up_waiting_takes_nobodys_place() -> None:
    async def main(stand: Stand) -> None:
        for name in ("a", "b"):
            stand.dataplane.asleep.put(name, "1", ON_FIRST_USE, default=True)
        stand.shelf.gate.clear()
        told: list[AweighError | None] = []

        def ask(name: str, deadline: float | None = None) -> Any:
            with pytest.raises(NotLoaded) as error:
                stand.dataplane.find(name)
            assert error.value.wake is not None
            caller = SimpleNamespace(deadline=deadline, cancelled=False, id=b"1", priority=0)
            error.value.wake(caller, told.append)
            return caller

        late, left = ask("a", time.monotonic() + 0.02), ask("a")
        await until(lambda: bool(told))
        assert isinstance(told[0], DeadlineExceeded)
        assert stand.control.room().waiting == 1
        left.cancelled = True
        assert (stand.control.room().waiting, late.cancelled) == (0, False)
        ask("b")
        gone = ask("a")
        with pytest.raises(Overloaded, match="2 requests wait for models to be loaded"):
            ask("b")
        gone.cancelled = True
        ask("b")
        stand.shelf.gate.set()
        await until(lambda: len(told) == 3)
        assert (told[1:], stand.control.room().waiting) == ([None, None], 0)
        assert stand.shelf.loads == [("a", 1), ("b", 1)]

    play(main, max_queue=2)


def test_waiting_is_bounded_by_number_and_deadline() -> None:
    async def main(stand: Stand) -> None:
        stand.dataplane.asleep.put("a", "1", ON_FIRST_USE, default=True)
        stand.shelf.gate.clear()
        told: list[AweighError | None] = []

        def ask(deadline: float | None) -> None:
            with pytest.raises(NotLoaded) as error:
                stand.dataplane.find("a")
            assert error.value.wake is not None
            error.value.wake(SimpleNamespace(deadline=deadline, cancelled=False, id=b"1", priority=0), told.append)

        ask(time.monotonic() + 0.02)
        ask(None)
        with pytest.raises(Overloaded, match="2 requests wait for models to be loaded"):
            ask(None)
        await until(lambda: bool(told))
        assert isinstance(told[0], DeadlineExceeded)
        stand.shelf.gate.set()
        await until(lambda: not (len(told) < 2))
        assert told[1] is None

    play(main, max_queue=2)


def test_a_load_on_first_use_that_fails_is_told_to_all_and_not_tried_at_every_request() -> None:
    async def main(stand: Stand) -> None:
        stand.dataplane.asleep.put("a", "1", ON_FIRST_USE, default=True)
        stand.shelf.failures["a"] = Unavailable("no library")
        results = await asyncio.gather(*[stand.use("a") for _ in range(3)], return_exceptions=True)
        assert [str(each) for each in results] == ["no library"] * 3
        with pytest.raises(Unavailable, match="no library"):
            await stand.use("a")
        assert stand.shelf.loads == [("a", 1)]
        assert (await stand.lines())["a:1"] == ("UNAVAILABLE", "no library")
        stand.shelf.failures.clear()
        await stand.load("a")
        assert (await stand.use("a")).version == "1"

    play(main)


def test_what_is_unloaded_while_it_wakes_is_not_found() -> None:
    async def main(stand: Stand) -> None:
        stand.dataplane.asleep.put("a", "1", ON_FIRST_USE, default=True)
        stand.shelf.gate.clear()
        waiting = asyncio.ensure_future(stand.use("a"))
        await until(lambda: bool(stand.shelf.loads))
        await outcome(lambda done: stand.control.unload("a", done))
        stand.shelf.gate.set()
        with pytest.raises(ModelNotFound):
            await waiting
        assert stand.loaded() == []

    play(main)


def test_a_label_of_a_version_that_is_asleep_wakes_it() -> None:
    async def main(stand: Stand) -> None:
        await stand.load("a", 2)
        stand.dataplane.asleep.put("a", "1", ON_FIRST_USE, default=False)
        stand.shelf.labels["a"] = {"stable": 1}
        stand.control.relabel()
        await until(lambda: stand.dataplane.labels.of("a"))
        assert (await stand.use("a", "stable")).version == "1"
        assert (await stand.use("a")).version == "2", "the bare name means what it meant"

    play(main)


def test_a_model_that_stands_in_for_another_is_loaded_before_it_is_needed_and_stays() -> None:
    async def main(stand: Stand) -> None:
        for name in ("a", "b"):
            stand.dataplane.asleep.put(name, "1", ON_FIRST_USE, default=True)
        stand.dataplane.routing.fall_back("a", Fallback(other="b", patience_s=0.0, circuit=Circuit(5, 1.0)))
        who: Any = SimpleNamespace(chosen=None, deadline=None, cancelled=False, id=b"1", priority=0)
        with pytest.raises(NotLoaded):
            stand.dataplane.choose("a", "", who)
        await until(lambda: stand.loaded() == ["b:1"])
        await stand.use("a")
        with pytest.raises(InsufficientMemory, match=r"b:1 \(its requests are dealt out to several models\)"):
            await stand.load("c")

    play(main, memory_budget_bytes=200 * MIB)


def test_concurrent_loads_only_one_succeeds() -> None:
    """basic_manager_test.cc of TensorFlow Serving, ConcurrentLoadsOnlyOneSucceeds: the others are told that it is under way."""

    async def main(stand: Stand) -> None:
        results = await asyncio.gather(*[stand.load("a") for _ in range(4)], return_exceptions=True)
        assert sum(each is None for each in results) == 1
        assert sum(isinstance(each, Conflict) for each in results) == 3
        assert stand.shelf.loads == [("a", 1)]

    play(main)


def test_interleaved_loads_and_unloads() -> None:
    """basic_manager_test.cc of TensorFlow Serving, InterleavedLoadsAndUnloads: many at once, of many versions; all end, and nothing is left."""

    async def cycle(stand: Stand, name: str) -> None:
        for _ in range(20):
            try:
                await stand.load(name)
                await outcome(lambda done: stand.control.unload(name, done))
            except (Conflict, ModelNotFound):
                await asyncio.sleep(0)

    async def main(stand: Stand) -> None:
        await asyncio.gather(*[cycle(stand, name) for name in NAMES for _ in range(2)])
        assert stand.loaded() == []
        await until(lambda: not (stand.control.loader.apart))
        assert len(stand.shelf.models) > 4

    play(main)


def test_the_last_accepted_intent_holds() -> None:
    """An unload that is accepted while the load before it is under way is not undone by it."""

    async def main(stand: Stand) -> None:
        stand.shelf.gate.clear()
        loading = asyncio.ensure_future(stand.load("a"))
        await asyncio.sleep(0.01)
        await outcome(lambda done: stand.control.unload("a", done))
        stand.shelf.gate.set()
        with pytest.raises(Conflict, match="model 'a' was unloaded while it was loaded"):
            await loading
        assert stand.loaded() == []
        await stand.load("a")
        assert stand.loaded() == ["a:1"]

    play(main)


def test_destruct_on_non_serving_thread() -> None:
    """aspired_versions_manager_test.cc of TensorFlow Serving, DestructOnNonServingThread: whoever answered last, another thread releases."""
    closed_on: list[int] = []

    async def main(stand: Stand) -> None:
        held = HeldThreads()
        busy = model(name="busy", threads=held)
        close = busy.session.close
        busy.session.close = lambda: (closed_on.append(threading.get_ident()), close())[0]  # type: ignore[method-assign,assignment]
        stand.dataplane.add(busy)
        stand.dataplane.submit(
            busy, {"X": np.ones((1, 4), np.float32)}, 1, SimpleNamespace(deadline=None, cancelled=False, id=b"1"), lambda *_: None
        )  # type: ignore[arg-type]  # all that a caller is
        stand.control.drop(busy)
        await asyncio.sleep(0.05)
        assert not closed_on, "it has something to answer"
        held.release()
        await until(lambda: bool(closed_on))
        assert closed_on[0] != threading.get_ident()

    play(main)

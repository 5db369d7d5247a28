"""A shadow: what it finds, where it works, and what it leaves behind when it ends."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
import pytest
from tests.serving.kit import HeldThreads, answer, model, signature

from aweigh.core.errors import InternalError, Overloaded, Unavailable
from aweigh.core.rollout import Compared
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine import shadow as engine_shadow
from aweigh.engine.model import LoadedModel
from aweigh.engine.shadow import Shadow
from aweigh.engine.statistics import BUCKETS

ROWS = {"X": np.arange(8, dtype=np.float32).reshape(2, 4)}


def shadow_of(candidate: LoadedModel, share: float = 1.0, strayed: Callable[[], None] = lambda: None) -> Shadow:
    return Shadow(signature(), candidate, share, strayed)


def observe(shadow: Shadow, inputs: Tensors = ROWS) -> None:
    shadow.observe(inputs, list(answer(inputs)), 0.001)


async def compared_all(shadow: Shadow) -> Compared:
    until = perf_counter() + 10
    while not shadow.idle:
        assert perf_counter() < until
        await asyncio.sleep(0.001)
    return shadow.found()


def otherwise(inputs: Tensors) -> Sequence[Tensor]:
    labels, scores = answer(inputs)
    return [labels, np.add(scores, np.float32(0.5))]


def broken(_: Tensors) -> Sequence[Tensor]:
    raise InternalError("it broke")


@pytest.mark.parametrize("own_threads", [False, True])
def test_differences_are_counted_wherever_the_candidate_runs(own_threads: bool) -> None:
    async def scene() -> None:
        held = HeldThreads() if own_threads else None
        shadow = shadow_of(model(otherwise, version="2", threads=held))
        observe(shadow)
        if held is not None:
            held.release()
        found = await compared_all(shadow)
        assert (found.calls, found.rows, found.max_abs, found.failed) == (1, 2, 0.5, 0)
        assert sum(found.stable_s) == sum(found.candidate_s) == 1
        assert len(found.stable_s) == BUCKETS
        shadow.close()

    asyncio.run(scene())


def test_a_call_without_a_time_is_compared_and_not_timed() -> None:
    async def scene() -> None:
        shadow = shadow_of(model(version="2"))
        shadow.observe(ROWS, list(answer(ROWS)), 0.0)
        found = await compared_all(shadow)
        assert (found.calls, sum(found.stable_s), sum(found.candidate_s)) == (1, 0, 0)
        shadow.close()

    asyncio.run(scene())


@pytest.mark.parametrize("own_threads", [False, True])
def test_nothing_is_compared_on_the_event_loop(own_threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[threading.Thread] = []

    def noted(*arguments: object) -> Compared:
        where.append(threading.current_thread())
        return Compared(calls=1)

    monkeypatch.setattr(engine_shadow, "compared", noted)

    async def scene() -> None:
        held = HeldThreads() if own_threads else None
        shadow = shadow_of(model(version="2", threads=held))
        observe(shadow)
        if held is not None:
            held.release()
        assert (await compared_all(shadow)).calls == 1
        shadow.close()

    asyncio.run(scene())
    assert where
    assert threading.main_thread() not in where


def test_what_a_candidate_fails_is_shown_with_its_inputs_and_why() -> None:
    async def scene() -> None:
        told: list[int] = []
        shadow = shadow_of(model(broken, version="2"), strayed=lambda: told.append(1))
        observe(shadow)
        found = await compared_all(shadow)
        assert (found.calls, found.failed, told) == (0, 1, [1])
        [offence] = found.offences
        assert (offence.failed, offence.candidate) == (True, {"error": "it broke"})
        assert "a=0.0" in offence.inputs
        assert "first of 2 rows" in offence.inputs
        shadow.close()

    asyncio.run(scene())


def test_answers_of_another_number_count_as_failed() -> None:
    async def scene() -> None:
        shadow = shadow_of(model(lambda inputs: list(answer(inputs))[:1], version="2"))
        observe(shadow)
        found = await compared_all(shadow)
        assert found.failed == 1
        assert "cannot be compared" in found.offences[0].candidate["error"]
        shadow.close()

    asyncio.run(scene())


def test_the_end_waits_for_no_copy_but_who_closes_the_candidate_does() -> None:
    async def scene() -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow(inputs: Tensors) -> Sequence[Tensor]:
            begun.set()
            go_on.wait(10)
            return answer(inputs)

        candidate = model(slow, version="2")
        shadow = shadow_of(candidate)
        observe(shadow)
        assert await asyncio.to_thread(begun.wait, 10)
        began = perf_counter()
        shadow.close()
        assert perf_counter() - began < 1, "the event loop answers others"
        assert candidate.statistics.in_flight == 1, "its session is not closed under the copy"
        go_on.set()
        for _ in range(1000):
            if not candidate.statistics.in_flight:
                break
            await asyncio.sleep(0.001)
        assert candidate.statistics.in_flight == 0
        assert shadow.found().calls == 0

    asyncio.run(scene())


@pytest.mark.parametrize(("refusal", "skipped", "failed"), [(Overloaded("full"), 1, 0), (Unavailable("it dies again and again"), 0, 1)])
def test_a_candidate_that_is_behind_is_skipped_and_one_that_is_down_fails(refusal: Exception, skipped: int, failed: int) -> None:
    async def scene() -> None:
        held = HeldThreads()

        def refused(*_: object) -> None:
            raise refusal

        held.submit = refused  # type: ignore[method-assign, assignment]
        shadow = shadow_of(model(version="2", threads=held))
        observe(shadow)
        assert shadow.idle
        assert (shadow.found().skipped, shadow.found().failed) == (skipped, failed)
        shadow.close()

    asyncio.run(scene())


def test_what_is_larger_than_all_that_may_be_copied_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_shadow, "_MAX_COPIED_BYTES", 16)

    async def scene() -> None:
        shadow = shadow_of(model(version="2"))
        observe(shadow)
        assert (shadow.idle, shadow.found().skipped) == (True, 1)
        shadow.close()

    asyncio.run(scene())

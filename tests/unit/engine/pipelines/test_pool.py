"""Sessions that several share: loaded once, counted apart, closed by the last."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.serving import kit

from aweigh.core.names import Digest, ModelName
from aweigh.engine.batching.joined import Work
from aweigh.engine.batching.queue import QueuePolicy
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.pool import Pool
from aweigh.engine.queue import Nobody
from aweigh.engine.statistics import ModelStatistics
from aweigh.testing import FakeSession

KEY = (Digest("sha256:" + "1" * 64), "")
NAME = ModelName("iris")


class Loads:
    """Loads a model whenever it is asked, and keeps them."""

    def __init__(self, **more: Any) -> None:
        self.made: list[LoadedModel] = []
        self._more = more

    def __call__(self) -> LoadedModel:
        made = kit.model()
        self.made.append(dataclasses.replace(made, session=FakeSession(kit.answer, **self._more)))
        return self.made[-1]

    def closed(self) -> list[int]:
        return [model.session.closed for model in self.made]  # type: ignore[attr-defined]  # all are fakes


def test_steps_and_a_plain_name_stand_on_one_session_and_count_apart() -> None:
    pool, load = Pool(), Loads()
    one, other = pool.step(KEY, load, ModelStatistics()), pool.step(KEY, load, ModelStatistics())
    plain = pool.name(KEY, NAME, "3", load, ModelStatistics())
    assert (len(load.made), one.reused, other.reused) == (1, False, True)
    assert one.model.session is other.model.session is plain.session
    assert len({id(model.statistics) for model in (one.model, other.model, plain)}) == 3
    assert len({id(model.prepared) for model in (one.model, other.model, plain)}) == 3
    assert plain.version == "3"


def test_the_last_to_close_closes_it_and_twice_is_once() -> None:
    pool, load = Pool(), Loads()
    one, other = pool.step(KEY, load, ModelStatistics()).model, pool.step(KEY, load, ModelStatistics()).model
    one.close()
    one.close()
    assert load.closed() == [0]
    other.close()
    assert load.closed() == [1]
    pool.step(KEY, load, ModelStatistics())
    assert load.closed() == [1, 0], "the next is loaded anew"


def test_a_name_that_is_loaded_again_gets_a_session_of_its_own() -> None:
    pool, load = Pool(), Loads()
    first = pool.name(KEY, NAME, "1", load, ModelStatistics())
    again = pool.name(KEY, NAME, "1", load, ModelStatistics())
    assert first.session is not again.session
    first.close()
    assert load.closed() == [1, 0]
    assert pool.step(KEY, load, ModelStatistics()).model.session is again.session


def test_what_takes_one_caller_at_a_time_is_not_shared() -> None:
    pool, load = Pool(), Loads(concurrent=False)
    assert pool.step(KEY, load, ModelStatistics()).model.session is not pool.step(KEY, load, ModelStatistics()).model.session


def test_who_waits_at_a_step_of_a_shared_pipeline_is_refused_when_the_last_that_asks_it_goes() -> None:
    async def scene() -> None:
        part = dataclasses.replace(
            kit.model(threads=kit.HeldThreads()),
            waits=QueuePolicy(lanes=1, max_requests=10),
            tuner=Tuner(limit_rows=1, call_s=0.01, row_s=0.01),
        )
        step: Any = SimpleNamespace(model=part)
        pool, load = Pool(), lambda: dataclasses.replace(kit.model(), steps=(step,))
        plain = pool.name(KEY, NAME, "1", load, ModelStatistics())
        first, second = (pool.step(KEY, load, ModelStatistics()).model for _ in range(2))
        assert first.steps[0].model is plain.steps[0].model is part
        refused: list[object] = []
        for _ in range(3):
            assert part.queue is not None
            part.queue.add(Nobody(), Work(inputs={"X": np.zeros((1, 4), np.float32)}, rows=1, done=lambda _, error: refused.append(error)))
        await asyncio.sleep(0)
        plain.refuse()
        first.refuse()
        first.close()
        assert (refused, part.ended) == ([], False)
        second.refuse()
        assert (len(refused), part.ended) == (2, True), "one of the three runs"

    asyncio.run(scene())

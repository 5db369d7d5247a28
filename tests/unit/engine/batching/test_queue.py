"""The batch queue: what waits runs together, bounded, in order of priority, in time; and what fails together fails alone."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import answer, echo, echo_signature, signature

from aweigh.core.errors import AweighError, Cancelled, ChildDied, DeadlineExceeded, InternalError, InvalidInput, Overloaded, TooLarge
from aweigh.core.objective import parse_objective
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.batching.joined import Joiner, Work
from aweigh.engine.batching.queue import BatchQueue, QueuePolicy
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import ThreadExecutor
from aweigh.engine.statistics import ModelStatistics


class Bench:
    """A queue over real threads. The function of the model waits for `gate`, unless it is open."""

    def __init__(
        self, function: Callable[[Tensors], Sequence[Tensor]] = answer, *, of: Signature | None = None, max_rows: int = 100, padded: bool = False, objective: str = "", call_s: float = 1.0, row_s: float = 0.0, **policy: Any
    ) -> None:  # fmt: skip
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[Tensors] = []
        self.statistics = ModelStatistics()
        self._function = function
        chosen = QueuePolicy(**{"lanes": 1, "max_requests": 100, **policy})
        self.executor = ThreadExecutor("m", threads=chosen.lanes, max_queue=chosen.max_requests)
        tuner = Tuner(limit_rows=max_rows, call_s=call_s, row_s=row_s, objective=parse_objective(objective) if objective else None)
        self.queue = BatchQueue("m", self._run, self.executor, self.statistics, chosen, Joiner(of or signature(), padded=padded), tuner)

    def _run(self, inputs: Tensors) -> list[Tensor]:
        assert self.gate.wait(10)
        self.calls.append(inputs)
        return list(self._function(inputs))

    def ask(self, *rows: Sequence[float], inputs: Tensors | None = None, **caller: Any) -> "asyncio.Future[list[Tensor]]":
        """The outputs of one request, once they are there."""
        future: asyncio.Future[list[Tensor]] = asyncio.get_running_loop().create_future()

        def done(outputs: list[Tensor] | None, error: AweighError | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(outputs or [])

        tensors = inputs or {"X": np.array(rows, dtype=np.float32)}
        by: Any = SimpleNamespace(**{"deadline": None, "cancelled": False, "priority": 0, "id": b"id", **caller})
        self.queue.add(by, Work(inputs=tensors, rows=len(next(iter(tensors.values()))), done=done))
        return future

    @property
    def sizes(self) -> list[int]:
        return [len(next(iter(call.values()))) for call in self.calls]


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(asyncio.wait_for(main(), 20))


def row(first: float) -> list[float]:
    return [first, 0, 0, 0]


async def failure(future: "asyncio.Future[Any]") -> AweighError:
    with pytest.raises(AweighError) as caught:
        await future
    return caught.value


def test_what_arrives_in_one_turn_runs_together_at_no_delay() -> None:
    async def scene() -> None:
        bench = Bench()
        answers = await asyncio.gather(*[bench.ask(row(at)) for at in range(5)])
        assert bench.sizes == [5]
        assert [int(labels[0]) for labels, _ in answers] == list(range(5))
        assert (bench.statistics.succeeded, bench.statistics.executions, bench.statistics.rows) == (5, 1, 5)
        assert sum(bench.statistics.queued.counts) == 5

    play(scene)


def test_while_the_lane_is_busy_requests_gather() -> None:
    async def scene() -> None:
        bench = Bench()
        bench.gate.clear()
        first = bench.ask(row(0))
        await asyncio.sleep(0)
        others = [bench.ask(row(at)) for at in range(1, 4)]
        await asyncio.sleep(0)
        assert bench.queue.waiting == 3
        bench.gate.set()
        answers = await asyncio.gather(first, *others)
        assert bench.sizes == [1, 3]
        assert [int(labels[0]) for labels, _ in answers] == [0, 1, 2, 3]

    play(scene)


def test_no_more_rows_than_the_tuner_says_and_larger_requests_by_themselves() -> None:
    async def scene() -> None:
        bench = Bench(max_rows=3)
        asked = [bench.ask(row(at)) for at in range(4)] + [bench.ask(*[row(9)] * 7)]
        answers = await asyncio.gather(*asked)
        assert bench.sizes == [3, 1, 7]
        assert [len(labels) for labels, _ in answers] == [1, 1, 1, 1, 7]

    play(scene)


def test_a_full_queue_refuses_at_once() -> None:
    async def scene() -> None:
        bench = Bench(max_requests=2)
        bench.gate.clear()
        asked = [bench.ask(row(0))]
        await asyncio.sleep(0)
        asked += [bench.ask(row(1)), bench.ask(row(2))]
        with pytest.raises(Overloaded, match="2 requests are waiting already"):
            bench.ask(row(3))
        bench.gate.set()
        await asyncio.gather(*asked)

    play(scene)


def poisoned(inputs: Tensors) -> Sequence[Tensor]:
    if (np.asarray(inputs["X"])[:, 0] == 13).any():
        raise InvalidInput("no thirteen")
    return answer(inputs)


def test_one_bad_row_of_32_fails_alone() -> None:
    async def scene() -> None:
        bench = Bench(poisoned)
        asked = [bench.ask(row(at)) for at in range(32)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [at for at, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [13]
        assert [int(outcome[0][0]) for at, outcome in enumerate(outcomes) if at != 13] == [at for at in range(32) if at != 13]  # type: ignore[index]
        assert bench.statistics.succeeded == 31
        assert sum(bench.statistics.failed.values()) == 1

    play(scene)


def test_a_row_that_costs_a_process_costs_one_more_and_fails_alone() -> None:
    def deadly(inputs: Tensors) -> Sequence[Tensor]:
        if (np.asarray(inputs["X"])[:, 0] == 13).any():
            raise ChildDied("the model's process ended")
        return answer(inputs)

    async def scene() -> None:
        bench = Bench(deadly)
        outcomes = await asyncio.gather(*[bench.ask(row(at)) for at in range(10, 20)], return_exceptions=True)
        assert [at for at, outcome in enumerate(outcomes, 10) if isinstance(outcome, Exception)] == [13]
        assert bench.sizes == [10, *[1] * 10]

    play(scene)


def test_priority_goes_first_and_the_unknown_level_is_the_middle_one() -> None:
    async def scene() -> None:
        bench = Bench(max_rows=1, priority_levels=3)
        bench.gate.clear()
        asked = [bench.ask(row(0))]
        await asyncio.sleep(0)
        asked += [bench.ask(row(at), priority=priority) for at, priority in ((3, 3), (2, 0), (1, 1), (2, 77))]
        bench.gate.set()
        await asyncio.gather(*asked)
        assert [int(call["X"][0, 0]) for call in bench.calls] == [0, 1, 2, 2, 3]

    play(scene)


def test_who_would_be_answered_too_late_is_refused_at_once() -> None:
    async def scene() -> None:
        bench = Bench(call_s=0.1, max_rows=1)
        bench.gate.clear()
        now = asyncio.get_running_loop().time()
        others = [bench.ask(row(at), deadline=now + 60) for at in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"an answer is expected after [89][0-9.]+ms, and the request has [23]"):
            bench.ask(row(9), deadline=now + 0.3)
        others.append(bench.ask(row(6), deadline=now + 5))
        bench.gate.set()
        await asyncio.gather(*others)
        assert bench.sizes == [1] * 6
        in_time = bench.ask(row(7), deadline=asyncio.get_running_loop().time() + 0.01)
        await in_time  # a lane is free: whatever calls take as a rule, it is tried

    play(scene)


def test_a_deadline_behind_a_long_call_is_rejected_on_time_and_never_run() -> None:
    async def scene() -> None:
        bench = Bench(call_s=0.001)
        bench.gate.clear()
        first = bench.ask(row(0))
        await asyncio.sleep(0)
        late = bench.ask(row(1), deadline=asyncio.get_running_loop().time() + 0.02)
        assert isinstance(await failure(late), DeadlineExceeded)
        assert not bench.gate.is_set()
        bench.gate.set()
        await first
        assert bench.sizes == [1]

    play(scene)


def test_who_has_left_is_not_run_for() -> None:
    async def scene() -> None:
        bench = Bench()
        gone = bench.ask(row(1), cancelled=True)
        there = bench.ask(row(2))
        assert isinstance(await failure(gone), Cancelled)
        await there
        assert bench.sizes == [1]

    play(scene)


def test_the_queue_timeout_rejects_or_lets_others_go_first() -> None:
    async def scene() -> None:
        for delays in (False, True):
            bench = Bench(max_rows=1, timeout_s=0.01, timeout_delays=delays)
            bench.gate.clear()
            first = bench.ask(row(0))
            await asyncio.sleep(0)
            old = bench.ask(row(1))
            await asyncio.sleep(0.05)
            young = bench.ask(row(2))
            bench.gate.set()
            if delays:
                await asyncio.gather(first, old, young)
                assert [int(call["X"][0, 0]) for call in bench.calls] == [0, 2, 1]
            else:
                assert (await failure(old)).message == "Request timeout expired"
                await asyncio.gather(first, young)

    play(scene)


def test_a_delay_waits_for_more_rows_but_not_for_longer() -> None:
    async def scene() -> None:
        bench = Bench(delay_s=0.03, max_rows=3)
        one = bench.ask(row(0))
        await asyncio.sleep(0.005)
        await asyncio.gather(one, bench.ask(row(1)))
        await asyncio.gather(*[bench.ask(row(at)) for at in range(3)])
        assert bench.sizes == [2, 3]

    play(scene)


def ragged(padding: int | None = None) -> Signature:
    ids = TensorSpec(name="X", datatype=Datatype.INT64, shape=(BATCH, "words"), padding=padding)
    return Signature(inputs=(ids,), outputs=(TensorSpec(name="Y", datatype=Datatype.INT64, shape=(BATCH, "words")),))


def test_different_shapes_do_not_run_together_unless_padding_is_proven() -> None:
    async def scene() -> None:
        lengths = (2, 5, 2, 3)
        for padded, sizes in ((False, [2, 1, 1]), (True, [4])):
            bench = Bench(echo, of=ragged(0), padded=padded)
            asked = [bench.ask(inputs={"X": np.arange(1, length + 1, dtype=np.int64)[None]}) for length in lengths]
            answers = await asyncio.gather(*asked)
            assert bench.sizes == sizes
            assert [output.tolist() for [output] in answers] == [[list(range(1, length + 1))] for length in lengths]

    play(scene)


def test_a_model_that_loses_rows_is_found_out() -> None:
    async def scene() -> None:
        bench = Bench(lambda inputs: [output[:1] for output in answer(inputs)])
        one, two = bench.ask(row(0)), bench.ask(row(1))
        assert len((await one)[0]) == 1  # alone, its one row comes back
        assert len((await two)[0]) == 1
        assert isinstance(await failure(bench.ask(row(0), row(1))), InternalError)

    play(scene)


def test_an_observer_is_told_of_a_call_and_its_time_and_not_of_each_request() -> None:
    async def scene() -> None:
        bench, told = Bench(), []
        bench.queue.observe = lambda inputs, outputs, seconds: told.append((len(inputs["X"]), [len(each) for each in outputs], seconds > 0))
        await asyncio.gather(*[bench.ask(row(number), row(number)) for number in range(4)])
        assert bench.sizes == [8]
        assert told == [(8, [8, 8], True)]
        bench.executor.close()

    play(scene)


def test_of_requests_that_were_filled_up_an_observer_sees_each_as_it_was_and_no_time() -> None:
    async def scene() -> None:
        bench, told = Bench(echo, of=ragged(padding=0), padded=True), []
        bench.queue.observe = lambda inputs, outputs, seconds: told.append((inputs["X"].tolist(), outputs[0].tolist(), seconds))
        asked = [np.full((1, size), 7, dtype=np.int64) for size in (2, 3)]
        await asyncio.gather(*[bench.ask(inputs={"X": each}) for each in asked])
        assert len(bench.calls) == 1
        assert told == [([[7, 7]], [[7, 7]], 0.0), ([[7, 7, 7]], [[7, 7, 7]], 0.0)]
        bench.executor.close()

    play(scene)


def test_closing_refuses_what_waits() -> None:
    async def scene() -> None:
        bench = Bench()
        bench.gate.clear()
        first = bench.ask(row(0))
        await asyncio.sleep(0)
        second = bench.ask(row(1))
        bench.queue.close()
        assert isinstance(await failure(second), Overloaded)
        bench.gate.set()
        await first

    play(scene)


def test_an_objective_refuses_what_would_be_too_late() -> None:
    async def scene() -> None:
        bench = Bench(objective="p99 <= 4s", max_rows=1)
        bench.gate.clear()
        asked = [bench.ask(row(0))]
        await asyncio.sleep(0)
        asked.append(bench.ask(row(1)))
        asked.append(bench.ask(row(2)))
        with pytest.raises(Overloaded, match="expected after 5s"):
            bench.ask(row(3))
        bench.gate.set()
        await asyncio.gather(*asked)

    play(scene)


def test_an_objective_refuses_what_would_be_too_late_in_the_turn_in_which_a_lane_is_free() -> None:
    async def scene() -> None:
        bench = Bench(objective="p99 <= 4s", max_rows=1)
        bench.gate.clear()
        asked = [bench.ask(row(number)) for number in range(3)]
        with pytest.raises(Overloaded, match="expected after 5s"):
            bench.ask(row(3))
        bench.gate.set()
        await asyncio.gather(*asked)

    play(scene)


def test_a_batch_takes_its_share_alone_where_small_ones_cost_no_more() -> None:
    async def scene() -> None:
        bench = Bench(max_rows=100, lanes=2, call_s=0.005, row_s=0.01)
        bench.gate.clear()
        asked = [bench.ask(row(number)) for number in range(40)]
        await asyncio.sleep(0.05)
        assert bench.queue.waiting == 40 - 10 - 10
        bench.gate.set()
        await asyncio.gather(*asked)
        assert max(bench.sizes) == 10

    play(scene)


def test_a_batch_that_no_lane_takes_is_taken_in_parts_and_only_what_alone_is_too_much_fails() -> None:
    async def scene() -> None:
        bench = Bench()
        submit = bench.executor.submit

        def narrow(run: Any, caller: Any, done: Any) -> None:
            if len(run.args[0]["X"]) > 2:
                raise TooLarge("this lane takes two rows")
            submit(run, caller, done)

        bench.executor.submit = narrow  # type: ignore[method-assign]  # a lane with a limit of its own
        asked = [bench.ask(row(number)) for number in range(5)]
        large = bench.ask(*[row(9)] * 3)
        answers = await asyncio.gather(*asked)
        assert [int(labels[0]) for labels, _ in answers] == list(range(5))
        assert isinstance(await failure(large), TooLarge)
        assert sum(bench.sizes) == 5
        assert bench.queue.waiting == 0

    play(scene)


def test_texts_run_together() -> None:
    async def scene() -> None:
        bench = Bench(echo, of=echo_signature(Datatype.BYTES))
        texts = [np.array([text], dtype=object) for text in ("a", "ä", "")]
        answers = await asyncio.gather(*[bench.ask(inputs={"X": text}) for text in texts])
        assert [output.tolist() for [output] in answers] == [["a"], ["ä"], [""]]

    play(scene)

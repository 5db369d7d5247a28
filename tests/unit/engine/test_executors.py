"""The thread executor: bounded, in order, and never starts work that nobody waits for."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aweigh.core.errors import Cancelled, DeadlineExceeded, InvalidInput, Overloaded
from aweigh.engine.executors import ThreadExecutor
from aweigh.engine.queue import Pace


def caller(*, deadline: float | None = None, cancelled: bool = False) -> Any:
    return SimpleNamespace(deadline=deadline, cancelled=cancelled, id=b"id-1")


class Gate:
    """Work that waits to be let through."""

    def __init__(self) -> None:
        self.open, self.entered, self.ran = threading.Event(), threading.Semaphore(0), 0

    def __call__(self) -> list[Any]:
        self.entered.release()
        assert self.open.wait(10)
        self.ran += 1
        return []


def using(threads: int, max_queue: int, play: Callable[[ThreadExecutor, Callable[..., asyncio.Future[Any]]], Any]) -> Any:
    """Run `play(executor, submit)` on a loop; `submit` gives a future of (outputs, error, waited)."""

    async def main() -> Any:
        executor = ThreadExecutor("m", threads=threads, max_queue=max_queue)

        def submit(run: Callable[[], list[Any]], by: Any = None) -> asyncio.Future[Any]:
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            executor.submit(run, by or caller(), lambda *result: future.set_result(result))
            return future

        try:
            return await play(executor, submit)
        finally:
            executor.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_outputs_come_back_on_the_loop_in_order() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        here = threading.get_ident()
        futures = [submit(lambda at=at: [at, threading.get_ident()]) for at in range(50)]
        results = await asyncio.gather(*futures)
        assert [outputs[0] for outputs, _, _ in results] == list(range(50))
        assert here not in {outputs[1] for outputs, _, _ in results}
        assert all(waited >= 0 for _, _, waited in results)

    using(1, 100, play)


def test_the_queue_is_bounded_and_free_threads_do_not_count_against_it() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        gate = Gate()
        running = [submit(gate) for _ in range(2)]
        for _ in running:
            await asyncio.to_thread(gate.entered.acquire)
        waiting = [submit(gate) for _ in range(3)]
        with pytest.raises(Overloaded, match="3 requests are waiting already"):
            submit(gate)
        assert executor.waiting == 3
        gate.open.set()
        await asyncio.gather(*running, *waiting)
        assert gate.ran == 5
        assert await submit(list)

    using(2, 3, play)


def test_without_a_queue_free_threads_still_take_work() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        for _ in range(3):
            assert (await submit(list))[1] is None

    using(1, 0, play)


def test_a_burst_uses_all_threads() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        await submit(list)
        gate = Gate()
        both = [submit(gate), submit(gate)]
        for _ in both:
            assert await asyncio.to_thread(gate.entered.acquire, timeout=5)
        gate.open.set()
        await asyncio.gather(*both)

    using(2, 10, play)


@pytest.mark.parametrize(("by", "error"), [(caller(deadline=0.0), DeadlineExceeded), (caller(cancelled=True), Cancelled)])
def test_work_that_nobody_waits_for_is_never_started(by: Any, error: type[Exception]) -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        gate, ran = Gate(), []
        first = submit(gate)
        await asyncio.to_thread(gate.entered.acquire)
        second = submit(lambda: ran.append(1) or [], by)
        gate.open.set()
        await first
        outputs, found, _ = await second
        assert (outputs, type(found), ran) == (None, error, [])

    using(1, 10, play)


def test_who_would_be_answered_too_late_is_refused_at_once() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        for _ in range(3):
            await submit(lambda: time.sleep(0.02) or [])
        gate = Gate()
        first = submit(gate)
        await asyncio.to_thread(gate.entered.acquire)
        with pytest.raises(Overloaded, match="an answer is expected after"):
            submit(list, caller(deadline=time.monotonic() + 0.03))
        second = submit(list, caller(deadline=time.monotonic() + 5))
        gate.open.set()
        await first
        assert (await second)[1] is None

    using(1, 10, play)


def test_errors_of_a_session_are_its_requests_and_surprises_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    def known() -> list[Any]:
        raise InvalidInput("no")

    def surprise() -> list[Any]:
        raise ValueError("secret")

    async def play(executor: ThreadExecutor, submit: Any) -> None:
        (_, first, _), (_, second, _), (outputs, third, _) = await asyncio.gather(submit(known), submit(surprise), submit(list))
        assert first.message == "no"
        assert "secret" not in second.message + second.hint
        assert "id-1" in second.hint
        assert (outputs, third) == ([], None)

    using(1, 10, play)
    assert "ValueError: secret" in caplog.text


def test_close_finishes_what_runs_refuses_what_waits_and_joins() -> None:
    async def play(executor: ThreadExecutor, submit: Any) -> None:
        gate = Gate()
        first = submit(gate)
        await asyncio.to_thread(gate.entered.acquire)
        second = submit(gate)
        closing = asyncio.create_task(asyncio.to_thread(executor.close))
        assert isinstance((await second)[1], Overloaded)
        gate.open.set()
        assert (await first)[1] is None
        await closing
        with pytest.raises(Overloaded):
            submit(gate)
        assert not any(thread.is_alive() for thread in executor._threads)
        assert gate.ran == 1

    using(1, 10, play)


def test_a_loop_that_is_gone_is_no_error() -> None:
    gate = Gate()

    async def leave() -> ThreadExecutor:
        executor = ThreadExecutor("m", threads=1, max_queue=1)
        executor.submit(gate, caller(), lambda *_: None)
        return executor

    executor = asyncio.run(leave())
    assert gate.entered.acquire(timeout=5)
    gate.open.set()
    executor.close()
    assert gate.ran == 1


def test_one_call_that_took_for_ever_says_little_of_the_next() -> None:
    pace = Pace()
    for _ in range(50):
        pace.took(0.01)
    quick = pace.expected_s(3, 1)
    pace.took(60.0)
    assert quick < pace.expected_s(3, 1) < 4 * quick
    for _ in range(50):
        pace.took(0.1)
    assert pace.mean_s == pytest.approx(0.1, rel=0.05)

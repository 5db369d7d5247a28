"""The process executor: answers come back, a child that dies fails one request and is replaced, a call that takes too long ends with its process."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.serving.trouble import GOLDEN, MAGIC, SIGNATURE, ask, trouble_package

from aweigh.core.errors import (
    AweighError,
    Cancelled,
    ChildDied,
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    Kind,
    Overloaded,
    Unavailable,
)
from aweigh.core.replay import replay
from aweigh.engine.processes import ProcessExecutor
from aweigh.isolate import Caps, Lane
from aweigh.runtimes.process import ProcessSession

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1024 * 1024


class Rig:
    """A process executor over the package that makes trouble, and futures of its answers."""

    def __init__(self, folder: Path, *, processes: int = 1, max_queue: int = 64, limit_s: float = 20.0) -> None:
        manifest = trouble_package(folder)
        caps = Caps(memory_bytes=1024 * MIB, timeout_s=30)
        self.session = ProcessSession(manifest, manifest.variants[0], lambda file: folder / file, caps=caps)
        self.proofs = 0
        self.executor = ProcessExecutor("m", self.session, self.prove, processes=processes, max_queue=max_queue, limit_s=limit_s)

    def prove(self, lane: Lane) -> None:
        self.proofs += 1
        replay(self.session.on(lane), SIGNATURE, [GOLDEN])

    def submit(
        self, trouble: str = "none", *, deadline_s: float | None = None, inputs: Any = None, caller: Any = None
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        caller = caller or SimpleNamespace(deadline=deadline, cancelled=False, id=b"id-1")

        def done(outputs: Any, error: AweighError | None, waited: float) -> None:
            assert waited >= 0
            future.set_exception(error) if error is not None else future.set_result(outputs)

        self.executor.submit(partial(self.session.run, inputs or ask(trouble)), caller, done)
        return future

    async def answer(self, trouble: str = "none", **more: Any) -> Any:
        return await asyncio.wait_for(self.submit(trouble, **more), 20)

    async def until(self, holds: Callable[[], bool], timeout_s: float = 10) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.01)

    @property
    def pids(self) -> list[int]:
        return self.executor.facts().pids


def end_now(pid: int) -> None:
    """Kill a child and wait until it is dead, before the loop can notice."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


Play = Callable[[Rig], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    def run(body: Play, **options: Any) -> None:
        rig = Rig(tmp_path, **options)
        try:
            asyncio.run(asyncio.wait_for(body(rig), 60))
        finally:
            rig.executor.close()
            rig.session.close()

    return run


def test_answers_come_back_in_order_and_queue_behind_one_another(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        order: list[int] = []
        futures = [rig.submit() for _ in range(30)]
        for at, future in enumerate(futures):
            future.add_done_callback(lambda _, at=at: order.append(at))
        for outputs in await asyncio.gather(*futures):
            np.testing.assert_array_equal(outputs[0], np.zeros((1, 2), dtype=np.float32))
        await asyncio.sleep(0)
        assert order == list(range(30))
        facts = rig.executor.facts()
        assert (facts.restarts, facts.ready, facts.waiting, len(facts.pids)) == (0, True, 0, 1)

    play(body)


def test_large_and_odd_tensors_cross_and_shared_memory_grows(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        for rows in (1, 100_000, 3, 1_000_000, 2):
            outputs = await rig.answer(inputs=ask(rows=rows))
            assert outputs[0].shape == (rows, 2)
        with pytest.raises(InvalidInput, match="tensor 'X'"):
            rig.submit(inputs={"X": np.array([object()])})
        assert (await rig.answer())[0].shape == (1, 2)

    play(body)


def test_inputs_are_not_changed_by_what_the_child_does_with_them(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        inputs = ask()
        inputs["X"].flags.writeable = False
        await rig.answer(inputs=inputs)
        assert inputs["X"][0, 0] == MAGIC

    play(body)


@pytest.mark.parametrize(
    ("trouble", "text"), [("segfault", "SIGSEGV"), ("exit", "exit code 0"), ("orphan", "exit code 1"), ("memory", "1024 MiB")]
)
def test_a_child_that_dies_fails_its_request_alone_and_is_replaced(play: Callable[..., None], trouble: str, text: str) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        pid = rig.pids[0]
        first, behind = rig.submit(trouble), rig.submit()
        started = time.monotonic()
        with pytest.raises(ChildDied, match=text) as caught:
            await asyncio.wait_for(first, 20)
        assert time.monotonic() - started < (5 if trouble == "memory" else 1)
        assert caught.value.kind is Kind.UNAVAILABLE
        assert (await asyncio.wait_for(behind, 20))[0].shape == (1, 2), "it was never started, so another child may"
        facts = rig.executor.facts()
        assert facts.pids != [pid]
        assert (facts.restarts, rig.proofs, facts.last_death) == (1, 1, caught.value.message)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    play(body)


@pytest.mark.parametrize("trouble", ["sys.exit", "base", "recursion", "value", "one-allocation"])
def test_what_the_model_raises_is_its_requests_error(play: Callable[..., None], trouble: str) -> None:
    async def body(rig: Rig) -> None:
        kinds = {"value": Kind.INVALID, "one-allocation": Kind.UNAVAILABLE}
        with pytest.raises(AweighError) as caught:
            await rig.answer(trouble)
        assert caught.value.kind is kinds.get(trouble, Kind.INTERNAL)
        assert (await rig.answer())[0].shape == (1, 2)

    play(body)


@pytest.mark.parametrize("trouble", ["loop", "close", "babble"])
def test_a_call_beyond_the_limit_is_killed_with_its_process(play: Callable[..., None], trouble: str) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        pid = rig.pids[0]
        started = time.monotonic()
        first, behind = rig.submit(trouble), rig.submit()
        with pytest.raises((DeadlineExceeded, ChildDied, InternalError, InvalidInput)) as caught:
            await asyncio.wait_for(first, 20)
        if trouble == "loop":
            assert isinstance(caught.value, DeadlineExceeded)
            assert 0.5 <= time.monotonic() - started < 1.5
        await asyncio.wait_for(behind, 20)
        assert rig.pids != [pid]

    play(body, limit_s=0.5)


def test_a_callers_deadline_ends_its_wait_and_not_the_process(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        pids = rig.pids
        started = time.monotonic()
        slow, waiting = rig.submit("slow", deadline_s=0.1), rig.submit(deadline_s=0.1)
        for future in (slow, waiting):
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(future, 20)
        assert time.monotonic() - started < 0.25
        await rig.answer()
        assert rig.pids == pids

    play(body)


def test_who_has_left_is_never_started_and_the_queue_is_bounded(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        gone = SimpleNamespace(deadline=None, cancelled=False, id=b"")
        running, waiting = rig.submit("slow"), rig.submit("exit", caller=gone)
        with pytest.raises(Overloaded, match="1 requests are waiting"):
            rig.submit()
        gone.cancelled = True
        with pytest.raises(Cancelled):
            await waiting
        await running
        assert rig.executor.facts().restarts == 0

    play(body, max_queue=1)


def test_a_model_that_keeps_dying_is_not_ready_until_a_proven_child_lives(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        for _ in range(4):
            with pytest.raises((ChildDied, Unavailable)):
                await rig.answer("exit")
            await rig.until(lambda: bool(rig.executor._seats))
        with pytest.raises(ChildDied):
            await rig.answer("exit")
        assert not rig.executor.ready
        started = time.monotonic()
        with pytest.raises(Unavailable, match="died 5 times in a row"):
            rig.submit()
        assert time.monotonic() - started < 0.1
        await rig.until(lambda: rig.executor.ready)
        await rig.answer()
        assert rig.proofs == rig.executor.facts().restarts == 5

    play(body)


def test_a_child_that_is_killed_while_idle_fails_no_request(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        pid = rig.pids[0]
        end_now(pid)
        await rig.answer()
        assert pid not in rig.pids

    play(body)


def test_beside_a_dead_child_an_idle_one_is_asked_at_once(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        await rig.until(lambda: len(rig.executor._idle) == 2)
        release = threading.Event()
        start = rig.session.start
        rig.session.start = lambda: start() if release.wait(10) else None  # type: ignore[method-assign, assignment, return-value]  # no successor yet
        end_now(rig.executor._idle[-1].lane.pid)
        assert (await asyncio.wait_for(rig.submit(), 5))[0].shape == (1, 2)
        assert rig.executor.waiting == 0
        release.set()

    play(body, processes=2)


def test_what_a_dead_child_never_took_is_asked_of_an_idle_one_at_once(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        await rig.until(lambda: len(rig.executor._idle) == 2)
        release = threading.Event()
        start = rig.session.start
        rig.session.start = lambda: start() if release.wait(10) else None  # type: ignore[method-assign, assignment, return-value]  # no successor yet
        pid = rig.executor._idle[-1].lane.pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        waiting = rig.submit()
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, 5))[0].shape == (1, 2)
        release.set()

    play(body, processes=2)


def test_what_a_child_never_took_is_asked_of_another(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        pid = rig.pids[0]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        waiting = rig.submit()
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, 20))[0].shape == (1, 2)
        assert pid not in rig.pids

    play(body)


def test_a_stopped_child_is_found_by_the_limit(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        os.kill(rig.pids[0], signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await rig.answer()
        await rig.answer()

    play(body, limit_s=0.5)


def test_several_processes_answer_at_once(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        await rig.until(lambda: len(rig.pids) == 3)
        started = time.monotonic()
        await asyncio.gather(*(rig.submit("slow") for _ in range(3)))
        assert time.monotonic() - started < 0.8
        quick = rig.submit()
        loop = rig.submit("segfault")
        await quick
        with pytest.raises(ChildDied):
            await loop
        await rig.answer()

    play(body, processes=3)


def test_the_first_child_answers_without_a_loop_and_moves_to_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        assert rig.session.run(ask(rows=2))[0].shape == (2, 2)
        pid = rig.session.pid
        assert rig.pids == [pid]

        async def body() -> None:
            await rig.answer()
            assert rig.pids == [pid]

        asyncio.run(body())
        asyncio.run(body())
    finally:
        rig.executor.close()
        rig.session.close()


def test_close_refuses_what_waits_and_leaves_nothing(tmp_path: Path) -> None:
    def left() -> tuple[int, int, list[str]]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children

    Rig(tmp_path).session.close()  # the launcher's thread stays
    before = left()
    rig = Rig(tmp_path)
    scratch = Path(rig.session._scratch)

    async def body() -> None:
        await rig.answer("scratch")
        assert (scratch / "left").exists()
        with pytest.raises(ChildDied):
            await rig.answer("segfault")
        await rig.answer(inputs=ask(rows=500_000))
        running, waiting = rig.submit("slow"), rig.submit()
        await asyncio.get_running_loop().run_in_executor(None, rig.executor.close)
        for future in (running, waiting):
            with pytest.raises(Overloaded):
                await future
        with pytest.raises(Overloaded):
            rig.submit()

    asyncio.run(body())
    rig.session.close()
    assert left() == before
    assert not scratch.exists()


def test_a_machine_without_files_or_memory_to_start_a_child_is_tried_again(play: Callable[..., None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.answer()
        start, failures = rig.session.start, [OSError("too many open files"), OSError("again")]

        def starved() -> Lane:
            if failures:
                raise failures.pop()
            return start()

        rig.session.start = starved  # type: ignore[method-assign]  # a machine that has no more to give
        with pytest.raises(ChildDied):
            await rig.answer("exit")
        await rig.until(lambda: not failures and bool(rig.executor._seats))
        await rig.answer()

    play(body)


def test_memory_of_large_tensors_is_given_back_when_it_rests(play: Callable[..., None]) -> None:
    def shared() -> int:
        """Bytes of shared memory that this process has touched."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssShmem:"):
                return int(line.split()[1]) * 1024
        raise AssertionError

    async def body(rig: Rig) -> None:
        await rig.answer()
        before = shared()
        await rig.answer(inputs=ask(rows=2_000_000))
        assert shared() - before > 16 * MIB
        await rig.until(lambda: shared() - before < MIB)
        assert (await rig.answer(inputs=ask(rows=2_000_000)))[0].shape == (2_000_000, 2)

    play(body)

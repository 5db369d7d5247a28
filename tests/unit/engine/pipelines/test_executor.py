"""Requests on their way through the steps of a pipeline: together, side by side, failing by name, and never left waiting."""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
import pytest
from tests.serving import kit

from aweigh.core.errors import AweighError, Cancelled, DeadlineExceeded, InternalError, InvalidInput, Kind, Overloaded
from aweigh.core.names import Digest
from aweigh.core.package import Part
from aweigh.core.pipeline import Combine, Condition, Feed, Graph, Operator, Output, Step
from aweigh.core.pipeline_checks import trace
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.executor import PipelineExecutor
from aweigh.engine.pipelines.plan import Member, PipelineSession, Plan
from aweigh.engine.statistics import ModelStatistics

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 1)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 1)),),
)
PART = Part(name="part", version=1, digest=Digest("sha256:" + "0" * 64))


@dataclasses.dataclass
class Caller:
    deadline: float | None = None
    cancelled: bool = False
    priority: int = 0
    id: bytes = b"request-1"


def step(name: str, source: str, **more: Any) -> Step:
    return Step(name=name, inputs=(Feed(tensor="x", source=source),), part=PART, **more)


def plus(amount: float) -> Callable[[Tensors], list[Tensor]]:
    return lambda inputs: [inputs["x"] + np.float32(amount)]


def fails(_: Tensors) -> list[Tensor]:
    raise InvalidInput("it is the wrong day", hint="come again")


def loaded(name: str, function: Callable[[Tensors], Any], statistics: ModelStatistics, **more: Any) -> LoadedModel:
    return dataclasses.replace(kit.model(function, of=SIGNATURE, name=name, **more), statistics=statistics)


def made(steps: tuple[Step, ...], functions: Mapping[str, Any], *, out: str, **more: Any) -> Plan:
    graph = Graph(format_version=1, steps=steps, outputs=(Output(name="y", source=out),))
    flows = trace(graph, SIGNATURE.inputs, lambda _: SIGNATURE)
    counts = {each.name: ModelStatistics() for each in steps}
    members = {}
    for name, function in functions.items():
        model = loaded(name, function, counts[name], **{key: value[name] for key, value in more.items() if name in value})
        members[name] = Member(run=model.run, gives=("y",), model=model)
    return Plan("pipe", graph, SIGNATURE, flows, members, counts)


class Asked:
    """One request to a pipeline and what became of it."""

    def __init__(self, executor: PipelineExecutor, value: float | list[float], caller: Caller | None = None) -> None:
        self.outputs: list[Tensor] | None = None
        self.error: AweighError | None = None
        self.times = 0
        self.caller = caller or Caller()
        x = np.array(value, dtype=np.float32).reshape(-1, 1)
        executor.submit(partial(lambda inputs: [], {"x": x}), self.caller, self._done)

    def _done(self, outputs: list[Tensor] | None, error: AweighError | None, _: float) -> None:
        self.outputs, self.error, self.times = outputs, error, self.times + 1

    @property
    def values(self) -> list[float]:
        assert self.error is None
        assert self.outputs is not None
        return self.outputs[0].ravel().tolist()


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


CHAIN = (step("a", "request.x"), step("b", "a.y"))
FAN = (
    step("left", "request.x"),
    step("right", "request.x"),
    Step(name="both", inputs=(Feed(source="left.y"), Feed(source="right.y")), combine=Combine.MEAN),
)


@on_a_loop
async def test_requests_of_one_turn_run_together_at_every_step() -> None:
    plan = made(CHAIN, {"a": plus(1), "b": plus(10)}, out="b.y", turn_rows={"a": 8, "b": 8})
    executor = PipelineExecutor(plan, max_flights=8)
    asked = [Asked(executor, value) for value in (1.0, 2.0, 3.0)]
    await turns()
    assert [each.values for each in asked] == [[12.0], [13.0], [14.0]]
    assert [(node.statistics.executions, node.statistics.rows) for node in plan.nodes] == [(1, 3), (1, 3)]
    assert executor.waiting == 0


@on_a_loop
async def test_steps_of_a_fan_out_wait_side_by_side() -> None:
    held = {"left": kit.HeldThreads(), "right": kit.HeldThreads()}
    plan = made(FAN, {"left": plus(1), "right": plus(3)}, out="both.output", threads=held)
    asked = Asked(PipelineExecutor(plan, max_flights=8), 0.0)
    assert [len(threads.held) for threads in held.values()] == [1, 1]
    held["right"].release()
    assert asked.times == 0
    held["left"].release()
    assert asked.values == [2.0]


@on_a_loop
async def test_a_step_that_fails_is_named_with_its_own_kind_and_the_other_is_not_waited_for() -> None:
    held = {"left": kit.HeldThreads()}
    plan = made(FAN, {"left": plus(1), "right": fails}, out="both.output", threads=held, turn_rows={"right": 4})
    asked = Asked(PipelineExecutor(plan, max_flights=8), 0.0)
    await turns()
    assert isinstance(asked.error, InvalidInput)
    assert asked.error.message == "step 'right' of pipeline 'pipe': it is the wrong day"
    assert asked.error.hint == "come again"
    assert held["left"].held[0][1].cancelled, "the other branch sees that nobody waits for it"
    held["left"].release()
    assert asked.times == 1


@on_a_loop
async def test_of_a_turn_only_the_request_that_is_to_blame_fails() -> None:
    def picky(inputs: Tensors) -> list[Tensor]:
        if (np.asarray(inputs["x"]) < 0).any():
            raise InvalidInput("it is negative")
        return [inputs["x"]]

    plan = made(CHAIN, {"a": picky, "b": plus(1)}, out="b.y", turn_rows={"a": 8, "b": 8})
    executor = PipelineExecutor(plan, max_flights=8)
    good, bad = Asked(executor, 1.0), Asked(executor, -1.0)
    await turns()
    assert good.values == [2.0]
    assert bad.error is not None
    assert bad.error.message == "step 'a' of pipeline 'pipe': it is negative"


@on_a_loop
async def test_a_deadline_that_passes_between_steps_ends_it() -> None:
    held = {"a": kit.HeldThreads()}
    plan = made(CHAIN, {"a": plus(1), "b": plus(1)}, out="b.y", threads=held)
    caller = Caller(deadline=monotonic() + 60)
    asked = Asked(PipelineExecutor(plan, max_flights=8), 0.0, caller)
    for flight in list(held["a"].held):
        flight[1].deadline = monotonic() - 1
    held["a"].release()
    assert isinstance(asked.error, DeadlineExceeded)
    assert "step 'b'" in asked.error.message
    assert plan.nodes[1].statistics.executions == 0


@on_a_loop
async def test_a_client_that_leaves_between_steps_costs_no_more_steps() -> None:
    held = {"a": kit.HeldThreads()}
    plan = made(CHAIN, {"a": plus(1), "b": plus(1)}, out="b.y", threads=held)
    asked = Asked(PipelineExecutor(plan, max_flights=8), 0.0)
    asked.caller.cancelled = True
    held["a"].release()
    assert isinstance(asked.error, Cancelled)
    assert plan.nodes[1].statistics.executions == 0


class Full(kit.HeldThreads):
    def submit(self, run: Any, caller: Any, done: Any) -> None:
        raise Overloaded("model 'part': 256 requests are waiting already")


@on_a_loop
async def test_a_full_queue_of_a_step_is_told_and_leaves_nothing_behind() -> None:
    for first in (True, False):
        held = {"b": Full()} if not first else {"a": Full()}
        plan = made(CHAIN, {"a": plus(1), "b": plus(1)}, out="b.y", threads=held, turn_rows={} if first else {"a": 4})
        executor = PipelineExecutor(plan, max_flights=8)
        asked = Asked(executor, 0.0)
        assert asked.times == 0, "never before submit has returned"
        await turns()
        assert isinstance(asked.error, Overloaded)
        assert asked.error.message == f"step '{'a' if first else 'b'}' of pipeline 'pipe': model 'part': 256 requests are waiting already"
        assert (asked.times, executor.waiting) == (1, 0)


@on_a_loop
async def test_more_flights_than_the_queues_hold_are_refused_at_once() -> None:
    plan = made(CHAIN, {"a": plus(1), "b": plus(1)}, out="b.y", threads={"a": kit.HeldThreads()})
    executor = PipelineExecutor(plan, max_flights=1)
    Asked(executor, 0.0)
    with pytest.raises(Overloaded, match="on their way already"):
        Asked(executor, 0.0)


@on_a_loop
async def test_what_is_on_its_way_is_refused_when_the_pipeline_goes() -> None:
    held = {"a": kit.HeldThreads()}
    plan = made(CHAIN, {"a": plus(1), "b": plus(1)}, out="b.y", threads=held)
    executor = PipelineExecutor(plan, max_flights=8)
    asked = Asked(executor, 0.0)
    executor.refuse()
    assert isinstance(asked.error, Overloaded)
    held["a"].release()
    assert asked.times == 1


BRANCHED = (
    step("a", "request.x"),
    step("high", "a.y", when=Condition(source="a.y", operator=Operator.GREATER, values=(5,))),
    step("more", "high.y"),
    step("low", "a.y", otherwise=("high",)),
    Step(name="joined", inputs=(Feed(source="more.y"), Feed(source="low.y")), combine=Combine.JOIN),
)
BRANCHES = {"a": plus(0), "high": plus(100), "more": plus(1000), "low": plus(-1)}


@on_a_loop
async def test_rows_go_by_their_branch_and_come_back_in_order() -> None:
    plan = made(BRANCHED, BRANCHES, out="joined.output", turn_rows=dict.fromkeys(BRANCHES, 16))
    executor = PipelineExecutor(plan, max_flights=8)
    mixed, low = Asked(executor, [9.0, 1.0, 7.0]), Asked(executor, [2.0])
    await turns(12)
    assert mixed.values == [1109.0, 0.0, 1107.0]
    assert low.values == [1.0]
    rows = {node.name: node.statistics.rows for node in plan.nodes}
    assert rows == {"a": 4, "high": 2, "more": 2, "low": 2, "joined": 4}


@on_a_loop
async def test_the_same_in_one_call_gives_the_same_and_asks_nothing_of_a_branch_without_rows() -> None:
    plan = made(BRANCHED, BRANCHES, out="joined.output")
    session = PipelineSession(plan, lambda: None, concurrent=True, isolated=False)
    x = np.array([[9.0], [1.0], [7.0]], dtype=np.float32)
    assert session.run({"x": x})[0].ravel().tolist() == [1109.0, 0.0, 1107.0]
    assert session.run({"x": x[1:2]})[0].ravel().tolist() == [0.0]
    assert session.run({"x": x[:0]})[0].shape == (0, 1)
    assert {node.name: node.statistics.executions for node in plan.nodes} == {"a": 3, "high": 2, "more": 2, "low": 3, "joined": 3}


def test_tensors_are_passed_as_they_are() -> None:
    seen: list[Tensor] = []

    def keeps(inputs: Tensors) -> list[Tensor]:
        seen.append(inputs["x"])
        return [inputs["x"]]

    plan = made(CHAIN, {"a": keeps, "b": keeps}, out="b.y")
    x = np.zeros((2, 1), dtype=np.float32)
    assert plan.run({"x": x})[0] is x
    assert all(each is x for each in seen)


def breaks(_: Tensors) -> list[Tensor]:
    raise ValueError("operands could not be broadcast together")


def broken(plan: Plan, name: str) -> Plan:
    """The same plan, a combining step of which fails with what nobody expected."""
    plan.nodes = [dataclasses.replace(node, run=breaks) if node.name == name else node for node in plan.nodes]
    return plan


@on_a_loop
async def test_a_combining_step_that_fails_unexpectedly_is_told_and_gives_its_place_back() -> None:
    held = {"left": kit.HeldThreads()}
    plan = broken(made(FAN, {"left": plus(1), "right": plus(3)}, out="both.output", threads=held), "both")
    executor = PipelineExecutor(plan, max_flights=1)
    for times in (1, 2):
        asked = Asked(executor, 0.0)
        held["left"].release()
        assert isinstance(asked.error, InternalError)
        assert asked.error.message == "step 'both' of pipeline 'pipe': what it was given could not be combined"
        assert (asked.times, executor.waiting) == (1, 0)
        assert plan.nodes[2].statistics.failed == {Kind.INTERNAL: times}


@on_a_loop
async def test_a_combining_step_that_fails_while_it_is_submitted_is_told_as_well() -> None:
    plan = broken(made(FAN, {"left": plus(1), "right": plus(3)}, out="both.output"), "both")
    executor = PipelineExecutor(plan, max_flights=1)
    asked = Asked(executor, 0.0)
    assert asked.times == 0, "never before submit has returned"
    await turns()
    assert (type(asked.error), asked.times, executor.waiting) == (InternalError, 1, 0)
    with pytest.raises(InternalError, match="step 'both'"):
        plan.run({"x": np.zeros((1, 1), dtype=np.float32)})


@on_a_loop
async def test_of_a_batch_others_are_answered_when_one_flight_breaks() -> None:
    def picky(inputs: Tensors) -> list[Tensor]:
        if inputs["0"][0, 0] < 0:
            raise ValueError("nobody expected this")
        return [inputs["0"]]

    plan = made(FAN, {"left": plus(0), "right": plus(0)}, out="both.output", turn_rows={"left": 8, "right": 8})
    plan.nodes = [dataclasses.replace(node, run=picky) if node.name == "both" else node for node in plan.nodes]
    executor = PipelineExecutor(plan, max_flights=8)
    bad, good = Asked(executor, -1.0), Asked(executor, 1.0)
    await turns()
    assert isinstance(bad.error, InternalError)
    assert (good.values, executor.waiting) == ([1.0], 0)


@on_a_loop
async def test_a_step_that_gives_too_few_tensors_ends_its_flight() -> None:
    held = {"a": kit.HeldThreads()}
    plan = made(CHAIN, {"a": lambda _: [], "b": plus(1)}, out="b.y", threads=held)
    executor = PipelineExecutor(plan, max_flights=8)
    asked = Asked(executor, 0.0)
    held["a"].release()
    assert isinstance(asked.error, InternalError)
    assert asked.error.message == "step 'a' of pipeline 'pipe': it failed"
    assert (asked.times, executor.waiting) == (1, 0)


def test_tensors_of_different_shapes_are_not_stretched() -> None:
    plan = made(FAN, {"left": lambda inputs: [np.zeros((2, 3), np.float32)], "right": plus(1)}, out="both.output")
    with pytest.raises(InternalError, match=r"step 'both' of pipeline 'pipe': tensors of different shapes .* \[2, 3\], \[2, 1\]"):
        plan.run({"x": np.zeros((2, 1), dtype=np.float32)})

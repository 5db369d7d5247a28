"""Runs pipelines whose steps wait: each step is handed to its own queue, thread, process or turn as soon as its inputs are there.

An `Executor` like any other, so that a pipeline is a model like any other. Lives on the event loop; must never wait, and tells every request
its answer or its error exactly once, whatever becomes of the steps.
"""

import asyncio
import dataclasses
import logging
from functools import partial
from time import monotonic, perf_counter
from typing import Final

from aweigh.core.errors import AweighError, Kind, Overloaded
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.joined import Turns, Work
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.plan import Flow, Node, Plan
from aweigh.engine.queue import Call, Caller, Done, refusal

_LOG: Final = logging.getLogger("aweigh.pipeline")
_TURN: Final = "turn"


class PipelineExecutor:
    """At most `max_flights` requests are on their way through the steps; more raise Overloaded at once."""

    def __init__(self, plan: Plan, *, max_flights: int) -> None:
        self._plan = plan
        self._max_flights = max_flights
        self._flights: set[Flight] = set()
        self._models = [node.model for node in plan.nodes if node.model is not None]
        self._closed = False

    @property
    def lanes(self) -> int:
        """Calls that may run at the same time, of the step that has the most."""
        return max((model.threads.lanes for model in self._models if model.threads is not None), default=1)

    @property
    def waiting(self) -> int:
        """Requests on their way through the steps."""
        return len(self._flights)

    @property
    def ready(self) -> bool:
        return not self._closed and all(model.ready for model in self._models)

    def submit(self, run: Call, caller: Caller, done: Done) -> None:
        """Send a call's inputs through the steps. Raises Overloaded."""
        if self._closed:
            raise Overloaded(f"model '{self._plan.name}' is being unloaded", hint="try again")
        if len(self._flights) >= self._max_flights:
            raise Overloaded(
                f"model '{self._plan.name}': {len(self._flights)} requests are on their way already",
                hint="try again later; max_queue sets the limit",
            )
        flight = Flight(self._plan, run.args[0], caller, done, self._flights)
        self._flights.add(flight)
        flight.start()

    def refuse(self) -> None:
        """Refuse what is still on its way. On the event loop."""
        self._closed = True
        for flight in list(self._flights):
            flight.end(None, Overloaded(f"model '{self._plan.name}' was unloaded", hint="try again"))

    def close(self) -> None:
        """Take no more; the steps belong to the session, which closes them."""
        self._closed = True


@dataclasses.dataclass(slots=True, eq=False)
class Flight:
    """One request on its way. It is the caller of its steps: they see it leave when one of them has failed."""

    plan: Plan
    inputs: Tensors
    caller: Caller
    done: Done
    others: "set[Flight]"
    flow: Flow = dataclasses.field(init=False)
    waits: list[int] = dataclasses.field(init=False)
    left: int = dataclasses.field(init=False)
    over: bool = False
    starting: bool = True
    deadline: float | None = None
    priority: int = 0
    id: bytes = b""

    def __post_init__(self) -> None:
        self.flow = Flow(self.plan, self.inputs)
        self.waits = [len(node.needed) for node in self.plan.nodes]
        self.left = len(self.plan.nodes)
        self.deadline, self.priority, self.id = self.caller.deadline, self.caller.priority, self.caller.id

    @property
    def cancelled(self) -> bool:
        return self.over or self.caller.cancelled

    def start(self) -> None:
        """Begin with the steps that need nothing but the request."""
        self._advance([at for at, count in enumerate(self.waits) if not count])
        self.starting = False

    def end(self, outputs: list[Tensor] | None, error: AweighError | None) -> None:
        """Tell whoever asked, once; never before `submit` has returned."""
        if self.over:
            return
        self.over = True
        self.others.discard(self)
        if self.starting:
            asyncio.get_running_loop().call_soon(self.done, outputs, error, 0.0)
        else:
            self.done(outputs, error, 0.0)

    def _advance(self, ready: list[int]) -> None:
        """Start what can be started, and what that makes ready, until everything waits or is done."""
        plan = self.plan
        while ready and not self.over:
            node = plan.nodes[ready.pop(0)]  # in order: the first is what a refusal names
            try:
                if self._start(node):
                    self._finish(node, ready)
            except AweighError as error:
                self.end(None, error)
            except Exception:  # noqa: BLE001  # the request's boundary: nobody may wait for ever, nor keep a place among the flights
                self._break(node)

    def _break(self, node: Node) -> None:
        """The end by an exception that nobody expected, while it is handled."""
        node.statistics.failure(Kind.INTERNAL)
        self.end(None, self.plan.broken(node, "it failed"))

    def _finish(self, node: Node, ready: list[int]) -> None:
        self.left -= 1
        if not self.left:
            self.end([self.flow.values[source] for source in self.plan.outputs], None)
            return
        for at in self.plan.followers[node.at]:
            self.waits[at] -= 1
            if not self.waits[at]:
                ready.append(at)

    def _start(self, node: Node) -> bool:
        """Hand a node what it takes; whether it is done already. Raises AweighError that names the step."""
        flow, plan = self.flow, self.plan
        if node.branch and flow.rows and not flow.rows_of(node):
            return True  # what has no rows is not asked
        if node.step.combine is not None:
            plan.combine(node, flow)
            return True
        unwanted = refusal(self, monotonic())
        if unwanted is not None:
            node.statistics.failure(unwanted.kind)
            raise plan.named(unwanted, node)
        rows, feeds, model = flow.rows_of(node), flow.feeds(node), node.model
        if model is None or (rows <= model.inline_rows and not model.turn_rows):
            flow.keep(node, plan.counted(node, feeds, rows))
            return True
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("step", extra={"request_id": self.id.decode(), "pipeline": plan.name, "step": node.name, "rows": rows})
        try:
            self._hand(node, model, feeds, rows)
        except AweighError as error:
            node.statistics.failure(error.kind)
            raise plan.named(error, node) from error
        node.statistics.in_flight += 1
        return False

    def _hand(self, node: Node, model: LoadedModel, feeds: dict[str, Tensor], rows: int) -> None:
        """To the turn, the queue or the threads of the step's model. Raises Overloaded, Unavailable."""
        if rows <= model.inline_rows:
            turns: Turns | None = model.prepared.get(_TURN)
            if turns is None:
                turns = model.prepared[_TURN] = Turns(model, partial(_alone, self.plan, node))
            turns.add(self, Work(inputs=feeds, rows=rows, done=partial(self._arrived, node)))
        elif model.queue is not None:
            model.queue.add(self, Work(inputs=feeds, rows=rows, done=partial(self._arrived, node)))
        elif model.threads is not None:
            model.threads.submit(partial(model.run, feeds), self, partial(self._ran, node, perf_counter(), rows))

    def _ran(self, node: Node, started: float, rows: int, outputs: list[Tensor] | None, error: AweighError | None, waited: float) -> None:
        """From an executor without a queue in front: it is counted here."""
        statistics = node.statistics
        statistics.queued.observe(waited)
        if error is None:
            statistics.last = ended = perf_counter()
            statistics.success(ended - started, rows, waited)
        else:
            statistics.failure(error.kind, perf_counter() - started)
        self._arrived(node, outputs, error)

    def _arrived(self, node: Node, outputs: list[Tensor] | None, error: AweighError | None) -> None:
        node.statistics.in_flight -= 1
        if self.over:
            return
        if outputs is None:
            self.end(None, self.plan.named(error or Overloaded("it gave no answer"), node))
            return
        ready: list[int] = []
        try:
            self.flow.keep(node, outputs)
            self._finish(node, ready)
        except Exception:  # noqa: BLE001  # as above; and others of the same batch are answered after this
            self._break(node)
        self._advance(ready)


def _alone(plan: Plan, node: Node, feeds: Tensors, rows: int) -> list[Tensor]:
    """One request's part of a turn that failed together. The error is named when it arrives: here it is the session's own."""
    try:
        return plan.counted(node, feeds, rows)
    except AweighError as error:
        raise error.__cause__ if isinstance(error.__cause__, AweighError) else error from None

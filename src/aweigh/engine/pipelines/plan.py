"""A pipeline made ready to run: its steps as nodes in order, and `Flow`, the tensors of one call on their way through them.

Tensors are passed as the arrays they are; only a branch, which has some of the rows, gets a copy of these. On the request path.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from aweigh.core.errors import AweighError, InternalError, Kind
from aweigh.core.pipeline import REQUEST, Combine, Graph, Step, needs, step_of
from aweigh.core.pipeline_checks import Flows
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.pipelines.combine import combination, holds, join_rows
from aweigh.engine.queue import Caller
from aweigh.engine.statistics import ModelStatistics

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel

_LOG: Final = logging.getLogger("aweigh.pipeline")
Run = Callable[[Tensors], list[Tensor]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What runs a model's or function's step: its call, the names of what it gives, in order, and the loaded model where it is served."""

    run: Run
    gives: tuple[str, ...]
    model: "LoadedModel | None" = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One step, ready. `takes` are (tensor, source, whether the branch's rows are cut out of it)."""

    step: Step
    at: int
    run: Run
    model: "LoadedModel | None"
    statistics: ModelStatistics
    takes: tuple[tuple[str, str, bool], ...]
    gives: tuple[str, ...]
    branch: str
    needed: frozenset[int]
    """The nodes that must be done before it can start."""

    @property
    def name(self) -> str:
        return self.step.name


class Flow:
    """The tensors of one call: by source, and the rows of each branch."""

    __slots__ = ("_branches", "_indices", "rows", "values")

    def __init__(self, plan: "Plan", inputs: Tensors) -> None:
        self.values = {source: inputs[name] for name, source in plan.inputs}
        self.rows = len(inputs[plan.inputs[0][0]])
        self._branches = plan.branches
        self._indices: dict[str, Tensor | None] = {}

    def index(self, branch: str) -> Tensor | None:
        """The positions of a branch's rows, in order; None where it has every row."""
        if branch not in self._indices:
            mask = self._mask(self._branches[branch])
            index = np.flatnonzero(mask)
            self._indices[branch] = None if len(index) == self.rows else index
        return self._indices[branch]

    def _mask(self, step: Step) -> Tensor:
        if step.when is not None:
            return holds(step.when, self.values[step.when.source])
        taken = np.zeros(self.rows, dtype=np.bool_)
        for other in step.otherwise:
            index = self.index(other)
            taken[slice(None) if index is None else index] = True
        return ~taken

    def rows_of(self, node: Node) -> int:
        """How many rows come to a node."""
        if not node.branch:
            return self.rows
        index = self.index(node.branch)
        return self.rows if index is None else len(index)

    def feeds(self, node: Node) -> dict[str, Tensor]:
        """What a node is given: whole tensors as they are, and its branch's rows of them."""
        values = self.values
        if not node.branch:
            return {tensor: values[source] for tensor, source, _ in node.takes}
        index = self.index(node.branch)
        if index is None:
            return {tensor: values[source] for tensor, source, _ in node.takes}
        return {tensor: values[source][index] if cut else values[source] for tensor, source, cut in node.takes}

    def keep(self, node: Node, outputs: Sequence[Tensor]) -> None:
        """What a node gave."""
        for source, output in zip(node.gives, outputs, strict=True):
            self.values[source] = output

    def combined(self, node: Node, plan: "Plan") -> Tensor:
        """What a combining step gives."""
        if node.step.combine is not Combine.JOIN:
            return node.run(self.feeds(node))[0]
        parts = []
        for _, source, _ in node.takes:
            branch = plan.branch_of(source)
            tensor = self.values.get(source)
            if tensor is not None:
                parts.append((tensor, self.index(branch) if branch else None))
        return join_rows(self.rows, parts)


class Plan:
    """The nodes of a pipeline in an order in which each has what it needs."""

    def __init__(
        self, name: str, graph: Graph, signature: Signature, flows: Flows, members: Mapping[str, Member], counts: Mapping[str, ModelStatistics]
    ) -> None:  # fmt: skip
        """`counts` are the statistics of the steps by name; a step without some is counted for nobody."""
        self.name = name
        self.graph = graph
        self.callers = ""
        """Request ids of those that are answered together now, as far as the log wants to know."""
        self.inputs = [(spec.name, f"{REQUEST}.{spec.name}") for spec in signature.inputs]
        self.outputs = [output.source for output in graph.outputs]
        self.branches = {step.name: step for step in graph.steps if step.opens_branch}
        self._flows = flows
        self._counts = counts
        places = {step.name: at for at, step in enumerate(graph.steps)}
        steps = {step.name: step for step in graph.steps}
        self.nodes = [self._node(step, at, places, steps, members.get(step.name)) for at, step in enumerate(graph.steps)]
        self.followers = [[node.at for node in self.nodes if at in node.needed] for at in range(len(self.nodes))]
        """By node: those that wait for it."""

    def uncounted(self) -> list[Run]:
        """The calls of its nodes, for `run`: those of pipelines within it without their counts too."""
        return [node.run if node.model is None else uncounted(node.model.session) for node in self.nodes]

    def branch_of(self, source: str) -> str:
        return self._flows.tensors[source].branch

    def _node(self, step: Step, at: int, places: Mapping[str, int], steps: dict[str, Step], member: Member | None) -> Node:
        member = member or Member(run=_combined(step), gives=("output",))
        branch = self._flows.branches[step.name]
        return Node(
            step=step,
            at=at,
            run=member.run,
            model=member.model,
            statistics=self._counts.get(step.name) or ModelStatistics(),
            takes=tuple(
                (feed.tensor or str(number), feed.source, bool(branch) and not self.branch_of(feed.source))
                for number, feed in enumerate(step.inputs)
            ),
            gives=tuple(f"{step.name}.{output}" for output in member.gives),
            branch=branch,
            needed=frozenset(places[step_of(source)] for source in needs(step, steps) if step_of(source) != REQUEST),
        )

    def run(self, inputs: Tensors, runs: Sequence[Run] | None = None) -> list[Tensor]:
        """Every step, one after the other, here; each is counted. `runs` are asked in the place of the nodes', uncounted."""
        flow = Flow(self, inputs)
        self.advance(flow, self.nodes, runs)
        return [flow.values[source] for source in self.outputs]

    def advance(self, flow: Flow, nodes: Sequence[Node], runs: Sequence[Run] | None = None) -> None:
        """Run these nodes, one after the other, here."""
        told = runs is None and _LOG.isEnabledFor(logging.DEBUG)
        for node in nodes:
            if told:
                _tell(self, node, flow)
            if node.branch and flow.rows and not flow.rows_of(node):
                continue  # what has no rows is not asked
            if node.step.combine is not None:
                self.combine(node, flow, counted=runs is None)
            elif runs is None:
                flow.keep(node, self.counted(node, flow.feeds(node), flow.rows_of(node)))
            else:
                try:
                    flow.keep(node, runs[node.at](flow.feeds(node)))
                except AweighError as error:
                    raise self.named(error, node) from error

    def counted(self, node: Node, feeds: Tensors, rows: int) -> list[Tensor]:
        """Run a node here and count it. Raises AweighError that names the step."""
        started = perf_counter()
        statistics = node.statistics
        try:
            outputs = node.run(feeds)
        except AweighError as error:
            statistics.failure(error.kind, perf_counter() - started)
            raise self.named(error, node) from error
        except Exception as error:
            statistics.failure(Kind.INTERNAL, perf_counter() - started)
            raise self.broken(node, "its session failed") from error
        statistics.last = ended = perf_counter()
        statistics.success(ended - started, rows)
        return outputs

    def combine(self, node: Node, flow: Flow, *, counted: bool = True) -> None:
        """Run a combining step here, and count it. Raises AweighError that names the step."""
        started = perf_counter()
        try:
            output = flow.combined(node, self)
        except AweighError as error:
            if counted:
                node.statistics.failure(error.kind, perf_counter() - started)
            raise self.named(error, node) from error
        except Exception as error:
            if counted:
                node.statistics.failure(Kind.INTERNAL, perf_counter() - started)
            raise self.broken(node, "what it was given could not be combined") from error
        flow.keep(node, (output,))
        if not counted:
            return
        node.statistics.last = ended = perf_counter()
        node.statistics.success(ended - started, len(output))

    def broken(self, node: Node, what: str) -> AweighError:
        """For an exception that nobody expected of a node, while it is handled: it is logged, and what is told names the step."""
        _LOG.exception("a step failed", extra={"pipeline": self.name, "step": node.name})
        return self.named(InternalError(what, hint="the server's log has more"), node)

    def named(self, error: AweighError, node: Node) -> AweighError:
        """The same error, which says whose it is."""
        return error.saying(f"step '{node.name}' of pipeline '{self.name}': {error.message}", pipeline=self.name, step=node.name)


def _combined(step: Step) -> Run:
    if step.combine is None or step.combine is Combine.JOIN:
        return _never
    combine = combination(step)
    return lambda feeds: [combine(list(feeds.values()))]


def _never(_: Tensors) -> list[Tensor]:
    raise InternalError("a step without anything that runs it")


def _tell(plan: Plan, node: Node, flow: Flow) -> None:
    """Whose rows come to a step, for who reads the log."""
    rows = flow.rows_of(node)
    _LOG.debug("step", extra={"request_id": plan.callers, "pipeline": plan.name, "step": node.name, "rows": rows})


def note_callers(model: "LoadedModel", callers: Iterable[Caller]) -> None:
    """Say whose requests a pipeline is asked with next, where the log wants to know."""
    if _LOG.isEnabledFor(logging.DEBUG) and isinstance(model.session, PipelineSession):
        model.session.plan.callers = " ".join(caller.id.decode() for caller in callers)


class PipelineSession:
    """A pipeline as a session: every step in this thread, one after the other. `close` is what lets go of its members."""

    def __init__(self, plan: Plan, close: Callable[[], None], *, concurrent: bool, isolated: bool) -> None:
        self.plan = plan
        self.run: Callable[[Tensors], list[Tensor]] = plan.run
        self.concurrent = concurrent
        self.isolated = isolated
        self._close = close

    def close(self) -> None:
        self._close()


def uncounted(session: Session) -> Run:
    """A session's call, which is counted for nobody."""
    if not isinstance(session, PipelineSession):
        return session.run
    plan = session.plan
    return partial(plan.run, runs=plan.uncounted())

"""Loading a pipeline: each step as a loaded model of its own, out of the pool, then the whole, which replays its golden set as any model does.

Called by `lifecycle`. Must not be called on a serving event loop.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import perf_counter

from aweigh.core.errors import InternalError
from aweigh.core.evidence import Evidence
from aweigh.core.golden import read_golden
from aweigh.core.package import Variant
from aweigh.core.pipeline import Graph, Step, read_graph
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.replay import replay
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.policy import BatchPolicy, choose_batching
from aweigh.engine.model import LoadedModel, LoadReport
from aweigh.engine.pipelines.executor import PipelineExecutor
from aweigh.engine.pipelines.open import check_depth, check_graph, gives_of, members_of, naming
from aweigh.engine.pipelines.plan import Member, PipelineSession, Plan, Run
from aweigh.engine.pipelines.pool import Lease, Pool
from aweigh.engine.placement import Cost, Place, choose_executor, measure
from aweigh.engine.response_cache import why_not_cached
from aweigh.engine.statistics import ModelStatistics
from aweigh.isolate import Lane
from aweigh.runtimes.process import ProcessSession


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Where the models of steps come from; `count` gives statistics by a name and a version."""

    settings: Settings
    pool: Pool
    count: Callable[[str, str], ModelStatistics]


def load_pipeline(handle: PackageHandle, variant: Variant, loading: Loading, load: Callable[[PackageHandle], LoadedModel]) -> LoadedModel:
    """A pipeline that may answer; `load` loads a step's package. Raises what loading a part raises, naming the step, GoldenMismatch."""
    check_depth(handle)
    started = perf_counter()
    graph = read_graph(handle)
    handles = members_of(handle, graph)
    flows = check_graph(handle, graph, handles)
    name, version = handle.reference.name, str(handle.reference.version or 1)
    counts = {step.name: loading.count(f"{name}#{step.name}", version) for step in graph.steps}
    with contextlib.ExitStack() as stack:
        leases: dict[str, Lease] = {}
        for step in graph.steps:
            if step.name in handles:
                with naming(handle, step):
                    leases[step.name] = _lease(handles[step.name], step, loading.pool, partial(load, handles[step.name]), counts[step.name])
                stack.callback(leases[step.name].model.close)
        members = {name: Member(run=lease.model.run, gives=gives_of(handles[name]), model=lease.model) for name, lease in leases.items()}
        plan = Plan(name, graph, handle.manifest.signature, flows, members, counts)
        loaded = perf_counter()
        golden = read_golden(handle.manifest, handle.path)
        with _proving(plan, leases) as proving:
            replay(proving, handle.manifest.signature, golden)
            replayed = perf_counter()
            cost = measure(proving, handle.manifest.signature, golden, loading.settings)
        place, batching = _place(plan, cost, handle.manifest.signature, variant.evidence, loading.settings)
        report = LoadReport(
            load_ms=(loaded - started) * 1000,
            replay_ms=(replayed - loaded) * 1000,
            golden_cases=len(golden),
            call_us=cost.call_us,
            inline_rows=place.inline_rows,
            executor=place.executor,
            why=place.why,
            batch_rows=batching.max_rows,
            batching=batching.why,
            weights="those of its steps",
            uncached=why_not_cached(runs_code=_runs_code(graph), evidence=variant.evidence),
            memory_bytes=sum(lease.model.report.memory_bytes for lease in leases.values() if not lease.reused),
            loaded_at=started,
        )
        session = PipelineSession(plan, stack.pop_all().close, concurrent=True, isolated=False)
    settings = loading.settings
    return LoadedModel(
        name=handle.reference.name,
        version=version,
        digest=handle.digest,
        signature=handle.manifest.signature,
        variant=variant,
        session=session,
        threads=PipelineExecutor(plan, max_flights=_flights(plan, settings)),
        report=report,
        inline_rows=place.inline_rows,
        turn_rows=max(0, min(batching.max_rows, place.inline_rows)),
        cacheable=not report.uncached,
        steps=tuple(plan.nodes),
        answers=tuple((output.name, output.source) for output in graph.outputs),
    )


def _place(plan: Plan, cost: Cost, signature: Signature, evidence: Evidence | None, settings: Settings) -> tuple[Place, BatchPolicy]:
    """On the event loop as one call where every step runs there, rows may run together, and all of them are cheap enough; else step by step."""
    batching = choose_batching(signature, evidence, settings)
    rows = min((node.model.inline_rows for node in plan.nodes if node.model is not None), default=settings.max_rows)
    if rows < 1:
        apart = [node for node in plan.nodes if node.model is not None and node.model.inline_rows < 1]
        named = ", ".join(f"'{node.name}' ({node.model.report.executor})" for node in apart if node.model is not None)
        return Place(executor="steps", inline_rows=-1, why=f"each step where it runs itself: not on the event loop are {named}"), batching
    if not batching.allowed:
        return Place(executor="steps", inline_rows=-1, why=f"each step by itself: {batching.why}"), batching
    place = choose_executor(_Cheap(), cost, settings)
    if place.inline_rows < 1:
        why = f"each step by itself: one call of all takes {cost.call_us:.0f} us, more than inline_limit_us = {settings.inline_limit_us}"
        return Place(executor="steps", inline_rows=-1, why=why), batching
    return dataclasses.replace(place, inline_rows=min(rows, place.inline_rows), why=f"every step is inline; {place.why}"), batching


def _flights(plan: Plan, settings: Settings) -> int:
    """Requests on their way: as many as the queues of its steps hold between them."""
    lanes = [node.model.threads.lanes if node.model.threads is not None else 1 for node in plan.nodes if node.model is not None]
    return max(settings.max_queue, sum(settings.max_queue + count for count in lanes))


class _Cheap:
    """What a pipeline's steps are together, for the choice of where it runs: each may be asked by anyone, none waits for a process."""

    concurrent = True
    isolated = False

    def run(self, inputs: Tensors) -> list[Tensor]:
        raise InternalError("this session answers nothing")

    def close(self) -> None:
        """Nothing is held."""


def _lease(handle: PackageHandle, step: Step, pool: Pool, load: Callable[[], LoadedModel], statistics: ModelStatistics) -> Lease:
    return pool.step((handle.digest, f"#{step.name}" if step.function is not None else ""), load, statistics)


def _runs_code(graph: Graph) -> bool:
    return any(step.function is not None for step in graph.steps)


class _Proving:
    """A pipeline as whoever proves it asks it: uncounted, and without touching processes that answer others meanwhile."""

    concurrent = False
    isolated = False

    def __init__(self, plan: Plan, runs: list[Run]) -> None:
        self.run: Run = partial(plan.run, runs=runs)

    def close(self) -> None:
        """The steps belong to the plan."""


@contextlib.contextmanager
def _proving(plan: Plan, leases: Mapping[str, Lease]) -> Iterator[Session]:
    runs = plan.uncounted()
    lanes: list[Lane] = []
    try:
        for node in plan.nodes:
            lease = leases.get(node.name)
            if lease is not None and lease.reused and isinstance(lease.model.session, ProcessSession):
                lanes.append(lane := lease.model.session.start())
                runs[node.at] = lease.model.session.on(lane).run
        yield _Proving(plan, runs)
    finally:
        for lane in lanes:
            lane.close()

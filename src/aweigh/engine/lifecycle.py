"""Loading: choose a variant, load its session, replay the golden set on this machine, warm up, measure, choose where it runs.

A model that fails any of these never reaches the data plane. Called by `app` at start; must not be called on a serving event loop.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final, Literal

from aweigh.core.errors import MissingLibrary, NotFound, ProofFailed, Unsupported
from aweigh.core.golden import GoldenAnswers, read_golden
from aweigh.core.objective import parse_objective
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import check_libraries
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.replay import replay
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.engine.batching.policy import choose_batching
from aweigh.engine.batching.queue import QueuePolicy
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import Executor, ThreadExecutor
from aweigh.engine.lanes import Lanes, better_lanes, first_lanes, is_open, lane_rows, throughput
from aweigh.engine.model import PRIVATE, LoadedModel, LoadReport
from aweigh.engine.placement import Cost, Place, choose_executor, measure, needs_process, rows_of
from aweigh.engine.processes import ProcessExecutor
from aweigh.engine.response_cache import why_not_cached
from aweigh.engine.statistics import ModelStatistics
from aweigh.isolate import Caps, Lane
from aweigh.runtimes.hooks import load_variant
from aweigh.runtimes.mapped import Mapped, map_weights
from aweigh.runtimes.process import ProcessSession, runs_code

Purpose = Literal["online", "batch"]
Count = Callable[[str, str], ModelStatistics]
"""Gives the statistics of a version by its name and number."""
_MAX_TWICE_BYTES: Final = 1024**3
"""Larger models are not loaded twice to find out how to share the cores."""
_FIGURES: Final[dict[Purpose, str]] = {"online": "latency_us_b1", "batch": "latency_us_b1000"}


def _count_alone(_name: str, _version: str) -> ModelStatistics:
    return ModelStatistics()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    session: Session
    variant: Variant
    load_ms: float
    replay_ms: float
    cost: Cost
    weights: str


def load_model(
    handle: PackageHandle, settings: Settings, *, variant: str = "", purpose: Purpose = "online", count: Count = _count_alone
) -> LoadedModel:
    """Load one package until it may answer. Raises GoldenMismatch, ProofFailed, NotFound (no such variant) or what the runtime raises."""
    chosen = choose_variant(handle.manifest, variant, purpose=purpose)
    golden = read_golden(handle.manifest, handle.path)
    batching = choose_batching(handle.manifest.signature, chosen.evidence, settings)
    loaded, place, lanes = _settle(handle, chosen, golden, settings, batching.max_rows)
    calls = _calls(loaded.session, lanes, settings)
    uncached = why_not_cached(runs_code=runs_code(handle.manifest, chosen), evidence=chosen.evidence)
    report = LoadReport(
        load_ms=loaded.load_ms,
        replay_ms=loaded.replay_ms,
        golden_cases=len(golden),
        call_us=loaded.cost.call_us,
        inline_rows=place.inline_rows,
        executor=place.executor,
        why=f"{place.why}; {lanes.text}" if place.inline_rows < 0 and lanes.why else place.why,
        batch_rows=batching.max_rows,
        batching=batching.why,
        weights=loaded.weights,
        uncached=uncached,
    )
    return LoadedModel(
        name=handle.reference.name,
        version=str(handle.reference.version or 1),
        digest=handle.digest,
        signature=handle.manifest.signature,
        variant=chosen,
        session=loaded.session,
        threads=_beside(handle, loaded.session, golden, settings, calls) if place.inline_rows < settings.max_rows else None,
        report=report,
        statistics=count(handle.reference.name, str(handle.reference.version or 1)),
        inline_rows=place.inline_rows,
        turn_rows=max(0, min(batching.max_rows, place.inline_rows)),
        waits=queue_policy(calls, settings) if batching.allowed else None,
        tuner=make_tuner(batching.max_rows, loaded.cost, settings) if batching.allowed else None,
        padded=batching.padded,
        cacheable=not uncached,
    )


def _settle(
    handle: PackageHandle, variant: Variant, golden: list[GoldenAnswers], settings: Settings, max_rows: int
) -> tuple[_Loaded, Place, Lanes]:
    """The session that will answer, where its calls run, and how many of them at once."""
    load, lanes = partial(_load, handle, variant, golden, settings), first_lanes(settings)
    place = needs_process(handle.manifest, variant, settings)
    loaded = load(threads=lanes.threads, apart=place is not None)
    if place is not None:
        return loaded, place, lanes
    place = choose_executor(loaded.session, loaded.cost, settings)
    if place.executor == "process":  # as measured: the session that was loaded here gives way to one that is not
        loaded.session.close()
        return load(threads=lanes.threads, apart=True), place, lanes
    undecided = place.inline_rows < 0 and is_open(settings) and loaded.session.concurrent
    if undecided and golden and _size(handle, variant) <= _MAX_TWICE_BYTES:
        loaded, lanes = _share_out(partial(load, apart=False), loaded, lanes, golden[0].inputs, max_rows)
    return loaded, place, lanes


def choose_variant(manifest: PackageManifest, name: str = "", *, purpose: Purpose = "online") -> Variant:
    """The named variant, or the quickest of those whose evidence passed: for single rows ("online") or for many at once ("batch").

    Variants without the figure come after those that have it; among equals the first. What cannot run here for want of a library is passed
    over. Raises NotFound, MissingLibrary that names the extra when nothing else is left, ProofFailed when none is proven.
    """
    if name:
        found = manifest.variant(name)
        if found is None:
            known = ", ".join(variant.name for variant in manifest.variants)
            raise NotFound(f"there is no variant '{name}'", hint=f"this package has: {known}")
        return found
    proven = [
        variant for variant in manifest.variants if variant.evidence is not None and variant.evidence.passed and not _missing(variant)
    ]
    if not proven:
        _explain_missing(manifest)
        raise ProofFailed(
            "no variant of this package has evidence that it answers as its source", hint="'aweigh verify' proves it on this machine"
        )
    figure = _FIGURES[purpose]
    return min(proven, key=lambda variant: variant.evidence.figures.get(figure, math.inf) if variant.evidence else math.inf)


def _missing(variant: Variant) -> MissingLibrary | None:
    """Why a variant cannot run here, if it is for want of a library. Looks without importing any."""
    try:
        check_libraries("runtime", variant.runtime)
    except MissingLibrary as error:
        return error
    except Unsupported:  # a runtime of that name is not known: loading says so
        pass
    return None


def _explain_missing(manifest: PackageManifest) -> None:
    """Raise MissingLibrary when a library is all that is missing for some variant."""
    found = {variant.name: error for variant in manifest.variants if (error := _missing(variant)) is not None}
    if found:
        reasons = "; ".join(f"variant '{name}': {error.message}" for name, error in found.items())
        hints = " or ".join(dict.fromkeys(error.hint for error in found.values()))
        raise MissingLibrary(f"no proven variant of this package can run here: {reasons}", hint=hints)


def queue_policy(calls: int, settings: Settings) -> QueuePolicy:
    """How requests wait that do not run on the event loop."""
    return QueuePolicy(
        lanes=calls,
        max_requests=settings.max_queue,
        delay_s=settings.max_batch_delay_ms / 1000,
        timeout_s=settings.queue_timeout_ms / 1000,
        timeout_delays=settings.queue_timeout_action == "delay",
        priority_levels=settings.priority_levels,
    )


def make_tuner(max_rows: int, cost: Cost, settings: Settings) -> Tuner:
    """What chooses the rows of a batch, starting from the measured cost."""
    objective = parse_objective(settings.objective) if settings.objective else None
    call_s, row_s = max(0.0, cost.call_us - cost.row_us) / 1e6, cost.row_us / 1e6
    return Tuner(limit_rows=max_rows, call_s=call_s, row_s=row_s, objective=objective)


def _calls(session: Session, lanes: Lanes, settings: Settings) -> int:
    """Calls that run at the same time."""
    if isinstance(session, ProcessSession):
        return settings.processes
    return lanes.calls if session.concurrent else 1


def _size(handle: PackageHandle, variant: Variant) -> int:
    return sum(file.size_bytes for file in handle.manifest.files if file.path in variant.files)


def _share_out(
    load: Callable[..., _Loaded], apart: _Loaded, lanes: Lanes, inputs: dict[str, Tensor], max_rows: int
) -> tuple[_Loaded, Lanes]:
    """Whether a call per core or one call on all cores answers more: the session that does, and how it is to be asked."""
    cores = lanes.calls
    rows = rows_of(inputs, lane_rows(apart.cost, max_rows)) if max_rows > 1 else inputs
    together = load(threads=cores)
    try:
        better = better_lanes(throughput(apart.session, rows, calls=cores), throughput(together.session, rows, calls=1), cores)
    except BaseException:
        apart.session.close()
        together.session.close()
        raise
    kept, other = (together, apart) if better.calls == 1 else (apart, together)
    other.session.close()
    return kept, better


def _beside(handle: PackageHandle, session: Session, golden: list[GoldenAnswers], settings: Settings, calls: int) -> Executor:
    """What runs the session off the event loop."""
    name = handle.reference.name
    if not isinstance(session, ProcessSession):
        return ThreadExecutor(name, threads=calls, max_queue=settings.max_queue)

    def prove(lane: Lane) -> None:
        replay(session.on(lane), handle.manifest.signature, golden)

    return ProcessExecutor(
        name, session, prove, processes=settings.processes, max_queue=settings.max_queue, limit_s=settings.request_timeout_s
    )


def _load(
    handle: PackageHandle, variant: Variant, golden: list[GoldenAnswers], settings: Settings, *, threads: int, apart: bool
) -> _Loaded:
    """A session that has answered the golden set, in a process of its own or here, and what it costs."""
    started = perf_counter()
    session: Session
    mapped = _mapped(handle, variant, settings, threads, several=settings.workers > 1 or (apart and settings.processes > 1))
    if apart:
        caps = Caps(memory_bytes=settings.child_memory_bytes, timeout_s=settings.child_timeout_s, threads=threads)
        session = ProcessSession(
            handle.manifest, mapped.variant, mapped.path, session_threads=threads, caps=caps, name=handle.reference.name
        )
    else:
        session = load_variant(handle.manifest, mapped.variant, mapped.path, session_threads=threads)
    loaded = perf_counter()
    try:
        replay(session, handle.manifest.signature, golden)
        replayed = perf_counter()
        cost = measure(session, handle.manifest.signature, golden, settings)
    except BaseException:
        session.close()
        raise
    load_ms, replay_ms = (loaded - started) * 1000, (replayed - loaded) * 1000
    return _Loaded(session=session, variant=variant, load_ms=load_ms, replay_ms=replay_ms, cost=cost, weights=mapped.note)


def _mapped(handle: PackageHandle, variant: Variant, settings: Settings, threads: int, *, several: bool) -> Mapped:
    """The variant as several processes share it, where they are `several` and it is large enough."""
    alone = Mapped(variant=variant, path=handle.path, note=PRIVATE)
    if not several or not settings.share_weights_bytes or variant.runtime != "onnxruntime":
        return alone
    size = _size(handle, variant)
    if size < settings.share_weights_bytes:
        return dataclasses.replace(alone, note=f"private to each process: {size} bytes are less than share_weights_bytes")
    golden = handle.manifest.golden[0].file if handle.manifest.golden else ""
    return map_weights(
        variant,
        handle.manifest.session_signature,
        handle.path,
        cache=settings.home_folder / "cache" / "weights",
        inputs=handle.path(golden) if golden else None,
        session_threads=threads,
        caps=Caps(
            memory_bytes=max(settings.child_memory_bytes, 5 * size + 1024**3),
            timeout_s=settings.child_timeout_s,
            threads=threads,
        ),
    )

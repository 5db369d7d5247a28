"""Loading: choose a variant, load its session, replay the golden set on this machine, warm up, measure, choose where it runs.

A model that fails any of these never reaches the data plane. Called by `app` at start; must not be called on a serving event loop.
"""

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

from aweigh.core.errors import GoldenMismatch, Unsupported
from aweigh.core.golden import Held, held_to
from aweigh.core.objective import parse_objective
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.replay import replay
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.engine.batching.policy import choose_batching
from aweigh.engine.batching.queue import QueuePolicy
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import Executor, ThreadExecutor
from aweigh.engine.lanes import Lanes, better_lanes, crowded_cost, first_lanes, in_turn, is_open, lane_rows
from aweigh.engine.measured import Measured, elsewhere, measured_here
from aweigh.engine.model import PRIVATE, LoadedModel, LoadReport
from aweigh.engine.pipelines.load import Loading, load_pipeline
from aweigh.engine.pipelines.open import is_pipeline
from aweigh.engine.pipelines.pool import Pool
from aweigh.engine.placement import Cost, Place, choose_executor, measure, needs_process, rows_of
from aweigh.engine.processes import ProcessExecutor
from aweigh.engine.response_cache import why_not_cached
from aweigh.engine.statistics import ModelStatistics
from aweigh.engine.variants import Purpose, environments_of, in_order, variants_in_order, why_chosen
from aweigh.isolate import Caps, Lane
from aweigh.runtimes.homes import process_home
from aweigh.runtimes.hooks import load_variant
from aweigh.runtimes.mapped import Mapped, map_weights
from aweigh.runtimes.process import ProcessSession, runs_code

Count = Callable[[str, str], ModelStatistics]
"""Gives the statistics of a version by its name and number."""
_LOG: Final = logging.getLogger("aweigh.engine")
_MAX_TWICE_BYTES: Final = 1024**3
"""Larger models are not loaded twice to find out how to share the cores."""


def count_alone(_name: str, _version: str) -> ModelStatistics:
    """Statistics that no other process adds to."""
    return ModelStatistics()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    session: Session
    variant: Variant
    load_ms: float
    replay_ms: float
    cost: Cost
    weights: str
    crowded: Cost | None = None
    """The cost while every lane is busy, where that was measured."""


def load_model(
    handle: PackageHandle,
    settings: Settings,
    *,
    variant: str = "",
    purpose: Purpose = "online",
    count: Count = count_alone,
    pool: Pool | None = None,
) -> LoadedModel:
    """Load one package until it may answer. Raises GoldenMismatch, ProofFailed, NotFound (no such variant) or what the runtime raises.

    With a `pool` it shares its session with the steps of pipelines that are of the same digest; the parts of a pipeline share in any case.
    """
    name, version, pool = handle.reference.name, str(handle.reference.version or 1), pool or Pool()
    load = partial(_load_package, handle, settings, variant, purpose, Loading(settings=settings, pool=pool, count=count))
    return pool.name((handle.digest, variant), name, version, load, count(name, version))


def _load_package(handle: PackageHandle, settings: Settings, variant: str, purpose: Purpose, loading: Loading) -> LoadedModel:
    """A model that stands on nothing else; the pool lends it out. A variant of which it turns out that it cannot run here gives way to the next that is proven."""
    candidates = variants_in_order(handle.manifest, variant, purpose=purpose, environments=environments_of(settings))
    here: Measured | None = None
    if elsewhere(candidates):
        here = measured_here(handle.digest, candidates, settings, partial(_timed, handle, settings))
        candidates = in_order(candidates, purpose, here)
    passed_over: list[str] = []
    for chosen in candidates[:-1]:
        try:
            why = why_chosen(handle.manifest, chosen, variant, purpose=purpose, passed_over="; ".join(passed_over), here=here)
            return _load_variant(handle, settings, chosen, why, purpose, loading)
        except (Unsupported, GoldenMismatch) as error:
            what = "cannot run here" if isinstance(error, Unsupported) else "answers otherwise on this machine than it was proven to"
            passed_over.append(f"'{chosen.name}' {what}: {error.message}")
            _LOG.warning(
                "a variant gave way to the next", extra={"model": str(handle.reference), "variant": chosen.name, "why": passed_over[-1]}
            )
    why = why_chosen(handle.manifest, candidates[-1], variant, purpose=purpose, passed_over="; ".join(passed_over), here=here)
    return _load_variant(handle, settings, candidates[-1], why, purpose, loading)


def _timed(handle: PackageHandle, settings: Settings, variant: Variant) -> dict[str, float]:
    """What a variant takes on this machine, loaded for that alone, after it answered its golden set; many rows as what each further row adds."""
    held, apart = held_to(handle.manifest, variant, handle.path), needs_process(handle.manifest, variant, settings) is not None
    loaded = _load(handle, variant, held, settings, threads=first_lanes(settings).threads, apart=apart)
    loaded.session.close()
    one_us = loaded.cost.call_us
    return {"latency_us_b1": one_us, "latency_us_b1000": one_us + 999 * loaded.cost.row_us}


def _load_variant(
    handle: PackageHandle, settings: Settings, chosen: Variant, chosen_why: str, purpose: Purpose, loading: Loading
) -> LoadedModel:
    if is_pipeline(chosen):
        return load_pipeline(
            handle, chosen, loading, partial(_load_package, settings=settings, variant="", purpose=purpose, loading=loading)
        )
    held = held_to(handle.manifest, chosen, handle.path)
    batching = choose_batching(handle.manifest.signature, chosen.evidence, settings)
    loaded, place, lanes = _settle(handle, chosen, held, settings, batching.max_rows)
    calls = _calls(loaded.session, lanes, settings)
    uncached = why_not_cached(runs_code=runs_code(handle.manifest, chosen), evidence=chosen.evidence)
    report = LoadReport(
        load_ms=loaded.load_ms,
        replay_ms=loaded.replay_ms,
        golden_cases=len(held.golden),
        call_us=loaded.cost.call_us,
        inline_rows=place.inline_rows,
        executor=place.executor,
        why=f"{place.why}; {lanes.text}" if place.inline_rows < 0 and lanes.why else place.why,
        batch_rows=batching.max_rows,
        batching=batching.why,
        weights=loaded.weights,
        uncached=uncached,
        variant_why=chosen_why,
    )
    return LoadedModel(
        name=handle.reference.name,
        version=str(handle.reference.version or 1),
        digest=handle.digest,
        signature=handle.manifest.signature,
        variant=chosen,
        session=loaded.session,
        threads=_beside(handle, loaded.session, held, settings, calls) if place.inline_rows < settings.max_rows else None,
        report=report,
        inline_rows=place.inline_rows,
        turn_rows=max(0, min(batching.max_rows, place.inline_rows)),
        waits=queue_policy(calls, settings) if batching.allowed else None,
        tuner=make_tuner(batching.max_rows, loaded.crowded or loaded.cost, settings) if batching.allowed else None,
        padded=batching.padded,
        cacheable=not uncached,
    )


def _settle(handle: PackageHandle, variant: Variant, held: Held, settings: Settings, max_rows: int) -> tuple[_Loaded, Place, Lanes]:
    """The session that will answer, where its calls run, and how many of them at once."""
    load, lanes = partial(_load, handle, variant, held, settings), first_lanes(settings)
    place = needs_process(handle.manifest, variant, settings)
    loaded = load(threads=lanes.threads, apart=place is not None)
    if place is not None:
        return loaded, place, lanes
    place = choose_executor(loaded.session, loaded.cost, settings, uneven=variant.step is not None and variant.step.uneven)
    if place.executor == "process":  # as measured: the session that was loaded here gives way to one that is not
        loaded.session.close()
        return load(threads=lanes.threads, apart=True), place, lanes
    undecided = place.inline_rows < 0 and is_open(settings) and loaded.session.concurrent
    if undecided and held.golden and _size(handle, variant) <= _MAX_TWICE_BYTES:
        loaded, lanes = _share_out(partial(load, apart=False), loaded, lanes, held.golden[0].inputs, max_rows)
    return loaded, place, lanes


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
        better = better_lanes(*in_turn(apart.session, together.session, (rows, rows), (cores, 1)), cores)
    except BaseException:
        apart.session.close()
        together.session.close()
        raise
    kept, other = (together, apart) if better.calls == 1 else (apart, together)
    other.session.close()
    count = lane_rows(apart.cost, max_rows)
    if count > 1:
        kept = dataclasses.replace(kept, crowded=crowded_cost(kept.session, inputs, better, count))
    return kept, better


def _beside(handle: PackageHandle, session: Session, held: Held, settings: Settings, calls: int) -> Executor:
    """What runs the session off the event loop."""
    name = handle.reference.name
    if not isinstance(session, ProcessSession):
        return ThreadExecutor(name, threads=calls, max_queue=settings.max_queue)

    def prove(lane: Lane) -> None:
        replay(session.on(lane), held.signature, held.golden)

    return ProcessExecutor(
        name, session, prove, processes=settings.processes, max_queue=settings.max_queue, limit_s=settings.request_timeout_s
    )


def _load(handle: PackageHandle, variant: Variant, held: Held, settings: Settings, *, threads: int, apart: bool) -> _Loaded:
    """A session that has answered the golden set, in a process of its own or here, and what it costs."""
    started = perf_counter()
    session: Session
    mapped = _mapped(handle, variant, settings, threads, several=settings.workers > 1 or (apart and settings.processes > 1))
    if apart:
        caps = Caps(memory_bytes=settings.child_memory_bytes, timeout_s=settings.child_timeout_s, threads=threads)
        home = process_home(handle.manifest, variant, environments_of(settings))
        session = ProcessSession(handle.manifest, mapped.variant, mapped.path, caps=caps, name=handle.reference.name, home=home)
    else:
        session = load_variant(handle.manifest, mapped.variant, mapped.path, session_threads=threads)
    loaded = perf_counter()
    try:
        replay(session, held.signature, held.golden)
        replayed = perf_counter()
        cost = measure(session, held.signature, held.golden, settings)
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

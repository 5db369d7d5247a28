"""Loading: choose a variant, load its session, replay the golden set on this machine, warm up, measure, choose where it runs.

A model that fails any of these never reaches the data plane. Called by `app` at start; must not be called on a serving event loop.
"""

import dataclasses
import math
from statistics import median
from time import perf_counter
from typing import Final, Literal

import numpy as np

from aweigh.core.errors import NotFound, ProofFailed
from aweigh.core.golden import GoldenAnswers, read_golden
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.replay import replay
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.executors import ThreadExecutor
from aweigh.engine.model import LoadedModel, LoadReport
from aweigh.runtimes.hooks import load_variant

Purpose = Literal["online", "batch"]
_FIGURES: Final[dict[Purpose, str]] = {"online": "latency_us_b1", "batch": "latency_us_b1000"}
_WARM_UP_CALLS = 3
_TIMED_CALLS = 15
_TIMED_BUDGET_S = 0.2
_MANY_ROWS = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds of a call with one row, and of each further row."""

    call_us: float
    row_us: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where requests run: `inline_rows` is the largest that runs on the event loop, -1 for none."""

    executor: str
    inline_rows: int
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    session: Session
    variant: Variant
    load_ms: float


def load_model(handle: PackageHandle, settings: Settings, *, variant: str = "", purpose: Purpose = "online") -> LoadedModel:
    """Load one package until it may answer. Raises GoldenMismatch, ProofFailed, NotFound (no such variant) or what the runtime raises."""
    chosen = choose_variant(handle.manifest, variant, purpose=purpose)
    loaded = _load(handle, chosen, settings)
    try:
        golden = read_golden(handle.manifest, handle.path)
        started = perf_counter()
        replay(loaded.session, handle.manifest.signature, golden)
        replay_ms = (perf_counter() - started) * 1000
        cost = _measure(loaded.session, handle.manifest.signature, golden)
    except BaseException:
        loaded.session.close()
        raise
    place = choose_executor(loaded.session, cost, settings)
    report = LoadReport(
        load_ms=loaded.load_ms,
        replay_ms=replay_ms,
        golden_cases=len(golden),
        call_us=cost.call_us,
        inline_rows=place.inline_rows,
        executor=place.executor,
        why=place.why,
    )
    return LoadedModel(
        name=handle.reference.name,
        version=str(handle.reference.version or 1),
        digest=handle.digest,
        signature=handle.manifest.signature,
        variant=chosen,
        session=loaded.session,
        threads=_threads(handle, loaded.session, settings) if place.inline_rows < settings.max_rows else None,
        report=report,
        inline_rows=place.inline_rows,
    )


def choose_variant(manifest: PackageManifest, name: str = "", *, purpose: Purpose = "online") -> Variant:
    """The named variant, or the quickest of those whose evidence passed: for single rows ("online") or for many at once ("batch").

    Variants without the figure come after those that have it; among equals the first. Raises NotFound, or ProofFailed when none is proven.
    """
    if name:
        found = manifest.variant(name)
        if found is None:
            known = ", ".join(variant.name for variant in manifest.variants)
            raise NotFound(f"there is no variant '{name}'", hint=f"this package has: {known}")
        return found
    proven = [variant for variant in manifest.variants if variant.evidence is not None and variant.evidence.passed]
    if not proven:
        raise ProofFailed(
            "no variant of this package has evidence that it answers as its source", hint="'aweigh verify' proves it on this machine"
        )
    figure = _FIGURES[purpose]
    return min(proven, key=lambda variant: variant.evidence.figures.get(figure, math.inf) if variant.evidence else math.inf)


def choose_executor(session: Session, cost: Cost, settings: Settings) -> Place:
    """Where requests run, and up to how many rows on the event loop: from the setting, or from the measured cost of a call."""
    everything, limit = settings.max_rows, settings.inline_limit_us
    if session.isolated:
        return Place(executor="thread", inline_rows=-1, why="the session runs in its own process, which the event loop must not wait for")
    if settings.executor == "thread":
        return Place(executor="thread", inline_rows=-1, why="set by the executor setting")
    if settings.executor == "inline":
        return Place(executor="inline", inline_rows=everything, why="set by the executor setting")
    if cost.call_us > limit:
        return Place(executor="thread", inline_rows=-1, why=f"one call takes {cost.call_us:.0f} us, more than inline_limit_us = {limit}")
    rows = everything if cost.row_us <= 0 else min(everything, 1 + int((limit - cost.call_us) / cost.row_us))
    if rows < everything and not session.concurrent:
        return Place(executor="thread", inline_rows=-1, why="large batches take long, and the session takes one caller at a time")
    larger = f"; requests of more than {rows} rows run on threads" if rows < everything else ""
    return Place(
        executor="inline", inline_rows=rows, why=f"one call takes {cost.call_us:.0f} us, at most inline_limit_us = {limit}{larger}"
    )


def _threads(handle: PackageHandle, session: Session, settings: Settings) -> ThreadExecutor:
    threads = settings.threads if session.concurrent else 1
    return ThreadExecutor(handle.reference.name, threads=threads, max_queue=settings.max_queue)


def _load(handle: PackageHandle, variant: Variant, settings: Settings) -> _Loaded:
    started = perf_counter()
    session = load_variant(handle.manifest, variant, handle.path, session_threads=settings.session_threads)
    return _Loaded(session=session, variant=variant, load_ms=(perf_counter() - started) * 1000)


def _measure(session: Session, signature: Signature, golden: list[GoldenAnswers]) -> Cost:
    """What a call costs with one row, and what each further row adds. Nothing without a golden set."""
    if not golden:
        return Cost(call_us=0.0, row_us=0.0)
    inputs: dict[str, Tensor] = golden[0].inputs
    if not signature.batched:
        return Cost(call_us=_median_us(session, inputs), row_us=0.0)
    rows = len(next(iter(inputs.values())))
    one = {name: tensor[:1] for name, tensor in inputs.items()}
    many = {name: np.take(tensor, np.arange(_MANY_ROWS) % rows, axis=0) for name, tensor in inputs.items()}
    call_us = _median_us(session, one)
    return Cost(call_us=call_us, row_us=max(0.0, _median_us(session, many) - call_us) / (_MANY_ROWS - 1))


def _median_us(session: Session, inputs: dict[str, Tensor]) -> float:
    """Median microseconds of a warmed-up call, within a budget of time."""
    times: list[float] = []
    began = perf_counter()
    for call in range(_WARM_UP_CALLS + _TIMED_CALLS):
        started = perf_counter()
        session.run(inputs)
        if call >= _WARM_UP_CALLS:
            times.append(perf_counter() - started)
        if times and perf_counter() - began > _TIMED_BUDGET_S:
            break
    return median(times) * 1e6

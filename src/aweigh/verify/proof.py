"""One proof: load the variant, run the checks, measure, write evidence. A variant that cannot be loaded or raises fails with the reason."""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from aweigh.core.errors import AweighError
from aweigh.core.evidence import BATCH_INVARIANCE, NOT_GATING, Check, Evidence, Strength
from aweigh.core.golden import GoldenAnswers, held_to
from aweigh.core.machine import machine
from aweigh.core.package import Variant
from aweigh.core.padding import ragged_axes
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.pipelines.open import open_alone
from aweigh.isolate import Environments
from aweigh.runtimes import load_session
from aweigh.verify.batches import batch_invariance, gather_rows
from aweigh.verify.concurrency import concurrency
from aweigh.verify.errors import errors
from aweigh.verify.orders import of_task
from aweigh.verify.padding import padding_invariance
from aweigh.verify.parity import CaseRun, calibration, determinism, flips, not_numbers, parity, run_cases, shapes, ties
from aweigh.verify.versions import versions

_BUDGET_S: Final = 0.2
_MAX_CALLS: Final = 500
_MAX_BATCH_US: Final = 5e6
"""A batch that would take longer than this, if the time grew with the rows, is not measured."""
_BATCHES: Final = ((64, 1), (1000, 64))
"""Sizes of batches that are measured, each with the size before it."""


def prove(
    variant: Variant,
    signature: Signature,
    golden: Sequence[GoldenAnswers],
    path: Callable[[str], Path],
    *,
    strength: Strength,
    data: str,
    environments: Path | None = None,
) -> Evidence:
    """Check one variant against the golden set, on this machine. Never raises for what the variant does: the evidence says it.

    `path` maps the variant's package paths to files; `data` says in words what the golden set was made from; `environments` is the folder of those that a
    runtime may need whose libraries are not installed here.
    """
    kept = Environments(environments, allowed=False) if environments is not None else None
    load = partial(load_session, variant, signature, path, environments=kept)
    return prove_loaded(variant, signature, golden, load, path=path, strength=strength, data=data)


def prove_loaded(
    variant: Variant,
    signature: Signature,
    golden: Sequence[GoldenAnswers],
    load: Callable[[], Session],
    *,
    path: Callable[[str], Path],
    strength: Strength,
    data: str,
) -> Evidence:
    """As `prove`, of a session that `load` gives: for what is not loaded from its own files alone."""
    started = perf_counter()
    try:
        session = load()
    except AweighError as error:
        note = f"{type(error).__name__}: {error}" + (f" ({error.hint})" if error.hint else "")
        return _evidence(variant, [Check(name="load", passed=False, note=note)], {}, strength=strength, data=data)
    figures = {"load_ms": (perf_counter() - started) * 1000}
    try:
        figures |= _first_answer(session, golden)
        asking = perf_counter()
        asked = run_cases(session, signature, golden)
        figures["replay_ms"] = (perf_counter() - asking) * 1000
        checks = _checks(session, signature, golden, asked)
        figures |= _speed(session, signature, golden, checks)
    finally:
        session.close()
    figures["size_bytes"] = float(sum(path(file).stat().st_size for file in variant.files))
    return _evidence(variant, checks, figures, strength=strength, data=data)


def reprove(
    handle: PackageHandle, *, environments: Environments | None = None, without: Collection[str] = ()
) -> list[tuple[Variant, Evidence]]:
    """Prove every variant of a package again but those of the names `without`, hooks included, on this machine, in `environments` what can only run there; one that departs from the source against its own answers. Raises InvalidFile when the package itself is damaged."""
    manifest = handle.manifest
    proofs: list[tuple[Variant, Evidence]] = []
    for variant in (each for each in manifest.variants if each.name not in without):
        old, held = variant.evidence, held_to(manifest, variant, handle.path)
        evidence = prove_loaded(
            variant,
            held.signature,
            held.golden,
            partial(open_alone, handle, variant, environments=environments),
            path=handle.path,
            strength=old.strength if old else Strength.WEAK,
            data=old.data if old else "the package's golden set",
        )
        proofs.append((variant, evidence))
    return proofs


def _first_answer(session: Session, golden: Sequence[GoldenAnswers]) -> dict[str, float]:
    """Milliseconds of the very first call, in which libraries do what they put off while loading; nothing where it fails, as the checks will tell."""
    began = perf_counter()
    try:
        session.run(golden[0].inputs)
    except (AweighError, IndexError):
        return {}
    return {"first_answer_ms": (perf_counter() - began) * 1000}


def _checks(session: Session, signature: Signature, golden: Sequence[GoldenAnswers], asked: Sequence[CaseRun]) -> list[Check]:
    runs = [run for run in asked if not run.case.ties]
    probable = any(spec.role == "probability" for spec in signature.outputs)
    open_axes = any(isinstance(axis, str) for spec in signature.inputs for axis in spec.shape)
    return [
        parity(signature, runs),
        flips(signature, runs),
        not_numbers(runs),
        *of_task(signature, runs),
        *([calibration(signature, runs)] if probable else []),
        *([shapes(signature, runs)] if open_axes else []),
        *([ties(asked)] if len(asked) > len(runs) else []),
        determinism(session, signature, runs),
        concurrency(session, signature, runs),
        batch_invariance(session, signature, golden),
        *([padding_invariance(session, signature, golden)] if ragged_axes(signature) else []),
        *([errors(signature, runs)] if any(spec.datatype.is_float for spec in signature.outputs) else []),
    ]


def _evidence(variant: Variant, checks: list[Check], figures: dict[str, float], *, strength: Strength, data: str) -> Evidence:
    invariant = any(check.name == BATCH_INVARIANCE and check.passed for check in checks)
    return Evidence(
        passed=all(check.passed for check in checks if check.name not in NOT_GATING),
        strength=strength,
        data=data,
        made_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine=machine(),
        checks=tuple(checks),
        versions=versions(variant.runtime),
        batch_invariant=invariant,
        figures=figures,
    )


def _speed(session: Session, signature: Signature, golden: Sequence[GoldenAnswers], checks: Sequence[Check]) -> dict[str, float]:
    """Median microseconds of one row, of 64 and of 1000, of a model that answers at all."""
    if not golden or not next(check.passed for check in checks if check.name == "parity"):
        return {}
    if not signature.batched:
        return {"latency_us_b1": median_us(session, golden[0].inputs)}
    rows = gather_rows(signature, golden)
    count = signature.batch_size(rows)
    figures = {"latency_us_b1": median_us(session, {name: tensor[:1] for name, tensor in rows.items()})}
    for size, before in _BATCHES:
        if figures[f"latency_us_b{before}"] * size / before > _MAX_BATCH_US:
            break
        batch = np.resize(np.arange(count), size)
        try:
            figures[f"latency_us_b{size}"] = median_us(session, {name: tensor[batch] for name, tensor in rows.items()})
        except AweighError:  # rows that do not run together: batch-invariance says so
            break
    return figures


def median_us(session: Session, inputs: dict[str, Tensor]) -> float:
    """Median time of one call after a warm-up, bounded to about 0.2 s (one call at least)."""
    session.run(inputs)
    times: list[float] = []
    began = perf_counter()
    while len(times) < _MAX_CALLS and (not times or perf_counter() - began < _BUDGET_S):
        started = perf_counter()
        session.run(inputs)
        times.append(perf_counter() - started)
    return median(times) * 1e6

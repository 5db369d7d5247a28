"""What a search kept becomes the next version of the package. Part of `app/optimize.py`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from aweigh.app.packages import open_store
from aweigh.core.golden import golden_files
from aweigh.core.machine import machine
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.protocols import Draft, PackageHandle
from aweigh.core.settings import Settings
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.report import Optimization
from aweigh.optimization.search import Found, Search
from aweigh.optimization.timing import Timed
from aweigh.store import StoredPackage

REPORT: Final = "optimization.json"
"""The search, as a file of the package that came of it."""
_ONE_ROW, _MANY_ROWS = "latency_us_b1", "latency_us_b1000"


def publish(settings: Settings, handle: PackageHandle, report: Optimization, search: Search, found: Found) -> StoredPackage:
    """The next version: the package's own variants and what stays of earlier searches with their times of the last comparison, and those that were kept; last those for machines of
    another kind, without evidence."""
    manifest = handle.manifest
    timed = {result.name: result.timed for result in report.results if result.timed is not None}
    compared = {candidate.variant.name for candidate, _ in (*found.own, *found.earlier.stays)}
    gone = {candidate.variant.name for candidate in (*found.kept, *found.unproven)} | {result.name for result in found.earlier.goes}
    stay = [variant for variant in manifest.variants if variant.name not in gone]
    variants = [_with_times(variant, timed[variant.name]) if variant.name in compared else variant for variant in stay]
    files: dict[str, bytes | Path] = dict(_kept_files(handle, manifest, stay))
    for candidate in found.kept:
        variant, cases = _with_own_golden(_with_times(candidate.variant, timed[candidate.variant.name]), candidate, manifest, search)
        variants.append(variant)
        files |= {**candidate.files, **cases}
    for candidate in found.unproven:
        variants.append(candidate.variant)
        files |= candidate.files
    draft = Draft(
        manifest=msgspec.structs.replace(manifest, variants=tuple(variants), files=()),
        files={**files, REPORT: msgspec.json.encode(report.slim())},
    )
    return open_store(settings).publish(handle.reference.name, draft)


def chosen_anew(found: Found) -> str:
    """In words, which of the package's own variants the times of the last comparison choose where their evidence chose another; "" where it is the same."""
    said, compared = [], (*found.own, *found.earlier.stays)
    for figure, rows in ((_ONE_ROW, "single rows"), (_MANY_ROWS, "many rows")):
        before = [
            (variant.evidence.figures.get(figure, math.inf), variant.name) for each, _ in compared if (variant := each.variant).evidence
        ]
        after = [
            (variant.evidence.figures[figure], variant.name)
            for each, timed in compared
            if (variant := _with_times(each.variant, timed)).evidence
        ]
        if before and after and min(before)[1] != min(after)[1]:
            said.append(f"'{min(after)[1]}' answers {rows} now, in place of '{min(before)[1]}'")
    return f"timed in turns, {' and '.join(said)}" if said else ""


def going(found: Found, model: str, *, publishes: bool) -> list[str]:
    """In words, what an earlier search kept and this one does not."""
    end = "is not in the new version" if publishes else f"would not be in a new version; none is published, and {model} has it"
    return [f"'{result.name}', which an earlier search kept, {end}: {result.why}" for result in found.earlier.goes]


def _kept_files(handle: PackageHandle, manifest: PackageManifest, stay: list[Variant]) -> Mapping[str, Path]:
    """The package's files but those of variants that go."""
    gone = {file for variant in manifest.variants if variant not in stay for file in variant.files}
    gone |= {case.file for variant in manifest.variants if variant not in stay and variant.departure for case in variant.departure.golden}
    gone = (gone | {REPORT}) - {file for variant in stay for file in variant.files}
    return {file.path: handle.path(file.path) for file in manifest.files if file.path not in gone}


def _with_own_golden(variant: Variant, candidate: Candidate, manifest: PackageManifest, search: Search) -> tuple[Variant, dict[str, bytes]]:
    """A variant that departs gets the answers that it is held to from now on."""
    if variant.departure is None:
        return variant, {}
    answers = search.workshop.judge.own_golden(candidate)
    cases, files = golden_files(manifest.signature, answers, folder=f"variants/{variant.name}/golden")
    return msgspec.structs.replace(variant, departure=msgspec.structs.replace(variant.departure, golden=cases)), files


def _with_times(variant: Variant, timed: Timed) -> Variant:
    """The variant with the times of a comparison in which all variants took turns: what the engine chooses by."""
    if variant.evidence is None:
        return variant
    first, last = timed.speeds[0], timed.speeds[-1]
    figures = {name: value for name, value in variant.evidence.figures.items() if not name.startswith("latency_us_b")}
    border = first.border_us  # once a call, however many rows it has
    figures |= {_ONE_ROW: first.p50_us, f"latency_us_b{last.rows}": last.p50_us}
    figures[_MANY_ROWS] = (last.p50_us - border) * 1000 / last.rows + border
    figures |= {"latency_p99_us_b1": first.p99_us, "rows_per_s": last.rows_per_s, "cpu_s_per_1000": last.cpu_s_per_1000}
    figures |= {"memory_bytes": float(timed.memory_bytes), "load_ms": timed.load_ms, "size_bytes": float(timed.size_bytes)}
    return msgspec.structs.replace(variant, evidence=msgspec.structs.replace(variant.evidence, figures=figures, machine=machine()))

"""What a search kept becomes the next version of the package. Part of `app/optimize.py`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from aweigh.app.models import meaning
from aweigh.app.packages import open_store
from aweigh.core.errors import Conflict
from aweigh.core.golden import golden_files
from aweigh.core.machine import machine
from aweigh.core.names import Reference
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.protocols import Draft, PackageHandle
from aweigh.core.settings import Settings
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.report import Optimization
from aweigh.optimization.search import Found, Search
from aweigh.optimization.timing import Timed

REPORT: Final = "optimization.json"
"""The search, as a file of the package that came of it."""
_TRIES: Final = 5
_ONE_ROW, _MANY_ROWS = "latency_us_b1", "latency_us_b1000"


def newest_version(settings: Settings, model: str, handle: PackageHandle) -> int:
    """The newest version as a search begins. A bare name means it: that one was opened."""
    asked, opened = meaning(model).reference, handle.reference.version or 0
    if asked is None or (asked.version is None and asked.alias is None):
        return opened
    return max([opened, *(each.version for each in open_store(settings).list() if each.name == handle.reference.name)])


def publish(settings: Settings, handle: PackageHandle, report: Optimization, search: Search, found: Found, *, newest: int) -> Optimization:
    """The report, with the next version's name. What other searches published of this model since `newest` was the newest is in that version too; where another model took the name
    meanwhile, none is published, and the summary says so. Raises what the store raises, Conflict where others publish without end."""
    store, onto, name, said = open_store(settings), handle, handle.reference.name, report.summary
    report = msgspec.structs.replace(report, summary=(*said, *going(found, str(handle.reference), publishes=True)))
    for _ in range(_TRIES):
        try:
            package = store.publish(name, _draft(onto, handle, report, search, found), newest=newest)
            return msgspec.structs.replace(report, published=str(package.reference))
        except Conflict:
            onto = store.open(Reference(name=name))
            there = onto.reference.version or 0
            if there <= newest:  # it is not about that
                raise
            newest = there
        same = _of_one_model(handle, onto, found)
        told = going(found, str(handle.reference), publishes=same)
        if not same:
            why = f"nothing is published: {onto.reference}, which came while this search ran, was packed anew and may be another model"
            again = f"'aweigh optimize {handle.reference}' with the same data puts what was kept above it all the same"
            return msgspec.structs.replace(report, summary=(*said, *told, f"{why}; {again}"))
        joined = f"{onto.reference} was published while this search ran: what it has is in the new version too"
        report = msgspec.structs.replace(report, summary=(*said, *told, joined))
    raise Conflict(
        f"others publish versions of '{name}' as fast as this search", hint="do it again: what was found is kept, and is not made anew"
    )


def _draft(onto: PackageHandle, handle: PackageHandle, report: Optimization, search: Search, found: Found) -> Draft:
    """Of `onto`, which is what the search began with (`handle`) or came of it since: its variants, with their times of the last comparison where they took part in it, without those
    that go; those that were kept; last those for machines of another kind, without evidence."""
    manifest = onto.manifest
    timed = {result.name: result.timed for result in report.results if result.timed is not None}
    before = {variant.name: _form(handle, variant) for variant in handle.manifest.variants}
    known = {variant.name for variant in manifest.variants if before.get(variant.name) == _form(onto, variant)}
    compared = known & {candidate.variant.name for candidate, _ in (*found.own, *found.earlier.stays)}
    gone = {candidate.variant.name for candidate in (*found.kept, *found.unproven)} | (
        known & {result.name for result in found.earlier.goes}
    )
    stay = [variant for variant in manifest.variants if variant.name not in gone]
    variants = [_with_times(variant, timed[variant.name]) if variant.name in compared else variant for variant in stay]
    files: dict[str, bytes | Path] = dict(_kept_files(onto, manifest, stay))
    for candidate in found.kept:
        variant, cases = _with_own_golden(_with_times(candidate.variant, timed[candidate.variant.name]), candidate, manifest, search)
        variants.append(variant)
        files |= {**candidate.files, **cases}
    for candidate in found.unproven:
        variants.append(_made(candidate.variant, candidate))
        files |= candidate.files
    return Draft(
        manifest=msgspec.structs.replace(manifest, variants=tuple(variants), files=()),
        files={**files, REPORT: msgspec.json.encode(report.slim())},
    )


def _of_one_model(handle: PackageHandle, onto: PackageHandle, found: Found) -> bool:
    """Whether nothing but variants was added or taken away since: all that was compared here is there as it was."""
    names = [candidate.variant.name for candidate, _ in found.own]
    return _without_added(handle, names) == _without_added(onto, names)


def _without_added(handle: PackageHandle, names: Sequence[str]) -> object:
    """A package without the variants that are not named."""
    manifest = handle.manifest
    forms = [_form(handle, variant) for name in names if (variant := manifest.variant(name)) is not None]
    return msgspec.structs.replace(manifest, variants=(), files=()), _digests(handle, [case.file for case in manifest.golden]), forms


def _form(handle: PackageHandle, variant: Variant) -> object:
    """All that a variant is but its evidence."""
    own = variant.departure.golden if variant.departure else ()
    return msgspec.structs.replace(variant, evidence=None), _digests(handle, [*variant.files, *(case.file for case in own)])


def _digests(handle: PackageHandle, files: Sequence[str]) -> dict[str, str]:
    wanted = set(files)
    return {file.path: file.digest for file in handle.manifest.files if file.path in wanted}


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
    """A variant that departs gets the answers that it is held to from now on; of another it is noted what it was made of."""
    if variant.departure is None:
        return _made(variant, candidate), {}
    answers = search.workshop.judge.own_golden(candidate)
    cases, files = golden_files(manifest.signature, answers, folder=f"variants/{variant.name}/golden")
    return msgspec.structs.replace(variant, departure=msgspec.structs.replace(variant.departure, golden=cases)), files


def _made(variant: Variant, candidate: Candidate) -> Variant:
    return msgspec.structs.replace(variant, base=candidate.base, passes=candidate.chain)


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

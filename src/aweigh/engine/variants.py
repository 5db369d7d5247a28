"""Which of a package's proven variants answers. Reads manifests alone: called by loading, and before it by who only wants to know."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from aweigh.core.errors import MissingLibrary, NotFound, ProofFailed, Unsupported
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import plugin
from aweigh.core.settings import Settings
from aweigh.engine.measured import Measured
from aweigh.isolate import Environments
from aweigh.runtimes.homes import can_run, check_step, foreign, home_of

Purpose = Literal["online", "batch"]
_FIGURES: Final[dict[Purpose, str]] = {"online": "latency_us_b1", "batch": "latency_us_b1000"}
_ROWS: Final[dict[Purpose, str]] = {"online": "one row", "batch": "1000 rows"}


def choose_variant(
    manifest: PackageManifest, name: str = "", *, purpose: Purpose = "online", environments: Environments | None = None
) -> Variant:
    """The named variant, or the quickest of those whose evidence passed: for single rows ("online") or for many at once ("batch").

    Variants without the figure come after those that have it; among equals the first. What cannot run here for want of a library, nor in one of the `environments` that
    are there, is passed over. Raises NotFound, MissingLibrary that names the extra when nothing else is left, ProofFailed when none is proven.
    """
    return variants_in_order(manifest, name, purpose=purpose, environments=environments)[0]


def variants_in_order(
    manifest: PackageManifest, name: str = "", *, purpose: Purpose = "online", environments: Environments | None = None
) -> list[Variant]:
    """As `choose_variant`, and after it those to take where it turns out at load that it cannot run here: for want of a device, say."""
    if name:
        found = manifest.variant(name)
        if found is None:
            known = ", ".join(variant.name for variant in manifest.variants)
            raise NotFound(f"there is no variant '{name}'", hint=f"this package has: {known}")
        if found not in _proven(manifest):
            raise ProofFailed(f"variant '{name}' has no evidence that it answers as its source", hint=_elsewhere(found))
        return [found]
    proven = [variant for variant in _proven(manifest) if _missing(variant, environments) is None]
    if not proven:
        _explain_missing(manifest, environments)
        raise ProofFailed(
            "no variant of this package has evidence that it answers as its source", hint="'aweigh verify' proves it on this machine"
        )
    return in_order(proven, purpose)


def in_order(variants: Sequence[Variant], purpose: Purpose, here: Measured | None = None) -> list[Variant]:
    """The quickest first, by what was measured `here`, else by their evidence."""
    return sorted(variants, key=lambda variant: _time_us(variant, purpose, here))


def why_chosen(
    manifest: PackageManifest,
    chosen: Variant,
    name: str = "",
    *,
    purpose: Purpose = "online",
    passed_over: str = "",
    here: Measured | None = None,
) -> str:
    """Why this variant answers and no other, in words, with the figures that it was chosen by."""
    others = [variant for variant in _proven(manifest) if variant.name != chosen.name]
    refused = [] if here is None or name else [f"'{each}' cannot run here: {said}" for each, said in here.refused.items()]
    if name:
        why = "asked for by name"
    elif not others:
        why = "no other is proven"
    else:
        figures = {variant.name: _time_us(variant, purpose, here) for variant in (chosen, *others)}
        times = ", ".join(f"{each} {figure:.0f} us" for each, figure in figures.items() if figure < math.inf)
        ahead = figures[chosen.name] <= min(figures.values()) and not refused
        what = "the quickest that is proven" if ahead else "the quickest of the proven that can run here"
        why = f"{what}: {times or 'none was measured'} for {_ROWS[purpose]}{_measured_where(chosen, here)}"
    return "; ".join(said for said in (why, *refused, passed_over) if said)


def _measured_where(chosen: Variant, here: Measured | None) -> str:
    if chosen.evidence is None:
        return ""
    there = chosen.evidence.machine.processor
    return f", measured on {there}" if here is None else f", measured here ({here.machine.processor}), because the evidence is of {there}"


def _time_us(variant: Variant, purpose: Purpose, here: Measured | None = None) -> float:
    if here is not None:
        return here.figures.get(variant.name, {}).get(_FIGURES[purpose], math.inf)
    return variant.evidence.figures.get(_FIGURES[purpose], math.inf) if variant.evidence else math.inf


def environments_of(settings: Settings) -> Environments:
    """Those that are there: loading makes none, since requests may wait for it."""
    return Environments(settings.environments_folder, allowed=False)


def environment_to_make(manifest: PackageManifest, name: str, environments: Environments) -> str:
    """The environment without which the named variant, or without a name every proven one, cannot run here; "" where none is missing."""
    variants = [found] if name and (found := manifest.variant(name)) else _proven(manifest)
    if any(_missing(variant, environments) is None for variant in variants):
        return ""
    absent = (plugin("runtime", variant.runtime).environment for variant in variants if foreign(variant.runtime) is None)
    return next((environment for environment in absent if environment), "")


def _elsewhere(variant: Variant) -> str:
    """What can be done about a variant that is not proven."""
    return (
        "it is for another system: convert it there" if foreign(variant.runtime) else "leave it to another variant, or pack the model again"
    )


def _proven(manifest: PackageManifest) -> list[Variant]:
    return [variant for variant in manifest.variants if variant.evidence is not None and variant.evidence.passed]


def _missing(variant: Variant, environments: Environments | None) -> MissingLibrary | Unsupported | None:
    """Why a variant cannot run here, if it is for want of a library, or of another system. Imports and makes nothing."""
    if error := foreign(variant.runtime):
        return error
    try:
        if not can_run(variant.runtime, environments):
            home_of(variant.runtime, Environments(environments.folder, allowed=False) if environments is not None else None)
        check_step(variant)
    except MissingLibrary as error:
        return error
    except Unsupported:  # a runtime of that name is not known: loading says so
        pass
    return None


def _explain_missing(manifest: PackageManifest, environments: Environments | None) -> None:
    """Raise MissingLibrary when a library, or another system, is all that is missing for some variant."""
    found = {variant.name: error for variant in manifest.variants if (error := _missing(variant, environments)) is not None}
    if found:
        reasons = "; ".join(f"variant '{name}': {error.message}" for name, error in found.items())
        hints = " or ".join(dict.fromkeys(error.hint for error in found.values()))
        raise MissingLibrary(f"no proven variant of this package can run here: {reasons}", hint=hints)

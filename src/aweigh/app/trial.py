"""Trying a package from elsewhere in a capped child, before anyone can see it: its files are first parsed there, and the golden set replayed.

`on_terms` makes the terms that the store takes a package on; `try_in_child` is what the child runs.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from aweigh.core.errors import MissingLibrary, NotTrusted, Refused, Unsupported
from aweigh.core.evidence import NOT_GATING
from aweigh.core.names import digest_name, model_name
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import plugin
from aweigh.core.protocols import Progress
from aweigh.core.settings import Settings
from aweigh.engine.variants import environments_of
from aweigh.isolate import Caps, Environments, call
from aweigh.runtimes.homes import can_run, check_step, foreign
from aweigh.store import Store, StoredPackage, Terms


class TrialJob(msgspec.Struct, frozen=True, kw_only=True):
    """Which package, in which store, and which of its variants."""

    store: str
    name: str
    digest: str
    size_bytes: int
    variants: tuple[str, ...]
    environments: str
    """Folder of the environments for runtimes whose libraries are not installed here."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How one variant did. `note` says why it did not pass, or was not tried."""

    variant: str
    tried: bool
    passed: bool
    note: str = ""


class _Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found of one variant."""

    variant: str
    loaded: bool
    passed: bool
    note: str


def on_terms(settings: Settings, *, trust: bool, origin: str, told: Callable[[list[Trial]], None], progress: Progress) -> Terms:
    """Terms that refuse code without trust, and whatever does not load in a capped child. `told` gets how each variant did."""

    def permit(manifest: PackageManifest) -> None:
        reasons = code_in(manifest)
        if reasons and not trust:
            raise NotTrusted(
                f"the package from {origin} {', '.join(reasons)}: loading it runs code that came with it",
                hint="pass --trust if you trust whoever made it; nothing was published",
            )

    def judge(package: StoredPackage) -> list[str]:
        progress("trying it in a child")
        trials = _try(package, settings)
        told(trials)
        return [trial.variant for trial in trials if not trial.tried]

    return Terms(permit=permit, judge=judge, origin=origin)


def code_in(manifest: PackageManifest) -> list[str]:
    """Why loading the package could run code that lies in it; judged by what would be loaded, not by what the package says of itself."""
    reasons = [
        f"has a variant '{variant.name}' for the runtime '{variant.runtime}'" for variant in manifest.variants if _runs_code(variant)
    ]
    if manifest.hooks.pre or manifest.hooks.post or manifest.hooks.files:
        reasons.append("has hooks")
    if manifest.contains_pickle:
        reasons.append("says that it holds a pickle")
    return reasons


def _runs_code(variant: Variant) -> bool:
    try:
        row = plugin("runtime", variant.runtime)
    except Unsupported:
        return True
    # Entries for ONNX Runtime's session or execution provider may name files of this machine, libraries among them.
    return row.runs_code or any(option.startswith(("config:", "provider:")) for option in variant.options)


def _try(package: StoredPackage, settings: Settings) -> list[Trial]:
    """Replay the golden set on every variant whose runtime is installed, and is of this system. Raises Refused for one that cannot be loaded, ChildDied."""
    environments = environments_of(settings)
    absent = {variant.name: note for variant in package.manifest.variants if (note := _absent(variant, environments))}
    names = tuple(variant.name for variant in package.manifest.variants if variant.name not in absent)
    skipped = [Trial(variant=name, tried=False, passed=False, note=note) for name, note in absent.items()]
    if not names:
        return skipped
    job = TrialJob(
        store=str(package.blobs.store),
        name=package.reference.name,
        digest=package.digest,
        size_bytes=package.descriptor.size,
        variants=names,
        environments=str(environments.folder),
    )
    caps = Caps(memory_bytes=settings.child_memory_bytes, timeout_s=settings.child_timeout_s)
    found = call(f"{__name__}:try_in_child", job, list[_Load], caps=caps)
    broken = next((load for load in found if not load.loaded), None)
    if broken:
        raise Refused(
            f"variant '{broken.variant}' cannot be loaded: {broken.note}", hint="the package is damaged or hostile: nothing was published"
        )
    return [Trial(variant=load.variant, tried=True, passed=load.passed, note=load.note) for load in found] + skipped


def _absent(variant: Variant, environments: Environments) -> str:
    if other := foreign(variant.runtime):
        return other.message
    try:
        check_step(variant)
        if can_run(variant.runtime, environments):
            return ""
        row = plugin("runtime", variant.runtime)
    except MissingLibrary as error:
        return f"{error.message}: {error.hint}"
    except Unsupported as error:
        return error.message
    made = f", or 'aweigh env make {row.environment}'" if row.environment else ""
    return f"needs {', '.join(row.missing())}, which is not installed: pip install 'aweigh[{row.extra}]'{made}"


def try_in_child(job: TrialJob) -> list[_Load]:
    """Load the variants and replay the golden set. Runs only in an isolated child."""
    from aweigh.verify import reprove  # the parent need not load what only its child runs

    package = Store(Path(job.store)).staged(model_name(job.name), digest_name(job.digest), job.size_bytes)
    chosen = tuple(variant for variant in package.manifest.variants if variant.name in job.variants)
    proofs = reprove(
        _Chosen(package, msgspec.structs.replace(package.manifest, variants=chosen)),
        environments=Environments(Path(job.environments), allowed=False),
    )
    loads = []
    for variant, evidence in proofs:
        failed = [check for check in evidence.checks if not check.passed and check.name not in NOT_GATING]
        note = "; ".join(f"{check.name} {check.note}".strip() for check in failed)
        loads.append(
            _Load(variant=variant.name, loaded=not any(check.name == "load" for check in failed), passed=evidence.passed, note=note)
        )
    return loads


class _Chosen:
    """A package with some of its variants; a `PackageHandle`."""

    def __init__(self, package: StoredPackage, manifest: PackageManifest) -> None:
        self.reference = package.reference
        self.digest = package.digest
        self.manifest = manifest
        self.path = package.path
        self.part = package.part

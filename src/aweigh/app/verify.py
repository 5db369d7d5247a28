"""Verifying: a stored package is held against its own digests and golden set, on this machine."""

import dataclasses
from pathlib import Path

from aweigh.app.environments import provide
from aweigh.app.packages import open_store
from aweigh.app.tables import write_whole
from aweigh.core.evidence import Evidence
from aweigh.core.names import parse_reference
from aweigh.core.package import Variant
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.engine.variants import environments_of
from aweigh.runtimes.homes import foreign
from aweigh.store import StoredPackage
from aweigh.verify import reprove
from aweigh.verify.page import evidence_page


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A package, the proofs of its variants, and why others were not tried, by name: those for machines of another system."""

    package: StoredPackage
    proofs: list[tuple[Variant, Evidence]]
    skipped: dict[str, str]


def verify_package(settings: Settings, text: str, *, progress: Progress = quiet) -> Verified:
    """Check every file of the package, then prove each variant again. Raises ModelNotFound, InvalidFile for damage, Unsupported where no variant is for this system."""
    package = open_store(settings).open(parse_reference(text))
    package.verify()
    others = {variant.name: error for variant in package.manifest.variants if (error := foreign(variant.runtime)) is not None}
    if len(others) == len(package.manifest.variants) and others:
        raise next(iter(others.values()))
    provide(settings, [package], progress=progress)
    proofs = reprove(package, environments=environments_of(settings), without=others)
    return Verified(package=package, proofs=proofs, skipped={name: error.message for name, error in others.items()})


def write_evidence_page(title: str, proofs: list[tuple[Variant, Evidence]], path: str) -> None:
    """Write the evidence as a page of HTML. Raises StoreUnavailable."""
    write_whole(Path(path), evidence_page(f"Evidence of {title}", proofs).encode())

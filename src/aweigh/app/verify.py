"""Verifying: a stored package is held against its own digests and golden set, on this machine."""

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
from aweigh.store import StoredPackage
from aweigh.verify import reprove
from aweigh.verify.page import evidence_page


def verify_package(settings: Settings, text: str, *, progress: Progress = quiet) -> tuple[StoredPackage, list[tuple[Variant, Evidence]]]:
    """Check every file of the package, then prove each variant again. Raises ModelNotFound, InvalidFile for damage."""
    package = open_store(settings).open(parse_reference(text))
    package.verify()
    provide(settings, [package], progress=progress)
    return package, reprove(package, environments=environments_of(settings))


def write_evidence_page(title: str, proofs: list[tuple[Variant, Evidence]], path: str) -> None:
    """Write the evidence as a page of HTML. Raises StoreUnavailable."""
    write_whole(Path(path), evidence_page(f"Evidence of {title}", proofs).encode())

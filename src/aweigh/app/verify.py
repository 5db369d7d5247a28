"""Verifying: a stored package is held against its own digests and golden set, on this machine."""

from aweigh.app.packages import open_store
from aweigh.core.evidence import Evidence
from aweigh.core.names import parse_reference
from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.store import StoredPackage
from aweigh.verify import reprove


def verify_package(settings: Settings, text: str) -> tuple[StoredPackage, list[tuple[Variant, Evidence]]]:
    """Check every file of the package, then prove each variant again. Raises ModelNotFound, InvalidFile for damage."""
    package = open_store(settings).open(parse_reference(text))
    package.verify()
    return package, reprove(package)

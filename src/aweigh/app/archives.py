"""Packages as one file: export and import. Wires the store and the trial of what comes from elsewhere."""

import dataclasses
from pathlib import Path

from aweigh.app.packages import open_store
from aweigh.app.trial import Trial, on_terms
from aweigh.core.errors import InvalidName
from aweigh.core.names import ModelName, model_name, parse_reference
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.store import Archive, StoredPackage, export_archive


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A package that was taken in, and how its variants did on this machine."""

    package: StoredPackage
    trials: tuple[Trial, ...]


def export_package(settings: Settings, text: str, file: Path, *, progress: Progress = quiet) -> tuple[StoredPackage, str]:
    """Write a package to one file; the package and the digest of the file. Raises ModelNotFound, InvalidFile for damage, StoreUnavailable."""
    package = open_store(settings).open(parse_reference(text))
    return package, export_archive(package, file, progress=progress)


def import_package(settings: Settings, file: Path, *, name: str = "", trust: bool = False, progress: Progress = quiet) -> Adopted:
    """Publish the package in `file`, under `name` or the one it was exported under.

    Raises FileMissing, InvalidFile, TooLarge, Refused, and NotTrusted for a package with code in it, unless `trust`; nothing is published then.
    """
    trials: list[Trial] = []
    with Archive(file) as archive:
        chosen = _name(name, archive, file)
        terms = on_terms(settings, trust=trust, origin=f"archive {file.name}", told=trials.extend, progress=progress)
        package = open_store(settings).adopt(chosen, archive.offer(), terms, progress=progress)
    return Adopted(package=package, trials=tuple(trials))


def _name(given: str, archive: Archive, file: Path) -> ModelName:
    if given:
        return model_name(given)
    if archive.reference is None:
        raise InvalidName(f"{file} does not say what its package is called", hint="say it: --name NAME")
    return archive.reference.name

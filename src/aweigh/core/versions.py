"""Which versions are installed, for provenance and for a variant's environment. Reads metadata; imports nothing."""

import importlib.metadata
from collections.abc import Iterable


def installed(names: Iterable[str]) -> dict[str, str]:
    """Name to version of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def requirements(names: Iterable[str]) -> tuple[str, ...]:
    """Exact requirements (`name==version`) of those that are installed."""
    return tuple(f"{name}=={version}" for name, version in installed(names).items())

"""Which versions are installed, for provenance and for a variant's environment. Reads metadata; imports nothing."""

import functools
import importlib.metadata
from collections.abc import Iterable, Mapping


def installed(names: Iterable[str]) -> dict[str, str]:
    """Name to version of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def of_libraries(libraries: Iterable[str]) -> dict[str, str]:
    """Import name to version of those that are installed, whatever distribution brings them: 'onnxruntime' is of onnxruntime-gpu too."""
    versions = {library: installed(_distributions().get(library, [library])).values() for library in libraries}
    return {library: " ".join(found) for library, found in versions.items() if found}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def requirements(names: Iterable[str]) -> tuple[str, ...]:
    """Exact requirements (`name==version`) of those that are installed."""
    return tuple(f"{name}=={version}" for name, version in installed(names).items())

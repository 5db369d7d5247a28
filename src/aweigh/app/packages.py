"""Looking after the store: list, show, alias, remove, check and collect. Called by the commands of those names and by whoever needs the store of a home."""

import contextlib
from typing import Final

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput
from aweigh.core.names import Reference, alias_name, parse_reference
from aweigh.core.pipeline import PIPELINE_RUNTIME, Graph, read_graph
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.engine.measured import elsewhere, measured_before
from aweigh.engine.variants import environments_of, in_order, variants_in_order, why_chosen
from aweigh.store import GRACE_S, Checkup, Collected, Store, StoredPackage, StoredVersion

STORE_FOLDER: Final = "store"


def open_store(settings: Settings) -> Store:
    """The store in the home folder; it is made when something is published."""
    return Store(settings.home_folder / STORE_FOLDER, quota_bytes=settings.store_quota_bytes)


def check_store(settings: Settings, *, repair: bool = False, progress: Progress = quiet) -> Checkup:
    """Read the whole store and tell what is damaged; with `repair`, mend what can be mended without loss."""
    return open_store(settings).check(repair=repair, progress=progress)


def collect_garbage(settings: Settings, *, grace_s: float = GRACE_S) -> Collected:
    """Remove what no version needs and what is older than the grace period. Raises InvalidFile when a version cannot be read."""
    return open_store(settings).collect(grace_s)


def list_packages(settings: Settings) -> list[StoredVersion]:
    """Every version, by name and number."""
    return open_store(settings).list()


def show_package(settings: Settings, text: str) -> tuple[StoredPackage, list[str]]:
    """The package of `name`, `name:version` or `name@alias`, and the aliases that name it. Raises ModelNotFound, InvalidName."""
    store = open_store(settings)
    package = store.open(parse_reference(text))
    aliases = store.aliases(package.reference.name)
    return package, [alias for alias, version in aliases.items() if version == package.reference.version]


def variant_here(settings: Settings, package: StoredPackage) -> tuple[str, str]:
    """The variant that would answer on this machine, and why; nothing, and why not, where none can."""
    manifest = package.manifest
    try:
        candidates = variants_in_order(manifest, environments=environments_of(settings))
    except AweighError as error:
        return "", f"{error.message}: {error.hint}" if error.hint else error.message
    here = measured_before(package.digest, candidates, settings) if elsewhere(candidates) else None
    chosen = in_order(candidates, "online", here)[0]
    return chosen.name, why_chosen(manifest, chosen, here=here)


def set_alias(settings: Settings, text: str, alias: str) -> Reference:
    """Let `alias` name the version that `text` means, and return that version. Raises ModelNotFound, InvalidName."""
    store = open_store(settings)
    name = alias_name(alias)
    found = store.open(parse_reference(text)).reference
    if found.version is not None:
        store.set_alias(found.name, name, found.version)
    return found


def graph_of(package: StoredPackage) -> Graph | None:
    """The graph of a pipeline; None of any other package. Raises InvalidFile, Unsupported."""
    return read_graph(package) if any(variant.runtime == PIPELINE_RUNTIME for variant in package.manifest.variants) else None


def remove_package(settings: Settings, text: str, *, every_version: bool = False, force: bool = False) -> list[Reference]:
    """Remove a version, an alias (`name@alias`; its version stays) or, with `every_version`, the whole model. Returns what went.

    Raises ModelNotFound, InvalidInput for a bare name of several versions, Conflict for a version that an alias names, unless `force`.
    """
    store, reference = open_store(settings), parse_reference(text)
    if every_version:
        return _remove_model(store, reference)
    if reference.alias is not None:
        store.remove_alias(reference.name, reference.alias)
        return [reference]
    removed = store.remove(reference, force=force)
    _collect(store)
    return [removed]


def _remove_model(store: Store, reference: Reference) -> list[Reference]:
    if reference.version is not None or reference.alias is not None:
        raise InvalidInput(f"--all removes the whole model: '{reference}' names one version", hint=f"say '{reference.name} --all'")
    store.aliases(reference.name)  # raises ModelNotFound
    versions = [line.reference for line in store.list() if line.name == reference.name]
    for version in versions:
        store.check_removable(version)  # all or none
    removed = [store.remove(version, force=True) for version in versions]
    _collect(store)
    return removed


def _collect(store: Store) -> None:
    """Free what nothing needs any more. A damaged neighbour must not make a removal that is done look like a failure."""
    with contextlib.suppress(InvalidFile):
        store.collect()

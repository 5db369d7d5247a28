"""The environments for libraries that are not installed: what there is, making and removing them, and making those that models are about to need."""

from collections.abc import Sequence

from aweigh.core.errors import AweighError
from aweigh.core.protocols import PackageHandle, Progress, WithParts, quiet
from aweigh.core.settings import Settings
from aweigh.engine.variants import environment_to_make
from aweigh.isolate.environments import Environments, Kept, Pruned


def kept_environments(settings: Settings) -> list[Kept]:
    """Those on disk, by name."""
    return Environments(settings.environments_folder).kept()


def make_environments(settings: Settings, names: Sequence[str], *, progress: Progress = quiet) -> list[Kept]:
    """Make those that are not there; all that were asked for. Raises MissingLibrary for a name that is not known, or why one cannot be made."""
    environments = Environments(settings.environments_folder, allowed=not settings.no_isolate)
    folders = {str(environments.python(name, progress=progress).parents[1]) for name in names}
    return [kept for kept in environments.kept() if kept.folder in folders]


def prune_environments(settings: Settings, *, everything: bool) -> Pruned:
    """Remove those that this aweigh would not use, or all but what running processes use."""
    return Environments(settings.environments_folder).prune(everything=everything)


def provide(settings: Settings, handles: Sequence[PackageHandle], *, variant: str = "", progress: Progress = quiet) -> None:
    """Make the environments without which these packages cannot run here; nothing where `no_isolate` says so. Raises MissingLibrary that says why one cannot be.

    Called before loading begins, never by it: a package that can run without one gets none.
    """
    environments = Environments(settings.environments_folder, allowed=not settings.no_isolate)
    for handle in handles:
        name = environment_to_make(handle.manifest, variant, environments)
        if name and environments.allowed:
            progress(f"{handle.reference} needs libraries that are not installed here: using an environment that has them")
            environments.python(name, progress=progress)
        provide(settings, _parts(handle), progress=progress)


def _parts(handle: PackageHandle) -> list[PackageHandle]:
    """The packages that a pipeline is made of; none where one is missing, which loading says."""
    try:
        return [handle.part(part) for part in handle.manifest.parts] if isinstance(handle, WithParts) else []
    except AweighError:
        return []

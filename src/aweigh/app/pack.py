"""Packing: a trained file, a live model or a pipeline becomes the next version of a name in the store, with its proof. Wires packing, verify and store."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from aweigh.app.addresses import is_address
from aweigh.app.fetching import fetch
from aweigh.app.options import PackOptions
from aweigh.app.packages import open_store
from aweigh.core.names import Alias, ModelName, alias_name, model_name
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.isolate import Caps, Environments
from aweigh.packing import PackRequest, pack, read_definition
from aweigh.packing.pipeline import pack_pipeline
from aweigh.store import StoredPackage
from aweigh.verify import prove, prove_loaded


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A package that was made, and what that took beside the work itself."""

    package: StoredPackage
    environments: Mapping[str, float]
    """Seconds that finding each environment took, or making it."""


def pack_and_publish(
    settings: Settings, source: object, name: str, *, options: PackOptions, aliases: tuple[str, ...] = (), progress: Progress = quiet
) -> StoredPackage:
    """Pack `source` and publish it as the next version of `name`. Raises what packing and the store raise; on failure nothing is published."""
    return pack_and_tell(settings, source, name, options=options, aliases=aliases, progress=progress).package


def pack_and_tell(
    settings: Settings, source: object, name: str, *, options: PackOptions, aliases: tuple[str, ...] = (), progress: Progress = quiet
) -> Packing:
    """As `pack_and_publish`, and tell of the environments that were used."""
    checked: ModelName = model_name(name)
    named: list[Alias] = [alias_name(alias) for alias in aliases]
    store = open_store(settings)
    with tempfile.TemporaryDirectory(prefix="aweigh-pack-") as folder:
        request = _request(settings, options, progress, Path(folder).resolve())
        if is_address(source):
            fetched = fetch(settings, str(source), Path(folder).resolve() / "fetched", progress=progress)
            source, request = fetched.path, dataclasses.replace(request, origin=fetched.origin)
        found = read_definition(source)
        if found is None:
            draft = pack(source, request)
        else:
            file = Path(source) if isinstance(source, str | Path) else None
            draft = pack_pipeline(*found, request, store, prove_loaded, source=file)
        progress("publishing")
        package = store.publish(checked, draft)
    for alias in named:
        if package.reference.version is not None:
            store.set_alias(checked, alias, package.reference.version)
    return Packing(package=package, environments=request.environments.seconds if request.environments is not None else {})


def _request(settings: Settings, options: PackOptions, progress: Progress, work: Path) -> PackRequest:
    """A pack request with this installation's prover and caps."""
    caps = Caps(memory_bytes=settings.child_memory_bytes, timeout_s=settings.child_timeout_s)
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    environments = Environments(settings.environments_folder, allowed=not settings.no_isolate)
    return PackRequest(prove=prove, caps=caps, progress=progress, work=work, environments=environments, **given)

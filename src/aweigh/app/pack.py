"""Packing: a trained file or a live model becomes the next version of a name in the store, with its proof. Wires packing, verify and store."""

import dataclasses
import tempfile
from pathlib import Path

from aweigh.app.options import PackOptions
from aweigh.app.packages import open_store
from aweigh.core.names import Alias, ModelName, alias_name, model_name
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.isolate import Caps
from aweigh.packing import PackRequest, pack
from aweigh.store import StoredPackage
from aweigh.verify import prove


def pack_and_publish(
    settings: Settings, source: object, name: str, *, options: PackOptions, aliases: tuple[str, ...] = (), progress: Progress = quiet
) -> StoredPackage:
    """Pack `source` and publish it as the next version of `name`. Raises what packing and the store raise; on failure nothing is published."""
    checked: ModelName = model_name(name)
    named: list[Alias] = [alias_name(alias) for alias in aliases]
    store = open_store(settings)
    with tempfile.TemporaryDirectory(prefix="aweigh-pack-") as folder:
        draft = pack(source, _request(settings, options, progress, Path(folder).resolve()))
        progress("publishing")
        package = store.publish(checked, draft)
    for alias in named:
        if package.reference.version is not None:
            store.set_alias(checked, alias, package.reference.version)
    return package


def _request(settings: Settings, options: PackOptions, progress: Progress, work: Path) -> PackRequest:
    """A pack request with this installation's prover and caps."""
    caps = Caps(memory_bytes=settings.child_memory_bytes, timeout_s=settings.child_timeout_s)
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return PackRequest(prove=prove, caps=caps, progress=progress, work=work, **given)

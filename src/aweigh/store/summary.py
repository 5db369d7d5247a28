"""What a list of models shows of a version: annotations of its entry in the index, so that listing reads one file. Used by `store`; pure."""

import dataclasses

from aweigh.core.evidence import Strength
from aweigh.core.names import Alias, Digest, ModelName, Reference
from aweigh.core.oci import Descriptor
from aweigh.core.package import PackageManifest
from aweigh.store.index import ORIGIN, PACKED_AT, PARTS, RUNTIME, SIZE, TASK, VERDICT, Index
from aweigh.store.oci import OciManifest
from aweigh.store.parts import parts_text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """One line of the list of models. `verdict` is that of the first variant: proven, weak, failed or unproven."""

    name: ModelName
    version: int
    digest: Digest
    aliases: tuple[Alias, ...]
    size_bytes: int
    packed_at: str
    runtime: str
    task: str
    verdict: str
    origin: str = ""
    """Where an imported or pulled package came from; "" for one that was packed here."""

    @property
    def reference(self) -> Reference:
        return Reference(name=self.name, version=self.version)


def summary(manifest: PackageManifest, entry: Descriptor, oci: OciManifest, *, origin: str = "") -> dict[str, str]:
    """The annotations of a version's entry."""
    first = manifest.variants[0] if manifest.variants else None
    evidence = first.evidence if first else None
    verdict = "unproven"
    if evidence is not None:
        verdict = ("proven" if evidence.strength is Strength.FULL else "weak") if evidence.passed else "failed"
    told = {
        PACKED_AT: manifest.provenance.packed_at,
        RUNTIME: first.runtime if first else "",
        TASK: manifest.signature.task.value,
        VERDICT: verdict,
        SIZE: str(entry.size + oci.config.size + sum(layer.size for layer in oci.layers)),
    }
    told |= {PARTS: parts_text(manifest)} if manifest.parts else {}
    return {**told, ORIGIN: origin} if origin else told


def line(name: ModelName, version: int, descriptor: Descriptor, index: Index) -> StoredVersion:
    """A version as its entry tells it; annotations that another tool wrote are taken as they are."""
    told = descriptor.annotations
    size = told.get(SIZE, "")
    return StoredVersion(
        name=name,
        version=version,
        digest=descriptor.digest,
        aliases=tuple(sorted(alias for alias, number in index.names.get(name, {}).items() if number == version)),
        size_bytes=int(size) if size.isascii() and size.isdigit() else 0,
        packed_at=told.get(PACKED_AT, ""),
        runtime=told.get(RUNTIME, ""),
        task=told.get(TASK, ""),
        verdict=told.get(VERDICT, ""),
        origin=told.get(ORIGIN, ""),
    )

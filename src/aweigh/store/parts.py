"""The packages that a pipeline needs: found by digest, missed by name, and kept as long as it is there. Pure; used by `store`."""

from aweigh.core.errors import Conflict, ModelNotFound
from aweigh.core.names import ModelName, Reference
from aweigh.core.oci import Descriptor
from aweigh.core.package import PackageManifest, Part
from aweigh.store.index import PARTS, Index


def parts_text(manifest: PackageManifest) -> str:
    """The digests of a package's parts, as its entry in the index tells them."""
    return ",".join(sorted({part.digest for part in manifest.parts}))


def needed_by(descriptor: Descriptor) -> frozenset[str]:
    """The digests of the parts that an entry's package needs."""
    return frozenset(descriptor.annotations.get(PARTS, "").split(",")) - {""}


def find_part(index: Index, part: Part) -> tuple[Reference, Descriptor] | None:
    """The version that has the part's digest: under its own name and number if there, else under any."""
    mine = index.versions.get(ModelName(part.name), {}).get(part.version)
    if mine is not None and mine.digest == part.digest:
        return Reference(name=ModelName(part.name), version=part.version), mine
    return next(
        (
            (Reference(name=name, version=version), descriptor)
            for name, versions in sorted(index.versions.items())
            for version, descriptor in sorted(versions.items())
            if descriptor.digest == part.digest
        ),
        None,
    )


def missing_part(part: Part) -> ModelNotFound:
    """What is said of a part that is not in the store."""
    return ModelNotFound(
        f"it needs {part} ({part.digest[:19]}…), which the store does not have",
        hint=f"import or pull {part} first: the same package, not one packed anew",
        model=part.name,
    )


def check_parts(index: Index, manifest: PackageManifest, place: str) -> None:
    """Raise ModelNotFound, naming every part that is not there."""
    missing = [part for part in manifest.parts if find_part(index, part) is None]
    if missing:
        named = ", ".join(f"{part} ({part.digest[:19]}…)" for part in missing)
        raise ModelNotFound(
            f"{place} is a pipeline that needs {named}, which the store does not have",
            hint=f"import or pull {', '.join(map(str, missing))} first: the same packages, not ones packed anew; nothing was published",
        )


def check_not_needed(index: Index, reference: Reference, descriptor: Descriptor) -> None:
    """Raise Conflict, naming the pipelines, for a version that they cannot do without."""
    same = sum(other.digest == descriptor.digest for versions in index.versions.values() for other in versions.values())
    users = [
        f"'{name}:{version}'"
        for name, versions in sorted(index.versions.items())
        for version, other in sorted(versions.items())
        if descriptor.digest in needed_by(other)
    ]
    if users and same == 1:
        raise Conflict(
            f"{reference} is a step of pipeline {', '.join(users)}", hint="remove the pipeline first: it cannot be loaded without its parts"
        )

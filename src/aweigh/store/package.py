"""`StoredPackage`: a published package as the store hands it out. Used by whoever runs, shows, verifies or ships a package.

Opening one has read and checked its manifest; each file is checked when its path is first asked for.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec

from aweigh.core.errors import FileMissing, InvalidFile, InvalidName, NotTrusted, StoreUnavailable
from aweigh.core.names import Digest, Reference, digest_name, model_name, package_path
from aweigh.core.oci import Descriptor
from aweigh.core.package import MANIFEST_FILE, PackageFile, PackageManifest, Part, decode_manifest
from aweigh.store.blobs import Blobs
from aweigh.store.files import store_errors
from aweigh.store.index import UNTRIED
from aweigh.store.oci import OciManifest, check_layers, decode_oci_manifest, package_layer
from aweigh.store.views import Views


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredPackage:
    """A complete package on disk; implements `core.protocols.PackageHandle`. `reference` names the version that was found."""

    reference: Reference
    descriptor: Descriptor
    manifest: PackageManifest
    oci: OciManifest
    blobs: Blobs
    views: Views
    find: Callable[[Part], "StoredPackage"]
    """Opens a package of the same store by a part's digest."""
    untried: frozenset[str] = frozenset()
    """Variants that came from elsewhere and were not tried in a child here: their files are handed to nobody."""

    @property
    def digest(self) -> Digest:
        """The package's identity: the digest of its OCI manifest."""
        return self.descriptor.digest

    def path(self, file: str) -> Path:
        """The file of a package path, checked, with the files that belong to the same variant beside it under their own names.

        Raises FileMissing for a path that the package does not have, InvalidFile for a damaged file, StoreUnavailable, NotTrusted.
        """
        wanted = self._file(file)
        self._check_tried(file)
        siblings = self._siblings(file)
        for sibling in siblings:
            self.blobs.verify(sibling.digest, sibling.size_bytes, place=sibling.path)
        try:
            with store_errors(self.views.store, "make a view"):
                for sibling in siblings:
                    self.views.place(self.digest, sibling)
                return self.views.place(self.digest, wanted)
        except StoreUnavailable:
            if len(siblings) > 1 or file in self.manifest.hooks.files:
                raise
            # A store that cannot be written still serves a file that needs no others beside it: the blob itself.
            return self.blobs.verify(wanted.digest, wanted.size_bytes, place=file)

    def part(self, part: Part) -> "StoredPackage":
        """A package that this one, a pipeline, needs. Raises ModelNotFound, naming it, InvalidFile when it is damaged."""
        return self.find(part)

    def verify(self) -> None:
        """Check every blob of the package against its digest. Raises InvalidFile at the first that does not fit."""
        self.blobs.verify(self.oci.config.digest, self.oci.config.size, place="config")
        for file in self.manifest.files:
            self.blobs.verify(file.digest, file.size_bytes, place=file.path)

    @property
    def size_bytes(self) -> int:
        """All files of the package together."""
        return sum(file.size_bytes for file in self.manifest.files)

    def _check_tried(self, path: str) -> None:
        owners = {variant.name for variant in self.manifest.variants if path in variant.files}
        if owners and owners <= self.untried:
            raise NotTrusted(
                f"variant '{min(owners)}' of {self.reference} came from elsewhere and was not tried on this machine",
                hint="import or pull the package again: what its runtime needs is there now, so it is tried first",
            )

    def _file(self, path: str) -> PackageFile:
        found = next((file for file in self.manifest.files if file.path == path), None)
        if found is None:
            known = ", ".join(file.path for file in self.manifest.files[:10])
            raise FileMissing(f"{self.reference} holds no file {path!r}", hint=f"it holds {known or 'no files'}")
        return found

    def _siblings(self, path: str) -> list[PackageFile]:
        together = {other for variant in self.manifest.variants if path in variant.files for other in variant.files}
        return [file for file in self.manifest.files if file.path in together or file.path == path]


def open_package(
    reference: Reference, descriptor: Descriptor, blobs: Blobs, views: Views, find: Callable[[Part], StoredPackage]
) -> StoredPackage:
    """Read and check the package that a descriptor names. Raises InvalidFile for anything damaged, Unsupported for a newer format."""
    place = str(reference)
    try:
        oci = decode_oci_manifest(blobs.read(descriptor.digest, descriptor.size, place=place), place=place)
        document = package_layer(oci, place=place)
        inside = f"{place} {MANIFEST_FILE}"
        manifest = decode_manifest(blobs.read(document.digest, document.size, place=inside), place=inside)
        check_layers(oci, manifest, place=place)
        check_paths(manifest)
    except InvalidName as error:
        raise InvalidFile(f"{place}: {error.message}", hint="the package was not made by aweigh: do not use it") from error
    untried = frozenset(descriptor.annotations.get(UNTRIED, "").split(",")) - {""}
    if untried < {
        variant.name for variant in manifest.variants
    }:  # what others say of a variant is no reason to prefer it to one that was tried
        kept = tuple(msgspec.structs.replace(each, evidence=None) if each.name in untried else each for each in manifest.variants)
        manifest = msgspec.structs.replace(manifest, variants=kept)
    return StoredPackage(
        reference=reference, descriptor=descriptor, manifest=manifest, oci=oci, blobs=blobs, views=views, find=find, untried=untried
    )


def check_paths(manifest: PackageManifest) -> None:
    """Raise InvalidName unless the files have plain, distinct paths that fit beside each other, and every file referred to is there."""
    seen: dict[str, str] = {}
    for file in manifest.files:
        path = package_path(file.path)
        digest_name(file.digest)
        # Compared without case: two such files would be one file on some systems.
        if path.lower() in seen or path.lower() == MANIFEST_FILE:
            raise InvalidName(f"the package has {path!r} twice", hint="file paths must differ by more than upper and lower case")
        seen[path.lower()] = path
    for path in seen:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in seen:
                raise InvalidName(f"{seen[parent]!r} is both a file and a folder of the package")
            parent = parent.rpartition("/")[0]
    for part in manifest.parts:
        model_name(part.name)
        digest_name(part.digest)
    paths = set(seen.values())
    used = [path for variant in manifest.variants for path in variant.files]
    used += [case.file for case in manifest.cases] + list(manifest.hooks.files)
    missing = [path for path in used if path not in paths]
    if missing:
        raise InvalidName(f"the package refers to {missing[0]!r}, which is not among its files")

"""The store: packages on disk by name, version and alias. Used by `app`; implements `PackageSource` and `Publisher` of `core.protocols`.

Every change writes its blobs first and then replaces `index.json` under the lock: a version is absent or complete, whatever is killed when.
Reading takes no lock and creates nothing.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import Conflict, InvalidFile, InvalidInput, StoreUnavailable
from aweigh.core.names import Alias, Digest, ModelName, Reference
from aweigh.core.oci import MANIFEST_TYPE, Descriptor, encode
from aweigh.core.package import MANIFEST_FILE, PackageFile, PackageManifest, Part, decode_manifest, encode_manifest
from aweigh.core.protocols import Draft, Progress, quiet
from aweigh.store.blobs import Blobs
from aweigh.store.checkup import Checkup, check_store
from aweigh.store.collect import GRACE_S, Collected, collect, digests_of
from aweigh.store.files import Files, open_regular, store_errors
from aweigh.store.index import (
    EMPTY,
    INDEX_FILE,
    LAYOUT_BYTES,
    LAYOUT_FILE,
    PREVIOUS_FILE,
    UNTRIED,
    Index,
    check_layout,
    decode_index,
    encode_index,
)
from aweigh.store.intake import Offer, Terms, documents_of, read_offer
from aweigh.store.lock import exclusive_lock
from aweigh.store.oci import ARTIFACT_TYPE, CONFIG_TYPE, FILE_PATH, PACKAGE_TYPE, OciManifest, layers_of, model_config, oci_manifest
from aweigh.store.package import StoredPackage, check_paths, open_package
from aweigh.store.parts import check_not_needed, check_parts, find_part, missing_part
from aweigh.store.resolve import known_versions, one_version, resolve
from aweigh.store.summary import StoredVersion, line, summary
from aweigh.store.views import Views

_ADOPTIONS: Final = 5

Content = bytes | Path


class Store:
    """Packages in one folder. Cheap to make; opens nothing until asked."""

    def __init__(self, folder: Path, *, files: Files | None = None, lock_timeout_s: float = 30.0, quota_bytes: int = 0) -> None:
        self.folder = folder
        self._files = files or Files()
        self._lock_timeout_s = lock_timeout_s
        self._blobs = Blobs(folder, self._files, quota_bytes)
        self._views = Views(folder, self._files, self._blobs)

    def open(self, reference: Reference) -> StoredPackage:
        """Open a version: the one named, the alias's, or the newest. Raises ModelNotFound, naming what there is; InvalidFile when damaged."""
        index = self._read_index()
        version = resolve(index, reference)
        found = Reference(name=reference.name, version=version)
        return open_package(found, index.versions[reference.name][version], self._blobs, self._views, self.part)

    def part(self, part: Part) -> StoredPackage:
        """The package with a part's digest, under whatever name it is here. Raises ModelNotFound, naming it; InvalidFile when damaged."""
        found = find_part(self._read_index(), part)
        if found is None:
            raise missing_part(part)
        return open_package(*found, self._blobs, self._views, self.part)

    def list(self) -> list[StoredVersion]:
        """All versions, by name and number; reads the index alone."""
        index = self._read_index()
        return [
            line(name, version, descriptor, index)
            for name, mine in sorted(index.versions.items())
            for version, descriptor in sorted(mine.items())
        ]

    def publish(self, name: ModelName, draft: Draft, *, newest: int | None = None) -> StoredPackage:
        """Publish a draft as the next version of `name`, atomically. `newest` is the version that was the newest when the draft was begun, 0 where there was none.

        Raises InvalidInput for a draft that is not whole, InvalidFile for a file that changes meanwhile, Conflict where there is a newer version than `newest`,
        StoreUnavailable.
        """
        if draft.manifest.files:
            raise InvalidInput("a draft lists no files in its manifest: the store does", hint="put them into Draft.files")
        self._prepare()
        put: dict[Digest, tuple[int, Content]] = {}
        files = tuple(self._put_file(path, content, put) for path, content in sorted(draft.files.items()))
        manifest = msgspec.structs.replace(draft.manifest, files=files)
        check_paths(manifest)
        descriptor = self._put_documents(manifest, put)
        with self._changing() as (index, commit):
            there = max(index.versions.get(name, {}), default=0)
            if newest is not None and there > newest:
                raise Conflict(f"{name}:{there} was published meanwhile", hint=f"begin again with what '{name}' is now")
            # A collection may have run since: what it took is put back, now that it cannot run.
            for digest, (size, content) in put.items():
                if not self._blobs.holds(digest, size) and self._blobs.put(content)[0] != digest:
                    raise InvalidFile(f"{content!s} changed while it was being published", hint="nothing was published: do it again")
            with store_errors(self.folder, "write blobs"):
                self._files.sync_folder(self._blobs.folder)
            version = index.next_version(name)
            check_parts(index, manifest, f"{name}:{version}")
            commit(index.with_version(name, version, descriptor))
        return open_package(Reference(name=name, version=version), descriptor, self._blobs, self._views, self.part)

    def adopt(self, name: ModelName, offer: Offer, terms: Terms, *, progress: Progress = quiet) -> StoredPackage:
        """Publish a package from elsewhere as a version of `name`, atomically, with the digest it has there.

        A version that has that digest already is returned, mended where it was damaged. Raises InvalidFile for what is not what it
        claims to be, TooLarge, StoreUnavailable, and what `terms` and `offer.fetch` raise; nothing is published then.
        """
        descriptor, manifest = read_offer(offer)
        self._prepare()
        untried: str | None = None
        for _ in range(_ADOPTIONS):
            package = self._fetch(name, descriptor, manifest, offer, terms, progress=progress)
            if untried is None:
                untried = ",".join(terms.judge(package) or ())
            with self._changing() as (index, commit):
                if not all(self._blobs.holds(part.digest, part.size) for part in (descriptor, manifest.config, *manifest.layers)):
                    continue  # a collection took what was older than the grace period: it is fetched again
                with store_errors(self.folder, "write blobs"):
                    self._files.sync_folder(self._blobs.folder)
                version = index.version_of(name, descriptor.digest)
                if version is None:
                    version = index.version_for(name, offer.version)
                    told = summary(package.manifest, descriptor, manifest, origin=terms.origin) | ({UNTRIED: untried} if untried else {})
                    descriptor = msgspec.structs.replace(descriptor, annotations=told)
                    commit(index.with_version(name, version, descriptor))
                else:
                    known = index.versions[name][version]
                    told = {key: value for key, value in known.annotations.items() if key != UNTRIED}
                    descriptor = msgspec.structs.replace(
                        known, annotations=told | ({UNTRIED: untried} if untried and UNTRIED in known.annotations else {})
                    )
                    if descriptor != known:  # what could not be tried the first time was tried now
                        commit(index.with_version(name, version, descriptor))
            return open_package(Reference(name=name, version=version), descriptor, self._blobs, self._views, self.part)
        raise StoreUnavailable(f"the store {self.folder} loses blobs as fast as they come", hint="let 'aweigh collect' keep a grace period")

    def staged(self, name: ModelName, digest: Digest, size_bytes: int) -> StoredPackage:
        """A package whose blobs are there, whether it is published or not: for judging it in another process. Raises InvalidFile."""
        descriptor = Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=size_bytes)
        return open_package(Reference(name=name), descriptor, self._blobs, self._views, self.part)

    def check(self, *, repair: bool = False, progress: Progress = quiet) -> Checkup:
        """Read everything and tell what is damaged and what that affects; with `repair`, mend what can be mended without loss."""
        if not self.folder.exists():
            return Checkup(findings=(), versions=0, blobs=0, size_bytes=0)
        if not repair:
            return check_store(self._blobs, self._views, progress=progress)
        with exclusive_lock(self.folder, timeout_s=self._lock_timeout_s):
            return check_store(self._blobs, self._views, repair=True, progress=progress)

    def aliases(self, name: ModelName) -> dict[Alias, int]:
        """The aliases of a model and the versions they name. Raises ModelNotFound."""
        index = self._read_index()
        known_versions(index, name)
        return dict(sorted(index.names.get(name, {}).items()))

    def set_alias(self, name: ModelName, alias: Alias, version: int) -> None:
        """Let an alias name a version, whatever it named before. Raises ModelNotFound."""
        resolve(self._read_index(), Reference(name=name, version=version))
        with self._changing() as (index, commit):
            resolve(index, Reference(name=name, version=version))
            commit(index.with_aliases(name, {**index.names.get(name, {}), alias: version}))

    def remove_alias(self, name: ModelName, alias: Alias) -> None:
        """Remove an alias; the version stays. Raises ModelNotFound when there is none."""
        resolve(self._read_index(), Reference(name=name, alias=alias))
        with self._changing() as (index, commit):
            resolve(index, Reference(name=name, alias=alias))
            commit(index.with_aliases(name, {key: value for key, value in index.names[name].items() if key != alias}))

    def remove(self, reference: Reference, *, force: bool = False) -> Reference:
        """Remove a version and return which; its number is never used again and its blobs go at the next collection.

        Raises ModelNotFound; InvalidInput for a bare name of several versions; Conflict for a step of a pipeline, and for a version with
        aliases, unless `force`.
        """
        one_version(self._read_index(), reference)
        with self._changing() as (index, commit):
            version = one_version(index, reference)
            found = Reference(name=reference.name, version=version)
            aliases = [alias for alias, number in index.names.get(reference.name, {}).items() if number == version]
            if aliases and not force:
                named = ", ".join(f"'{reference.name}@{alias}'" for alias in sorted(aliases))
                raise Conflict(f"{found} is named by {named}", hint="move the alias first, or use --force to remove both")
            check_not_needed(index, found, index.versions[reference.name][version])
            self._start_grace(index.versions[reference.name][version])
            commit(index.without_version(reference.name, version))
        return found

    def check_removable(self, reference: Reference) -> None:
        """Raise Conflict, naming it, where a pipeline needs the version. Raises ModelNotFound."""
        index = self._read_index()
        version = resolve(index, reference)
        check_not_needed(index, reference, index.versions[reference.name][version])

    def collect(self, grace_s: float = GRACE_S) -> Collected:
        """Remove blobs and views that no version refers to and that are older than `grace_s`. Raises InvalidFile, having removed nothing,
        when a manifest cannot be read and so what it needs cannot be known."""
        if not self.folder.exists():
            return Collected(blobs=0, size_bytes=0, views=0, temporary=0)
        with self._changing() as (index, _), store_errors(self.folder, "collect garbage"):
            return collect(index, self._blobs, self._views, self._files, grace_s=grace_s)

    def _read_index(self) -> Index:
        path = self.folder / INDEX_FILE
        with store_errors(self.folder, "read the index"):
            try:
                with open_regular(path, place=INDEX_FILE) as handle, os.fdopen(handle, "rb", closefd=False) as stream:
                    data = stream.read()
            except FileNotFoundError:
                return EMPTY
        return decode_index(data, place=str(path))

    def _prepare(self) -> None:
        """Make the folders and the layout file of a new store."""
        with store_errors(self.folder, "make folders"):
            self._files.make_folder(self._blobs.folder)
            layout = self.folder / LAYOUT_FILE
            if layout.exists():
                check_layout(layout.read_bytes(), place=str(layout))
            else:
                self._files.replace(layout, LAYOUT_BYTES)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[Index, Callable[[Index], None]]]:
        """Hold the lock: yields the index as it is, and the function that replaces it."""
        with exclusive_lock(self.folder, timeout_s=self._lock_timeout_s):
            yield self._read_index(), self._commit

    def _commit(self, index: Index) -> None:
        path = self.folder / INDEX_FILE
        with store_errors(self.folder, "write the index"):
            if path.exists():
                self._files.replace(self.folder / PREVIOUS_FILE, path.read_bytes())
            self._files.replace(path, encode_index(index))

    def _fetch(
        self, name: ModelName, descriptor: Descriptor, manifest: OciManifest, offer: Offer, terms: Terms, *, progress: Progress
    ) -> StoredPackage:
        """Fetch what is not there: first what says what the package is, then, if that is permitted, its files."""
        receive = functools.partial(self._receive, offer=offer)
        if not self._blobs.keep(descriptor.digest, descriptor.size):
            self._blobs.receive(descriptor.digest, descriptor.size, iter((offer.manifest,)), place=offer.place)
        for part in documents_of(manifest):
            receive(part)
        package = open_package(Reference(name=name), descriptor, self._blobs, self._views, self.part)
        check_parts(self._read_index(), package.manifest, offer.place)
        terms.permit(package.manifest)
        wanted = {layer.digest: layer for layer in manifest.layers if not self._blobs.keep(layer.digest, layer.size)}
        total, done = sum(layer.size for layer in wanted.values()), 0
        with store_errors(self.folder, "make room"):
            self._blobs.check_room(total)
        for layer in wanted.values():
            receive(layer, told=functools.partial(_tell, progress, done, total))
            done += layer.size
        return package

    def _receive(self, part: Descriptor, *, offer: Offer, told: Callable[[int], None] | None = None) -> None:
        if self._blobs.keep(part.digest, part.size):
            return
        chunks = offer.fetch(part.digest, part.size)
        if told is not None:
            chunks = _counted(chunks, told)
        place = f"{offer.place} {part.annotations.get(FILE_PATH) or part.digest[:19] + '…'}"
        self._blobs.receive(part.digest, part.size, chunks, place=place)

    def _put_file(self, path: str, content: Content, put: dict[Digest, tuple[int, Content]]) -> PackageFile:
        digest, size = self._blobs.put(content)
        put[digest] = (size, content)
        return PackageFile(path=path, digest=digest, size_bytes=size)

    def _put_documents(self, manifest: PackageManifest, put: dict[Digest, tuple[int, Content]]) -> Descriptor:
        """Store `aweigh.json`, the config and the OCI manifest, and describe the whole for the index."""

        def document(data: bytes, media_type: str, annotations: dict[str, str]) -> Descriptor:
            file = self._put_file(media_type, data, put)
            return Descriptor(media_type=media_type, digest=file.digest, size=file.size_bytes, annotations=annotations)

        data = encode_manifest(manifest)
        decode_manifest(data)  # what cannot be read back (a figure that is no finite number, say) must not become a version
        layers = layers_of(manifest, document(data, PACKAGE_TYPE, {FILE_PATH: MANIFEST_FILE}))
        config = document(encode(model_config(manifest, layers)), CONFIG_TYPE, {})
        oci = oci_manifest(config, layers)
        entry = document(encode(oci), MANIFEST_TYPE, {})
        return msgspec.structs.replace(entry, artifact_type=ARTIFACT_TYPE, annotations=summary(manifest, entry, oci))

    def _start_grace(self, descriptor: Descriptor) -> None:
        """Count the grace period of a version's blobs from now: someone may have it open."""
        # A damaged version must be removable too.
        with contextlib.suppress(FileNotFoundError, InvalidFile), store_errors(self.folder, "remove a version"):
            for digest in digests_of(descriptor, self._blobs):
                self._files.touch(self._blobs.path(digest))


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("receiving", before + done, total)


def _counted(chunks: Iterator[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        done += len(chunk)
        told(done)
        yield chunk

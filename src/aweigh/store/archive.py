"""A package as one file: an OCI image layout in a plain tar, which `skopeo` reads as oci-archive. Used by `app` to export and import.

The same package under the same name gives the same bytes. What is read is believed only as far as digests go.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from aweigh.core.errors import AweighError, InvalidFile, StoreUnavailable
from aweigh.core.names import Digest, Reference, digest_name, parse_reference
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, REF_NAME, Descriptor, encode
from aweigh.core.protocols import Progress, quiet
from aweigh.store import tarfiles
from aweigh.store.files import CHUNK_BYTES, Files, open_regular
from aweigh.store.index import INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, check_layout
from aweigh.store.intake import MAX_MANIFEST_BYTES, Offer
from aweigh.store.oci import ARTIFACT_TYPE
from aweigh.store.package import StoredPackage
from aweigh.store.tarfiles import TarFile

_BLOB: Final = re.compile(r"blobs/sha256/[0-9a-f]{64}", re.ASCII)
_STRANGE: Final = "it is no package that 'aweigh export' wrote: do not use it"


class _Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = INDEX_TYPE


_DECODER: Final = msgspec.json.Decoder(_Index)


def export_archive(package: StoredPackage, path: Path, *, files: Files | None = None, progress: Progress = quiet) -> Digest:
    """Write the package to `path`, replacing what was there only when the new file is whole; the digest of the file.

    Raises InvalidFile for a damaged blob, StoreUnavailable when the file cannot be written.
    """
    writer = files or Files()
    path = path.absolute()
    try:
        written = writer.write(path.parent, _archive_bytes(package, progress), mode=0o644)
        writer.rename(written.temporary, path)
        writer.sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write {path}: {error.strerror or error}", hint="check folder, permissions and free space"
        ) from error
    return written.digest


def _archive_bytes(package: StoredPackage, progress: Progress) -> Iterator[bytes]:
    package.verify()
    entry = package.descriptor
    named = Descriptor(
        media_type=MANIFEST_TYPE,
        digest=entry.digest,
        size=entry.size,
        artifact_type=ARTIFACT_TYPE,
        annotations={REF_NAME: str(package.reference)},
    )
    for name, data in ((LAYOUT_FILE, LAYOUT_BYTES), (INDEX_FILE, encode(_Index(schema_version=2, manifests=(named,))))):
        yield tarfiles.header(name, len(data)) + data + tarfiles.padding(len(data))
    parts = {part.digest: part for part in (entry, package.oci.config, *package.oci.layers)}
    total, done = sum(part.size for part in parts.values()), 0
    for digest, part in parts.items():
        yield tarfiles.header(_member(digest), part.size)
        for chunk in _blob_bytes(package.blobs.verify(digest, part.size, place=digest), part.size):
            yield chunk
            done += len(chunk)
            progress("writing", done, total)
        yield tarfiles.padding(part.size)
    yield tarfiles.END


def _blob_bytes(path: Path, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    with open_regular(path, place=path.name) as handle:
        while left and (chunk := os.read(handle, min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise InvalidFile(f"{path} was cut while it was read", hint="'aweigh fsck' tells what is damaged")


class Archive:
    """An archive that is open for import; a context manager. Raises FileMissing, InvalidFile, TooLarge."""

    def __init__(self, path: Path) -> None:
        self._tar = TarFile(path)
        try:
            self._entry = self._read_index(path)
        except BaseException:
            self._tar.__exit__()
            raise
        self.reference = _reference(self._entry)
        """The name and version it was exported under, or None where it says nothing that could be one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.__exit__()

    def offer(self) -> Offer:
        """The package in it."""
        digest = self._entry.digest
        manifest = self._tar.read(_member(digest), limit=MAX_MANIFEST_BYTES)
        version = self.reference.version if self.reference else None
        return Offer(place=str(self._tar.path), digest=digest, manifest=manifest, fetch=self._fetch, version=version or 0)

    def _fetch(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        return self._tar.chunks(_member(digest))

    def _read_index(self, path: Path) -> Descriptor:
        for name in self._tar.entries:
            if name not in (LAYOUT_FILE, INDEX_FILE) and not _BLOB.fullmatch(name):
                raise InvalidFile(f"{path}: it holds {name[:120]!r}", hint=_STRANGE)
        check_layout(self._tar.read(LAYOUT_FILE, limit=MAX_MANIFEST_BYTES), place=f"{path} {LAYOUT_FILE}")
        try:
            index = _DECODER.decode(self._tar.read(INDEX_FILE, limit=MAX_MANIFEST_BYTES))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidFile(f"{path}: its {INDEX_FILE} is not an OCI index: {error}", hint=_STRANGE) from error
        if len({entry.digest for entry in index.manifests}) != 1:
            raise InvalidFile(f"{path}: it holds {len(index.manifests)} packages where one is expected", hint=_STRANGE)
        with contextlib.suppress(AweighError):
            digest_name(index.manifests[0].digest)
            return index.manifests[0]
        raise InvalidFile(f"{path}: its {INDEX_FILE} names no digest", hint=_STRANGE)


def _member(digest: Digest) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _reference(entry: Descriptor) -> Reference | None:
    with contextlib.suppress(AweighError):
        return parse_reference(entry.annotations.get(REF_NAME, ""))
    return None

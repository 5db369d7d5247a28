"""Garbage collection: removes blobs and views that no version refers to, and what killed processes left behind. Used by `Store.collect`.

Runs under the store's lock and spares whatever is younger than the grace period: another process may be about to refer to it.
"""

import dataclasses
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aweigh.core.names import Digest
from aweigh.core.oci import REF_NAME, Descriptor
from aweigh.store.blobs import Blobs
from aweigh.store.files import TEMPORARY_PREFIX, Files
from aweigh.store.index import Index
from aweigh.store.oci import decode_oci_manifest
from aweigh.store.views import Views

GRACE_S: Final = 3600.0
"""The usual grace period."""
_TEMPORARY_S: Final = 2 * GRACE_S
"""The least for temporary files, which a process that lives may be writing: more than a clock that is put forward by an hour takes away."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection removed."""

    blobs: int
    size_bytes: int
    views: int
    temporary: int


def digests_of(descriptor: Descriptor, blobs: Blobs) -> set[Digest]:
    """The blobs that a manifest keeps alive, itself among them. Raises InvalidFile when it cannot be read: nothing is collected then."""
    place = descriptor.annotations.get(REF_NAME, descriptor.digest)
    manifest = decode_oci_manifest(blobs.read(descriptor.digest, descriptor.size, place=place), place=place)
    return {descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}


def collect(index: Index, blobs: Blobs, views: Views, files: Files, *, grace_s: float) -> Collected:
    """Remove what is not referred to and older than the grace period. The caller holds the lock."""
    keep: set[str] = set()
    roots: set[str] = set()
    for descriptor in index.descriptors():
        roots.add(descriptor.digest.removeprefix("sha256:"))
        keep |= {digest.removeprefix("sha256:") for digest in digests_of(descriptor, blobs)}
    before = time.time() - grace_s
    removed, size = 0, 0
    for path in _old(blobs.folder, before):
        status = path.lstat()
        if path.name not in keep and not path.name.startswith(TEMPORARY_PREFIX) and stat.S_ISREG(status.st_mode):
            files.remove(path)
            removed, size = removed + 1, size + status.st_size
    temporary = sum(_collect_temporary(folder, files, grace_s) for folder in (blobs.store, blobs.folder))
    return Collected(blobs=removed, size_bytes=size, views=_collect_views(views, roots, before, files), temporary=temporary)


def _collect_temporary(folder: Path, files: Files, grace_s: float) -> int:
    left = [path for path in _old(folder, time.time() - max(grace_s, _TEMPORARY_S)) if path.name.startswith(TEMPORARY_PREFIX)]
    for path in left:
        files.remove(path)
    return len(left)


def _collect_views(views: Views, roots: set[str], before: float, files: Files) -> int:
    count = 0
    for path in _old(views.folder, before):
        if path.name not in roots and stat.S_ISDIR(path.lstat().st_mode):
            files.step("remove", path)
            shutil.rmtree(path, ignore_errors=True)
            count += 1
    return count


def _old(folder: Path, before: float) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        try:
            if path.lstat().st_mtime < before:
                yield path
        except FileNotFoundError:
            continue

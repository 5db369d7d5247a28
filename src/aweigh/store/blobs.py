"""Blobs: read-only files named by their SHA-256, shared between versions. Used by `store` and `views`.

A blob is checked against its name the first time this process reads it; one that does not fit is refused, never repaired by reading.
"""

import dataclasses
import hashlib
import os
import threading
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile
from aweigh.core.names import Digest, digest_name
from aweigh.store.files import Files, open_regular, store_errors

BLOB_MODE: Final = 0o444
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
_DAMAGED: Final = "the package is damaged: pack or pull it again"

# Which files were found whole, for all stores of this process: a file that changes has another modification time or size.
_verified: set[tuple[int, int, int, int, Digest]] = set()
_verified_lock: Final = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Blobs:
    """The folder `blobs/sha256` of one store."""

    store: Path
    files: Files

    @property
    def folder(self) -> Path:
        return self.store / "blobs" / "sha256"

    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self.folder / digest_name(digest).removeprefix("sha256:")

    def put(self, content: bytes | Path) -> tuple[Digest, int]:
        """Store content and return its digest and size. A whole blob of that digest is kept, a damaged one is replaced.

        The name is durable only after `files.sync_folder(folder)`, which the caller does once for many blobs.
        """
        with store_errors(self.store, "write a blob"):
            written = self.files.write(self.folder, content, mode=BLOB_MODE)
            path = self.path(written.digest)
            if self._keep(written.digest, written.size_bytes):
                self.files.discard(written.temporary)
            else:
                self.files.rename(written.temporary, path)
            _remember(path, written.digest)
        return written.digest, written.size_bytes

    def holds(self, digest: Digest, size_bytes: int) -> bool:
        """Whether a regular file of that name and size is there (its bytes are not read)."""
        try:
            with open_regular(self.path(digest), place="blob") as handle:
                return os.fstat(handle).st_size == size_bytes
        except (FileNotFoundError, InvalidFile):
            return False

    def verify(self, digest: Digest, size_bytes: int, *, place: str) -> Path:
        """The blob's path, once its size and digest are found right. Raises InvalidFile, naming `place`."""
        path = self.path(digest)
        with store_errors(self.store, "read a blob"):
            verify_file(path, digest, size_bytes, place=place)
        return path

    def read(self, digest: Digest, size_bytes: int, *, place: str) -> bytes:
        """A small blob's bytes, checked as they are read. Raises InvalidFile."""
        if size_bytes > MAX_DOCUMENT_BYTES:
            raise InvalidFile(f"{place}: {size_bytes} bytes is more than a document may have ({MAX_DOCUMENT_BYTES})", hint=_DAMAGED)
        path = self.path(digest)
        with store_errors(self.store, "read a blob"):
            try:
                with open_regular(path, place=place) as handle, os.fdopen(handle, "rb", closefd=False) as stream:
                    data = stream.read(size_bytes + 1)
            except FileNotFoundError as error:
                raise InvalidFile(f"{place}: blob {digest} is missing from the store", hint=_DAMAGED) from error
        if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != path.name:
            raise InvalidFile(f"{place}: blob {path} does not have the digest it is named by", hint=_DAMAGED)
        return data

    def _keep(self, digest: Digest, size_bytes: int) -> bool:
        """Whether a whole blob is there; its grace period starts again, so that a collection now under way leaves it."""
        try:
            verify_file(self.path(digest), digest, size_bytes, place="blob")
            self.files.touch(self.path(digest))
        except (InvalidFile, FileNotFoundError):
            return False
        return True


def verify_file(path: Path, digest: Digest, size_bytes: int, *, place: str) -> None:
    """Raise InvalidFile unless the file is regular and has that size and digest; a file found right once is not read again."""
    try:
        with open_regular(path, place=place) as handle:
            status = os.fstat(handle)
            if status.st_size != size_bytes:
                raise InvalidFile(f"{place}: {path} has {status.st_size} bytes where {size_bytes} were published", hint=_DAMAGED)
            key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, digest)
            if key in _verified:
                return
            with os.fdopen(handle, "rb", closefd=False) as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InvalidFile(f"{place}: blob {digest} is missing from the store", hint=_DAMAGED) from error
    if f"sha256:{found}" != digest:
        raise InvalidFile(f"{place}: {path} has digest sha256:{found[:12]}… where {digest[:19]}… was published", hint=_DAMAGED)
    with _verified_lock:
        _verified.add(key)


def _remember(path: Path, digest: Digest) -> None:
    try:
        status = path.stat(follow_symlinks=False)
    except FileNotFoundError:  # collected meanwhile: the check under the lock puts it back
        return
    with _verified_lock:
        _verified.add((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, digest))

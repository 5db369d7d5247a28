"""Blobs: read-only files named by their SHA-256, shared between versions. Used by `store` and `views`.

A blob is checked against its name the first time this process reads it; one that does not fit is refused, never repaired by reading.
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile, StoreUnavailable
from aweigh.core.names import Digest, digest_name
from aweigh.store.files import TEMPORARY_PREFIX, Files, Written, open_regular, store_errors

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
    quota_bytes: int = 0
    """Most bytes that all blobs together may take; 0 = as many as the disk holds."""

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
            if self.keep(written.digest, written.size_bytes):
                self.files.discard(written.temporary)
            else:
                self._name(written)
            _remember(path, written.digest)
        return written.digest, written.size_bytes

    def receive(self, digest: Digest, size_bytes: int, chunks: Iterator[bytes], *, place: str) -> None:
        """Store what comes from elsewhere under its digest, if that is what comes; never more than `size_bytes` of it.

        Raises InvalidFile when other bytes come, StoreUnavailable before the first when there is no room, and whatever `chunks` raises.
        """
        with store_errors(self.store, "write a blob"):
            self.check_room(size_bytes)
            written = self.files.write(self.folder, _at_most(size_bytes, chunks, place), mode=BLOB_MODE)
            if (written.digest, written.size_bytes) != (digest, size_bytes):
                self.files.discard(written.temporary)
                raise InvalidFile(
                    f"{place}: {written.size_bytes} bytes with digest {written.digest[:19]}… came where {size_bytes} with {digest[:19]}… should",
                    hint="it was damaged or changed on its way: nothing was published; try again, or ask who keeps it there",
                )
            self._name(written)
            _remember(self.path(digest), digest)

    def check_room(self, size_bytes: int) -> None:
        """Raise StoreUnavailable unless that many bytes more fit the quota and the disk."""
        free = shutil.disk_usage(self.folder).free
        if size_bytes > free:
            raise StoreUnavailable(
                f"the store {self.store} needs {size_bytes} bytes more, and its disk has {free}",
                hint="free space on that disk, or set AWEIGH_HOME to a folder on another; nothing was published",
            )
        self._check_quota(size_bytes)

    def _check_quota(self, size_bytes: int) -> None:
        if self.quota_bytes and (used := self.used_bytes()) + size_bytes > self.quota_bytes:
            raise StoreUnavailable(
                f"the store {self.store} holds {used} bytes of its quota of {self.quota_bytes}: {size_bytes} more do not fit",
                hint="remove versions, run 'aweigh collect', or raise store_quota_bytes; nothing was published",
            )

    def used_bytes(self) -> int:
        """What all blobs take, those that no version needs among them."""
        used = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if not entry.name.startswith(TEMPORARY_PREFIX):
                    with contextlib.suppress(FileNotFoundError):  # collected meanwhile
                        used += entry.stat(follow_symlinks=False).st_size
        return used

    def _name(self, written: Written) -> None:
        try:
            self._check_quota(written.size_bytes)  # the disk has it already
        except StoreUnavailable:
            self.files.discard(written.temporary)
            raise
        self.files.rename(written.temporary, self.path(written.digest))

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

    def keep(self, digest: Digest, size_bytes: int) -> bool:
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


def _at_most(size_bytes: int, chunks: Iterator[bytes], place: str) -> Iterator[bytes]:
    """The chunks, and InvalidFile as soon as they are more than was said: a peer must not fill the disk."""
    left = size_bytes
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise InvalidFile(f"{place}: more than the {size_bytes} bytes that were announced", hint="nothing was published")
        yield chunk


def _remember(path: Path, digest: Digest) -> None:
    try:
        status = path.stat(follow_symlinks=False)
    except FileNotFoundError:  # collected meanwhile: the check under the lock puts it back
        return
    with _verified_lock:
        _verified.add((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, digest))

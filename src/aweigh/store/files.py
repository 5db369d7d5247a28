"""The file system as the store uses it: every file appears by rename, complete and synced, or not at all.

Used by the rest of `store`. `Files.step` is called before each step that changes the disk, so a test can stop the process at any of them.
Must never write in place and never follow a symbolic link at the end of a path.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NewType

from aweigh.core.errors import FileMissing, InvalidFile, StoreUnavailable
from aweigh.core.names import Digest

CHUNK_BYTES: Final = 4 * 1024 * 1024
TEMPORARY_PREFIX: Final = ".tmp-"
Temporary = NewType("Temporary", Path)
"""A complete, synced file that no one can see under its own name yet."""
Source = bytes | Path | Iterator[bytes]
"""What a file is written from; chunks may raise AweighError, nothing else."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
_NOT_A_FOLDER: Final = frozenset({errno.ENOTDIR, errno.EEXIST})


def no_step(step: str, path: Path) -> None:
    """The `step` of ordinary work: nothing happens between two steps."""


@contextlib.contextmanager
def store_errors(folder: Path, doing: str) -> Iterator[None]:
    """Map what the operating system refuses while `doing` something in the store's folder to StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"cannot {doing} in the store {folder}: {error.strerror or error}", hint=_hint(error), folder=folder
        ) from error


def _hint(error: OSError) -> str:
    if error.errno in _FULL:
        return "free space on that disk, or set AWEIGH_HOME to a folder on another; nothing was changed"
    if error.errno == errno.EROFS:
        return "the file system is read-only: set AWEIGH_HOME to a folder that can be written"
    if error.errno in _DENIED:
        return "check the folder's owner and permissions, or set AWEIGH_HOME to a folder of your own"
    if error.errno in _NOT_A_FOLDER:
        return "a file is where the store's folder should be: set AWEIGH_HOME to a folder"
    return "check the disk and AWEIGH_HOME"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a temporary file holds."""

    temporary: Temporary
    digest: Digest
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """The steps that change the disk. `step(name, path)` is called before each; what it raises, or a kill inside it, is a fault there."""

    step: Callable[[str, Path], None] = no_step

    def make_folder(self, folder: Path) -> None:
        """Make the folder and its parents, each one durable in its parent."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self.make_folder(folder.parent)
        self.step("make_folder", folder)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)

    def write(self, folder: Path, content: Source, *, mode: int) -> Written:
        """Write `content` (bytes, a regular file to copy, or chunks) to a synced temporary file in `folder`, hashed on the way."""
        temporary = Temporary(folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")
        digest, size = hashlib.sha256(), 0
        try:
            self.step("open", temporary)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(temporary, flags, 0o600), "wb", buffering=0) as stream:
                for chunk in _chunks(content):
                    self.step("write", temporary)
                    _write_all(stream.fileno(), chunk)
                    digest.update(chunk)
                    size += len(chunk)
                os.fchmod(stream.fileno(), mode)
                self.step("sync", temporary)
                os.fsync(stream.fileno())
        except BaseException:  # an interrupt too: outside of the store nothing else would take it away
            self.discard(temporary)
            raise
        return Written(temporary=temporary, digest=Digest(f"sha256:{digest.hexdigest()}"), size_bytes=size)

    def rename(self, temporary: Temporary, path: Path) -> None:
        """Give a temporary file its name, replacing what was there."""
        try:
            self.step("rename", path)
            temporary.replace(path)
        except BaseException:
            self.discard(temporary)
            raise

    def replace(self, path: Path, content: bytes, *, mode: int = 0o644) -> None:
        """Replace one file as a whole, durably."""
        self.rename(self.write(path.parent, content, mode=mode).temporary, path)
        self.sync_folder(path.parent)

    def link(self, source: Path, path: Path) -> None:
        """Let `path` name the same file as `source`, replacing what was there; raises OSError where hard links cannot be made."""
        temporary = Temporary(path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")
        self.step("link", path)
        os.link(source, temporary, follow_symlinks=False)
        self.rename(temporary, path)
        # Renaming one name of a file over another name of the same file does nothing and leaves both.
        self.discard(temporary)

    def touch(self, path: Path) -> None:
        """Set the file's times to now: its grace period starts again."""
        self.step("touch", path)
        os.utime(path, follow_symlinks=False)

    def remove(self, path: Path) -> None:
        """Remove one file; it may be gone already."""
        self.step("remove", path)
        path.unlink(missing_ok=True)

    def discard(self, temporary: Temporary) -> None:
        """Remove a temporary file as well as can be; collection removes what is left."""
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        self.step("sync_folder", folder)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def open_regular(path: Path, *, place: str) -> Iterator[int]:
    """Open a regular file for reading, by descriptor. Raises InvalidFile for a link, device or pipe; FileNotFoundError passes through."""
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InvalidFile(f"{place}: {path} is not a regular file", hint="links, devices and pipes are refused") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidFile(f"{place}: {path} is not a regular file", hint="links, devices and pipes are refused")
        yield handle
    finally:
        os.close(handle)


def _chunks(content: Source) -> Iterator[memoryview | bytes]:
    if isinstance(content, bytes):
        yield from (memoryview(content)[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES))
        return
    if not isinstance(content, Path):
        yield from content
        return
    try:
        with open_regular(content, place=content.name) as handle:
            while chunk := os.read(handle, CHUNK_BYTES):
                yield chunk
    except FileNotFoundError as error:
        raise FileMissing(f"{content} does not exist", hint="the file to publish went away while it was being packed") from error


def _write_all(handle: int, chunk: memoryview | bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(handle, left) :]

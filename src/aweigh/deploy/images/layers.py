"""Layers: files as a compressed archive whose bytes depend on nothing but the files. Used by `build`; knows no image.

Owner, order, times and modes are fixed; gzip's header holds no clock. What was compressed once is kept by a key that names its content.
"""

import dataclasses
import hashlib
import io
import os
import stat
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.core.names import Digest
from aweigh.core.whole import whole

LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL: Final = 6
_CHUNK_BYTES: Final = 1024 * 1024
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""gzip: deflate, no name, no time, no operating system."""
FORMAT: Final = "2"
"""Part of every key: raised whenever the same files would give other bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A second name of a file that is in the same layer."""

    to: str


Content = bytes | Path | Link
Files = Mapping[str, Content]
"""Content by path in the image, without a leading '/'."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A compressed layer on disk."""

    path: Path
    digest: Digest
    diff_id: Digest
    size_bytes: int
    media_type: str = LAYER_TYPE
    created_by: str = ""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    diff_id: Digest
    size_bytes: int


class Layers:
    """Makes layers in a cache folder."""

    def __init__(self, cache: Path, *, epoch: int = 0) -> None:
        self._folder = cache / "layers"
        self._blobs = cache / "blobs"
        self._epoch = epoch

    def make(self, key: str, files: Callable[[], Files], *, created_by: str, folders: Iterable[str] = ()) -> Layer:
        """The layer of these files; `key` says what they are, and whoever made it before above the same `folders`, those below, made the same."""
        below = frozenset(folders)
        words = (FORMAT, str(self._epoch), zlib.ZLIB_RUNTIME_VERSION, key, *sorted(below))
        named = hashlib.sha256("\0".join(words).encode(errors="surrogateescape")).hexdigest()
        note = self._folder / f"{named}.json"
        found = self._read(note)
        if found is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._blobs.mkdir(parents=True, exist_ok=True)
            found = self._write(files(), below)
            with whole(note) as stream:
                stream.write(msgspec.json.encode(found))
        return Layer(
            path=self.blob(found.digest),
            digest=found.digest,
            diff_id=found.diff_id,
            size_bytes=found.size_bytes,
            created_by=created_by,
        )

    def blob(self, digest: Digest) -> Path:
        """Where a blob of that digest lies, if it is there."""
        return self._blobs / digest.removeprefix("sha256:")

    def _read(self, note: Path) -> _Kept | None:
        try:
            found = msgspec.json.decode(note.read_bytes(), type=_Kept)
            blob = self.blob(found.digest)
            return found if blob.stat().st_size == found.size_bytes and _digest(blob) == found.digest else None
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, files: Files, below: frozenset[str]) -> _Kept:
        handle, name = tempfile.mkstemp(dir=self._blobs, prefix=".making-")
        try:
            with os.fdopen(handle, "wb") as stream:
                gzip = _Gzip(stream)
                with tarfile.open(fileobj=gzip, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # anything with write() does
                    _fill(archive, files, below, self._epoch)
                found = gzip.close()
            Path(name).chmod(0o644)
            Path(name).replace(self.blob(found.digest))
        finally:
            Path(name).unlink(missing_ok=True)
        return found


class _Gzip:
    """Compresses what is written to it, and takes both digests on the way."""

    def __init__(self, stream: io.BufferedWriter) -> None:
        self._stream = stream
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._checksum = 0
        self._length = 0
        self._size_bytes = 0
        self._put(_HEADER)

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._checksum = zlib.crc32(data, self._checksum)
        self._length += len(data)
        self._put(self._deflate.compress(data))
        return len(data)

    def close(self) -> _Kept:
        self._put(self._deflate.flush() + struct.pack("<II", self._checksum, self._length & 0xFFFFFFFF))
        return _Kept(
            digest=Digest(f"sha256:{self._packed.hexdigest()}"),
            diff_id=Digest(f"sha256:{self._plain.hexdigest()}"),
            size_bytes=self._size_bytes,
        )

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._packed.update(data)
        self._size_bytes += len(data)


def _fill(archive: tarfile.TarFile, files: Files, below: frozenset[str], epoch: int) -> None:
    """Add folders that are not there yet, files, then links, each in the order of paths."""
    for path in files:
        _check(path)
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."} - below
    for folder in sorted(folders):
        archive.addfile(_entry(folder + "/", tarfile.DIRTYPE, 0o755, epoch))
    links = []
    for path, content in sorted(files.items(), key=lambda item: item[0]):
        if isinstance(content, Link):
            links.append((path, content))
        else:
            _add(archive, path, content, epoch)
    for path, link in links:
        entry = _entry(path, tarfile.LNKTYPE, 0o644, epoch)
        entry.linkname = link.to
        archive.addfile(entry)


def _add(archive: tarfile.TarFile, path: str, content: bytes | Path, epoch: int) -> None:
    entry = _entry(path, tarfile.REGTYPE, 0o755 if path.endswith((".so", ".sh")) or ".so." in path else 0o644, epoch)
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    with open_plain(content) as stream:
        entry.size = os.fstat(stream.fileno()).st_size
        archive.addfile(entry, stream)


def open_plain(path: Path) -> io.BufferedReader:
    """Open a regular file. Raises InvalidInput for a symbolic link, which could lead anywhere, and whatever else is no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be used: {error.strerror}", hint="links are not followed: give the file itself") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidInput(f"{path} cannot be used: it is no regular file")
    return os.fdopen(handle, "rb")


def _entry(path: str, kind: bytes, mode: int, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.mtime = kind, mode, epoch
    return entry


def _check(path: str) -> None:
    parts = PurePosixPath(path)
    plain = path and str(parts) == path and not parts.is_absolute() and ".." not in parts.parts
    if not plain or any(ord(character) < 32 for character in path) or "\\" in path or parts.name.startswith(".wh."):
        raise InvalidInput(
            f"{path[:120]!r} is no path in an image", hint="it is relative, in its shortest form, without control characters"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()

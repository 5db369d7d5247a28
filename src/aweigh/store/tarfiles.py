"""Plain tar, strictly: regular files and folders under expected names, in bounded number, nothing else. Used by `archive`.

The standard library's reader follows links, long names and sparse maps, and has had holes in all of them; this one refuses whatever an archive
of a package does not need. It reads by offset and never writes.
"""

import dataclasses
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from aweigh.core.errors import FileMissing, InvalidFile, TooLarge

BLOCK: Final = 512
MAX_ENTRIES: Final = 20_000
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_MAX_SIZE: Final = 2**53
_REGULAR: Final = (b"0", b"\0")
_FOLDER: Final = b"5"
_KINDS: Final = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe", b"7": "a contiguous file",
    b"L": "a long name", b"K": "a long link name", b"S": "a sparse file", b"x": "an extended header", b"g": "an extended header",
}  # fmt: skip
_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstandard", b"PK": "zip"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a file's bytes lie in the archive."""

    offset: int
    size_bytes: int


def header(name: str, size_bytes: int) -> bytes:
    """The header of a regular file: the same name and size give the same bytes, whoever writes them when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size_bytes, 0o644, 0
    return info.tobuf(format=tarfile.GNU_FORMAT)


def padding(size_bytes: int) -> bytes:
    """What fills a file's last block."""
    return b"\0" * (-size_bytes % BLOCK)


END: Final = b"\0" * (2 * BLOCK)


class TarFile:
    """An open archive; a context manager. `entries` maps names to regular files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise FileMissing(f"there is no file {path}", hint="check the path") from error
        except OSError as error:
            raise InvalidFile(f"{path} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(self._handle)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidFile(f"{path} is not a regular file", hint="name the archive itself")
            self._end = status.st_size
            self.entries = self._scan()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, in order. Raises InvalidFile when there is no such file, or the archive was cut meanwhile."""
        entry = self._entry(name)
        at, end = entry.offset, entry.offset + entry.size_bytes
        while at < end:
            chunk = os.pread(self._handle, min(_CHUNK_BYTES, end - at), at)
            if not chunk:
                raise InvalidFile(f"{self.path}: it ends inside {name!r}", hint="the archive is truncated: copy it again")
            at += len(chunk)
            yield chunk

    def read(self, name: str, *, limit: int) -> bytes:
        """A small file as a whole. Raises TooLarge, InvalidFile."""
        entry = self._entry(name)
        if entry.size_bytes > limit:
            raise TooLarge(f"{self.path}: {name!r} has {entry.size_bytes} bytes, of {limit} that are allowed")
        return b"".join(self.chunks(name))

    def _entry(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            raise InvalidFile(f"{self.path}: it holds no {name!r}", hint="the archive is not whole: export it again")
        return entry

    def _scan(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        at = 0
        for _ in range(MAX_ENTRIES + 1):
            block = os.pread(self._handle, BLOCK, at)
            if len(block) < BLOCK:
                raise InvalidFile(
                    f"{self.path}: it ends at byte {at} without an end mark", hint=_hint(os.pread(self._handle, 2, 0), "truncated")
                )
            if not any(block):
                return found
            name, kind, size = self._header(block, at)
            at += BLOCK
            if kind == _FOLDER:
                continue
            if name in found:
                raise InvalidFile(f"{self.path}: it holds {name!r} twice", hint="the archive was not made by aweigh: do not use it")
            if size > self._end - at:
                raise InvalidFile(f"{self.path}: {name!r} is said to have {size} bytes, more than follow", hint="the archive is truncated")
            found[name] = Entry(offset=at, size_bytes=size)
            at += size + -size % BLOCK
        raise TooLarge(f"{self.path}: more than {MAX_ENTRIES} entries", hint="the archive was not made by aweigh: do not use it")

    def _header(self, block: bytes, at: int) -> tuple[str, bytes, int]:
        """Name, type and size of one entry, whose header must be sound."""
        place = f"{self.path}: byte {at}"
        summed = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        if _octal(block[148:156]) != summed:
            raise InvalidFile(f"{place}: no header of a tar archive", hint=_hint(block[:2], "damaged"))
        kind = block[156:157]
        if kind not in (*_REGULAR, _FOLDER):
            raise InvalidFile(
                f"{place}: the archive holds {_KINDS.get(kind, f'an entry of type {kind!r}')}",
                hint="only regular files and folders are taken",
            )
        prefix, name = block[345:500] if block[257:263] == b"ustar\0" else b"", block[:100]
        try:
            full = "/".join(part.rstrip(b"\0").decode("ascii") for part in (prefix, name) if part.rstrip(b"\0"))
        except UnicodeDecodeError as error:
            raise InvalidFile(f"{place}: a name that is not ASCII", hint="the archive was not made by aweigh: do not use it") from error
        size = _size(block[124:136])
        if size is None or size > _MAX_SIZE or (kind == _FOLDER and size):
            raise InvalidFile(f"{place}: a size that is none", hint="the archive is damaged")
        return full.removeprefix("./"), kind, size


def _octal(field: bytes) -> int | None:
    text = field.strip(b" \0")
    return int(text, 8) if text and all(byte in b"01234567" for byte in text) else None


def _size(field: bytes) -> int | None:
    """Octal, or GNU's form for eight gigabytes and more."""
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)


def _hint(magic: bytes, otherwise: str) -> str:
    packer = _COMPRESSED.get(magic)
    return f"it is compressed with {packer}: unpack it first" if packer else f"the archive is {otherwise}, or no tar file at all"

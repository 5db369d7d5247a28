"""Pointers of Git LFS in a checkout: finding them, and putting the files in their place, held to their digests. Called by `git` and `lfs`."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from aweigh.core.errors import AweighError, InvalidFile, NotFound
from aweigh.sources.terms import Terms

_MARK: Final = b"version https://git-lfs.github.com/spec/v1\n"
_MAX_BYTES: Final = 1024
_FACTS: Final = re.compile(rb"^oid sha256:([0-9a-f]{64})$.*^size ([0-9]{1,15})$", re.MULTILINE | re.DOTALL)
_CHUNK_BYTES: Final = 1024 * 1024
Missing = dict[Path, AweighError]
"""Pointers whose files are nowhere, and why."""


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """A small text in place of a file."""

    place: Path
    digest: str
    size_bytes: int

    @property
    def part(self) -> Path:
        """Where the file is written before it is known to be the right one."""
        return self.place.with_name(f".{self.digest}.lfs")

    def fill(self, digest: str) -> None:
        """Put what was written to `part` in the pointer's place. Raises InvalidFile for another file."""
        if digest != self.digest or self.part.stat().st_size != self.size_bytes:
            self.part.unlink()
            raise InvalidFile(
                f"{self.place.name}: Git LFS gave a file of the digest sha256:{digest}, and not sha256:{self.digest}",
                hint="do not trust where it came from",
            )
        self.part.replace(self.place)


def find_pointers(place: Path) -> list[Pointer]:
    """Those at or below a place."""
    return list(_found(place))


def _found(place: Path) -> Iterator[Pointer]:
    files = [place] if not place.is_dir() else [Path(folder) / name for folder, _, names in os.walk(place) for name in sorted(names)]
    for file in files:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            continue
        data = file.read_bytes()
        facts = _FACTS.search(data) if data.startswith(_MARK) else None
        if facts is not None:
            yield Pointer(place=file, digest=facts[1].decode(), size_bytes=int(facts[2]))


def copy_files(pointers: Sequence[Pointer], url: str, _: Terms) -> Missing:
    """From where a repository of this machine, `file://…`, keeps them. Raises InvalidFile."""
    repository, missing = Path(unquote(urlsplit(url).path)), Missing()
    for pointer in pointers:
        within = Path("lfs", "objects", pointer.digest[:2], pointer.digest[2:4], pointer.digest)
        kept = next((each for each in (repository / ".git" / within, repository / within) if each.is_file()), None)
        if kept is None:
            missing[pointer.place] = NotFound(
                f"{pointer.place.name} lies in Git LFS, and the repository {repository} does not have it", hint="run 'git lfs fetch' there"
            )
        else:
            _copy(kept, pointer)
    return missing


def _copy(kept: Path, pointer: Pointer) -> None:
    digest = hashlib.sha256()
    with kept.open("rb") as source, pointer.part.open("xb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    pointer.fill(digest.hexdigest())

"""Reads a whole store and tells what is damaged and what that affects; mends what can be mended without loss. Used by `Store.check`.

Mending never removes a version, an alias that names one, or a blob that a version needs: those come back by packing, importing or pulling.
"""

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aweigh.core.errors import AweighError, InvalidFile
from aweigh.core.names import ModelName, Reference
from aweigh.core.oci import Descriptor
from aweigh.core.package import Part
from aweigh.core.protocols import Progress, quiet
from aweigh.store.blobs import Blobs, verify_file
from aweigh.store.files import TEMPORARY_PREFIX, open_regular, store_errors
from aweigh.store.index import (
    EMPTY,
    INDEX_FILE,
    LAYOUT_BYTES,
    LAYOUT_FILE,
    PREVIOUS_FILE,
    Index,
    check_layout,
    decode_index,
    encode_index,
    unused_names,
)
from aweigh.store.package import StoredPackage, open_package
from aweigh.store.parts import find_part, missing_part
from aweigh.store.views import Views

_BLOB_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AGAIN: Final = "pack, import or pull it again, or remove it with --force"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is damaged."""

    what: str
    """layout, index, alias, version, blob or view."""
    place: str
    problem: str
    affects: tuple[str, ...] = ()
    """Versions and aliases that cannot be used, or not wholly."""
    hint: str = ""
    mended: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What was read, and what is wrong with it."""

    findings: tuple[Finding, ...]
    versions: int
    blobs: int
    size_bytes: int

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged, or no more."""
        return all(finding.mended for finding in self.findings)


def check_store(blobs: Blobs, views: Views, *, repair: bool = False, progress: Progress = quiet) -> Checkup:
    """Check everything. With `repair` the caller holds the lock."""
    with store_errors(blobs.store, "check it"):
        return _Check(blobs, views, repair, progress).run()


def _elsewhere(part: Part) -> StoredPackage:
    raise missing_part(part)  # a checkup opens every version by itself


class _Check:
    """One walk through a store."""

    def __init__(self, blobs: Blobs, views: Views, repair: bool, progress: Progress) -> None:
        self._blobs = blobs
        self._views = views
        self._repair = repair
        self._progress = progress
        self._findings: list[Finding] = []
        self._bad: dict[str, str] = {}
        """Blob file name -> what is wrong with it."""
        self._needs_known = True
        """Whether every version could be opened, so that a blob that none of them lists is needed by none."""

    def run(self) -> Checkup:
        self._layout()
        index = self._index()
        count, size = self._read_blobs()
        packages = self._versions(index) if index else {}
        self._loose_blobs(known=index is not None and self._needs_known)
        self._check_views(packages)
        versions = sum(map(len, index.versions.values())) if index else 0
        return Checkup(findings=tuple(self._findings), versions=versions, blobs=count, size_bytes=size)

    def _layout(self) -> None:
        path = self._blobs.store / LAYOUT_FILE
        try:
            check_layout(_read(path), place=str(path))
        except (FileNotFoundError, InvalidFile) as error:
            if self._repair:
                self._blobs.files.replace(path, LAYOUT_BYTES)
            self._found("layout", path, _said(error), hint="'aweigh fsck --repair' writes it again", mended=self._repair)
        except AweighError as error:
            self._found("layout", path, error.message, hint=error.hint)

    def _index(self) -> Index | None:
        """The index; None when neither it nor the copy of the one before can be read."""
        path, previous = self._blobs.store / INDEX_FILE, self._blobs.store / PREVIOUS_FILE
        try:
            data = _read(path)
            index = decode_index(data, place=str(path))
        except (FileNotFoundError, InvalidFile) as error:
            if isinstance(error, FileNotFoundError) and not previous.exists():
                return EMPTY
            return self._index_again(path, previous, _said(error))
        if unused := unused_names(data):
            if self._repair:
                self._blobs.files.replace(path, encode_index(index))
            for name in unused:
                self._found("alias", name, "names no version", hint="'aweigh fsck --repair' takes it out", mended=self._repair)
        return index

    def _index_again(self, path: Path, previous: Path, problem: str) -> Index | None:
        try:
            data = _read(previous)
            index = decode_index(data, place=str(previous))
        except (FileNotFoundError, InvalidFile):
            self._found(
                "index", path, f"{problem}; the copy of the one before cannot be read either", hint="restore index.json from a backup"
            )
            return None
        if self._repair:
            self._blobs.files.replace(path, data)
        hint = f"'aweigh fsck --repair' puts {previous.name} in its place, which lacks the last change"
        self._found("index", path, problem, hint=hint, mended=self._repair)
        return index

    def _read_blobs(self) -> tuple[int, int]:
        paths = [path for path in _entries(self._blobs.folder) if not path.name.startswith(TEMPORARY_PREFIX)]
        size = 0
        for at, path in enumerate(paths):
            self._progress("reading blobs", at, len(paths))
            try:
                size += self._read_blob(path)
            except FileNotFoundError:
                continue  # collected meanwhile; whoever needs it misses it below
        return len(paths), size

    def _read_blob(self, path: Path) -> int:
        """The blob's size; its bytes are read whatever was read before."""
        if not _BLOB_NAME.fullmatch(path.name):
            self._bad[path.name] = "is no name of a blob"
            return 0
        try:
            with open_regular(path, place="blob") as handle, os.fdopen(handle, "rb", closefd=False) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != path.name:
                    self._bad[path.name] = "does not have the digest it is named by"
                return os.fstat(handle).st_size
        except InvalidFile as error:
            self._bad[path.name] = error.message
            return 0

    def _versions(self, index: Index) -> dict[str, StoredPackage]:
        """Check every version; those that can be opened, by digest."""
        packages: dict[str, StoredPackage] = {}
        wrong: dict[str, tuple[str, list[str]]] = {}
        for name, mine in index.versions.items():
            for number, descriptor in mine.items():
                names = _names(index, name, number)
                package = self._open(Reference(name=name, version=number), descriptor, names)
                if package:
                    packages[descriptor.digest] = package
                    for missing in [each for each in package.manifest.parts if find_part(index, each) is None]:
                        said = missing_part(missing)
                        self._found("version", str(package.reference), said.message, affects=tuple(names), hint=said.hint)
                    for part in (descriptor, package.oci.config, *package.oci.layers):
                        if problem := self._problem(part):
                            wrong.setdefault(part.digest, (problem, []))[1].extend(names)
        for digest, (problem, affected) in wrong.items():
            self._found("blob", digest, problem, affects=tuple(dict.fromkeys(affected)), hint=_AGAIN)
            self._bad.pop(digest.removeprefix("sha256:"), None)
        return packages

    def _open(self, reference: Reference, descriptor: Descriptor, names: list[str]) -> StoredPackage | None:
        try:
            return open_package(reference, descriptor, self._blobs, self._views, _elsewhere)
        except AweighError as error:
            self._found("version", str(reference), error.message, affects=tuple(names), hint=_AGAIN)
            self._needs_known = False
            return None

    def _problem(self, part: Descriptor) -> str:
        path = self._blobs.path(part.digest)
        if problem := self._bad.get(path.name):
            return problem
        if not path.exists():
            return "is missing"
        size = path.stat().st_size
        return f"has {size} bytes where {part.size} were published" if size != part.size else ""

    def _loose_blobs(self, *, known: bool) -> None:
        """Damaged files among the blobs that no version needs."""
        for name, problem in self._bad.items():
            path = self._blobs.folder / name
            mended = self._repair and known and not path.is_dir()
            if mended:
                self._blobs.files.remove(path)
            hint = "no version needs it: 'aweigh fsck --repair' removes it" if known else "a version that cannot be opened may need it"
            self._found("blob", path, problem, hint=hint, mended=mended)

    def _check_views(self, packages: dict[str, StoredPackage]) -> None:
        for folder in _entries(self._views.folder):
            package = packages.get(f"sha256:{folder.name}")
            if package is None:
                continue  # of a removed version: collection's business
            for path in _files(folder):
                problem = self._view_problem(path, path.relative_to(folder).as_posix(), package)
                if problem:
                    if self._repair:
                        shutil.rmtree(folder, ignore_errors=True)
                    hint = "views are made again when needed: 'aweigh fsck --repair' removes it"
                    self._found("view", path, problem, hint=hint, mended=self._repair)
                    break

    def _view_problem(self, path: Path, inside: str, package: StoredPackage) -> str:
        file = next((file for file in package.manifest.files if file.path == inside), None)
        if file is None:
            return "" if path.name.startswith(TEMPORARY_PREFIX) else "is no file of the package"
        blob = self._blobs.path(file.digest)
        if path.is_file() and blob.is_file() and path.samefile(blob) and not path.is_symlink():
            return ""  # one file under two names: what is wrong with it is said of the blob
        try:
            verify_file(path, file.digest, file.size_bytes, place=file.path)
        except InvalidFile as error:
            return error.message
        return ""

    def _found(
        self, what: str, place: Path | str, problem: str, *, affects: tuple[str, ...] = (), hint: str = "", mended: bool = False
    ) -> None:
        self._findings.append(Finding(what=what, place=str(place), problem=problem, affects=affects, hint=hint, mended=mended))


def _names(index: Index, name: ModelName, number: int) -> list[str]:
    """What names a version: itself and its aliases."""
    aliases = sorted(alias for alias, target in index.names.get(name, {}).items() if target == number)
    return [f"{name}:{number}", *(f"{name}@{alias}" for alias in aliases)]


def _said(error: FileNotFoundError | InvalidFile) -> str:
    return error.message if isinstance(error, InvalidFile) else "is missing"


def _read(path: Path) -> bytes:
    with open_regular(path, place=str(path)) as handle, os.fdopen(handle, "rb", closefd=False) as stream:
        return stream.read()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path) -> Iterator[Path]:
    """Everything below that is not a folder; links are not followed."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in sorted([*files, *links]))

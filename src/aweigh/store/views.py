"""Views: a package's files under their own names, side by side, as hard links to its blobs. Used by `StoredPackage.path`.

A view is disposable: it is completed and repaired whenever it is asked for, and removed by collection. It never holds what a blob does not.
"""

import dataclasses
import os
import stat
from pathlib import Path

from aweigh.core.errors import InvalidFile
from aweigh.core.names import Digest
from aweigh.core.package import PackageFile
from aweigh.store.blobs import BLOB_MODE, Blobs, verify_file
from aweigh.store.files import Files, Temporary


@dataclasses.dataclass(frozen=True, slots=True)
class Views:
    """The folder `views` of one store."""

    store: Path
    files: Files
    blobs: Blobs

    @property
    def folder(self) -> Path:
        return self.store / "views"

    def root(self, digest: Digest) -> Path:
        """The folder of one package's view."""
        return self.folder / digest.removeprefix("sha256:")

    def place(self, digest: Digest, file: PackageFile) -> Path:
        """The file's path in the view, verified; linked (or copied, where links cannot be made) from its blob when it is not there.

        Raises InvalidFile when the blob is damaged, OSError when the view cannot be written.
        """
        blob = self.blobs.verify(file.digest, file.size_bytes, place=file.path)
        path = self.root(digest) / file.path
        if not _same_file(blob, path) and not _good_copy(path, file):
            self._make_folders(path.parent)
            try:
                self.files.link(blob, path)
            except OSError:  # no hard links here (another device, a limit, a policy); where nothing can be written, the copy says so
                self._copy(blob, path, file)
        return path

    def _make_folders(self, folder: Path) -> None:
        """Make the folders from the store down, refusing links among them."""
        self.files.make_folder(self.store)
        at = self.store
        for part in folder.relative_to(self.store).parts:
            at /= part
            at.mkdir(exist_ok=True)
            if not stat.S_ISDIR(at.lstat().st_mode):
                raise InvalidFile(f"{at} in a view is not a folder", hint=f"remove {self.folder}: views are made again when needed")

    def _copy(self, blob: Path, path: Path, file: PackageFile) -> None:
        written = self.files.write(path.parent, blob, mode=BLOB_MODE)
        if written.digest != file.digest:
            self.files.discard(Temporary(written.temporary))
            raise InvalidFile(f"{file.path}: blob {blob} changed while it was read", hint="pack or pull the package again")
        self.files.rename(written.temporary, path)


def _same_file(blob: Path, path: Path) -> bool:
    try:
        return os.path.samestat(blob.lstat(), path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _good_copy(path: Path, file: PackageFile) -> bool:
    try:
        verify_file(path, file.digest, file.size_bytes, place=file.path)
    except (InvalidFile, NotADirectoryError):
        return False
    return True

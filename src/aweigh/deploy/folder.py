"""Rendered files in a folder that a person keeps in Git: written whole, and never over what a person changed or put there.

`aweigh-deploy.json` beside them lists the digests of what was written last.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from aweigh.core.errors import Conflict, InternalError, InvalidFile, StoreUnavailable
from aweigh.core.whole import whole

LEDGER: Final = "aweigh-deploy.json"


class Ledger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was rendered into a folder, from what."""

    format_version: int = 1
    name: str
    target: str
    model: str
    digest: str
    files: dict[str, str]
    """Path -> sha256, in hexadecimal digits."""


def read_ledger(folder: Path) -> Ledger | None:
    """What the folder says of itself; None where nothing was rendered into it. Raises InvalidFile."""
    path = folder / LEDGER
    if not path.exists():
        return None
    try:
        ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidFile(f"{path} cannot be read: {error}", hint="remove it, and render with --force") from error
    if strange := [name for name in ledger.files if not _lies_inside(name)]:
        raise InvalidFile(f"{path} names {strange[0][:120]!r}, which aweigh never renders", hint="remove it, and render with --force")
    return ledger


def write_folder(folder: Path, files: Mapping[str, bytes | Path], ledger: Ledger, *, force: bool = False) -> list[str]:
    """Write the files, remove what was rendered before and is not any more, and say what is new or other than it was.

    Raises Conflict for a folder that holds another deployment and for files that a person made or changed, unless `force`; StoreUnavailable. Nothing is
    changed where it raises Conflict.
    """
    for name in files:
        _check_path(name)
    _check_links(folder, [*files, LEDGER])
    before = read_ledger(folder) if not force else _readable(folder)
    known = before.files if before else {}
    _check_links(folder, known)
    digests = {name: _digest(content) for name, content in files.items()}
    if not force:
        _check_same(folder, before, ledger)
        _check_untouched(folder, digests, known)
    changed = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sorted(files.items()):
            if _digest_there(folder / name) != digests[name]:
                _write(folder / name, content)
                changed.append(name)
        for gone in sorted(set(known) - set(files)):
            _remove(folder, gone)
            changed.append(gone)
        _write(folder / LEDGER, msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(ledger, files=digests)), indent=2) + b"\n")
    except OSError as error:
        raise StoreUnavailable(f"{folder} cannot be written: {error.strerror}", hint="check the folder and the space left") from error
    return changed


def write_files(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write files into a folder that nobody keeps."""
    for name, content in files.items():
        _check_path(name)
        _write(folder / name, content)


def _check_path(name: str) -> None:
    if not _lies_inside(name):
        raise InternalError(f"a target rendered the path {name!r}")


def _lies_inside(name: str) -> bool:
    """Whether it is the path of a file below the folder, as one that is rendered has it."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or name in {"", ".", LEDGER})


def _check_links(folder: Path, names: Iterable[str]) -> None:
    """Raise Conflict for a link: writing over it, or below it, would leave the folder."""
    for name in names:
        place = folder
        for part in PurePosixPath(name).parts:
            place = place / part
            if place.is_symlink():
                raise Conflict(f"{place} is a link, which is not followed out of the folder", hint="put a folder or file of its own there")


def _readable(folder: Path) -> Ledger | None:
    try:
        return read_ledger(folder)
    except InvalidFile:
        return None


def _check_same(folder: Path, before: Ledger | None, now: Ledger) -> None:
    """Raise Conflict where the folder was rendered for another name or target: all of its files would be removed."""
    if before is not None and (before.name, before.target) != (now.name, now.target):
        raise Conflict(
            f"{folder} holds {before.name} for {before.target}", hint="render into another folder with --out, or over it with --force"
        )


def _check_untouched(folder: Path, digests: Mapping[str, str], known: Mapping[str, str]) -> None:
    for name in sorted(set(digests) | set(known)):
        if _digest_there(folder / name) in {None, known.get(name), digests.get(name)}:
            continue
        said = "was changed since it was rendered" if name in known else "is there already and was not rendered by aweigh"
        raise Conflict(f"{folder / name} {said}", hint="render into another folder with --out, or over it with --force")


def _remove(folder: Path, name: str) -> None:
    """Remove a file, and the folders that are empty without it: whoever copies them would have them too."""
    (folder / name).unlink(missing_ok=True)
    for parent in list(PurePosixPath(name).parents)[:-1]:
        place = folder / parent
        if place.is_dir() and any(place.iterdir()):
            return
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_there(path: Path) -> str | None:
    return _digest(path) if path.is_file() else None


def _write(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, mode=0o644) as stream:
        if isinstance(content, bytes):
            stream.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, stream)

"""What a layout finds in someone's folder or archive, and how it may look there: by plain relative paths, link by link, small texts only."""

import dataclasses
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, TooLarge, UnknownFormat
from aweigh.packing.recognise import LFS_MARK, recognise

MAX_TEXT_BYTES: Final = 1024 * 1024
_MAX_ENTRIES: Final = 5000
_MAX_DEPTH: Final = 4
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_SHOWN: Final = 8


class StatedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output as the layout's own file describes it; "" and None where it does not say."""

    name: str = ""
    datatype: str = ""
    dims: tuple[int, ...] | None = None
    """Without the batch axis where the layout leaves it out (`Stated.batched`); -1 is open."""


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What the layout says of the model inside: held against the model itself once that is known."""

    place: str = ""
    """The file that says it, for messages."""
    inputs: tuple[StatedTensor, ...] = ()
    outputs: tuple[StatedTensor, ...] = ()
    batched: bool = False
    columns: tuple[str, ...] = ()
    """Names of the columns that people send, in order."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The model file that a folder or archive of another tool holds."""

    layout: str
    """In words, for the provenance: 'MLflow model, flavour sklearn: model.pkl'."""
    file: Path
    stated: Stated = dataclasses.field(default_factory=Stated)
    sample: Path | None = None
    """Rows that came with the model."""
    cases: tuple[Path, ...] = ()
    """Folders of inputs with the outputs that the model is said to give."""


def within(root: Path, path: str, *, said_by: str) -> Path:
    """The file or folder at a relative path below `root`. Raises InvalidFile for a path that leads out or over a link, FileMissing."""
    parts = path.removeprefix("./").rstrip("/").split("/")
    if path.startswith("/") or "\\" in path or "\0" in path or ":" in path or any(part in {"", ".", ".."} for part in parts):
        raise InvalidFile(
            f"{said_by} names the file {path[:200]!r}, which is no plain path inside the folder", hint="do not trust this folder"
        )
    place = root
    for part in parts:
        place = place / part
        try:
            mode = os.lstat(place).st_mode
        except OSError as error:
            raise FileMissing(f"{said_by} names the file {path[:200]!r}, which is not there", hint="copy the whole folder") from error
        if stat.S_ISLNK(mode):
            raise InvalidFile(
                f"{place}: a link, which is not followed out of a model's folder",
                hint="put the file itself there: cp -rL copies links as files",
            )
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InvalidFile(f"{place}: neither a file nor a folder", hint="do not trust this folder")
    return place


def has(root: Path, name: str) -> bool:
    """Whether a plain file of that name lies directly in the folder."""
    try:
        return stat.S_ISREG(os.lstat(root / name).st_mode)
    except OSError:
        return False


def read_text(root: Path, path: str) -> str:
    """A small text file of the folder. Raises InvalidFile, TooLarge, FileMissing."""
    place = within(root, path, said_by=str(root))
    with place.open("rb") as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise TooLarge(f"{place}: more than the {MAX_TEXT_BYTES} bytes that such a file may have")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{place}: not a text file: {error}", hint="the folder is damaged") from error


def newest(root: Path) -> Path | None:
    """The subfolder with the highest number for a name, or None."""
    found = [entry for entry in names(root) if _NUMBER.fullmatch(entry) and (root / entry).is_dir() and not (root / entry).is_symlink()]
    return root / max(found, key=int) if found else None


def names(root: Path) -> list[str]:
    """The names in a folder, in order, hidden ones left out. Raises TooLarge."""
    try:
        found = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InvalidFile(f"{root}: cannot be read: {error.strerror}", hint="check its permissions") from error
    if len(found) > _MAX_ENTRIES:
        raise TooLarge(f"{root}: {len(found)} entries, of {_MAX_ENTRIES} that are looked at", hint="give the model file itself")
    return found


def the_known_file(root: Path, *, layout: str, besides: frozenset[str] = frozenset()) -> Path:
    """The one file of a known format below the folder. Raises UnknownFormat that names them where there are several, or none."""
    known: list[Path] = []
    pointer: AweighError | None = None
    refused: list[str] = []
    for place in _walk(root, besides):
        try:
            recognise(place)
            known.append(place)
        except UnknownFormat as error:
            recognised = error.context.get("recognised")
            refused += [f"{place.relative_to(root)} ({recognised})"] if recognised else []
        except AweighError as error:
            pointer = error if LFS_MARK in error.message else pointer
    if len(known) == 1:
        return known[0]
    if len(known) > 1:
        shown = ", ".join(str(place.relative_to(root)) for place in known[:_SHOWN]) + (" …" if len(known) > _SHOWN else "")
        raise UnknownFormat(f"{root}: {layout} with {len(known)} model files: {shown}", hint="give one of them")
    if pointer is not None:
        raise pointer
    beside = f"; it holds {', '.join(refused[:_SHOWN])}" if refused else ""
    raise UnknownFormat(f"{root}: {layout} without a model that aweigh knows{beside}", hint="give the model file itself")


def _walk(root: Path, besides: frozenset[str]) -> Iterator[Path]:
    """Plain files below the folder; a subfolder that is a model itself (SavedModel, Hugging Face) counts as one. Raises TooLarge."""
    waiting = [(root, 0)]
    seen = 0
    while waiting:
        folder, depth = waiting.pop()
        for name in names(folder):
            seen += 1
            if seen > _MAX_ENTRIES:
                raise TooLarge(f"{root}: more than {_MAX_ENTRIES} entries", hint="give the model file itself")
            place = folder / name
            mode = os.lstat(place).st_mode
            if stat.S_ISREG(mode) and name not in besides:
                yield place
            elif stat.S_ISDIR(mode) and depth < _MAX_DEPTH and name != "__pycache__":
                if has(place, "saved_model.pb") or has(place, "config.json"):
                    yield place
                else:
                    waiting.append((place, depth + 1))

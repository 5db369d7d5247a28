"""TorchServe archives (`.mar`): a zip whose manifest names the model's file. Its handler is code: a standard one is named, another is refused."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile, NotTrusted, TooLarge, Unsupported
from aweigh.packing.layouts.inside import MAX_TEXT_BYTES, Inside

_MANIFEST: Final = "MAR-INF/MANIFEST.json"
_STANDARD: Final = frozenset(
    {"base_handler", "image_classifier", "image_segmenter", "object_detector", "text_classifier", "vision_handler"}
)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", re.ASCII)
_MAX_BYTES: Final = 64 * 1024**3
_MAX_ENTRIES: Final = 10_000
_CHUNK_BYTES: Final = 4 * 1024 * 1024


class _Model(msgspec.Struct, frozen=True, rename="camel"):
    serialized_file: str = ""
    model_file: str = ""
    handler: str = ""
    model_name: str = ""


class _Manifest(msgspec.Struct, frozen=True):
    model: _Model = _Model()


def open_torchserve(path: Path, work: Path, *, trust: bool) -> Inside | None:
    """The model file of an archive, taken out into `work`; None for a file that is none. Raises NotTrusted for a handler with code of its own."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if _MANIFEST not in {entry.filename for entry in entries[:_MAX_ENTRIES]}:
                return None
            if len(entries) > _MAX_ENTRIES:
                raise TooLarge(f"{path}: {len(entries)} entries, of {_MAX_ENTRIES} that an archive may have")
            model = _manifest(archive, path)
            handler = _judged(model, path, trust=trust)
            file = _taken_out(archive, path, model.serialized_file, work)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidFile(f"{path}: a damaged archive: {error}", hint="copy or make the archive again") from error
    kind = "standard handler" if handler in _STANDARD else "own handler"
    about = f", without its {kind} {handler}" if handler else ""
    return Inside(layout=f"TorchServe archive{about}: {model.serialized_file}", file=file)


def _judged(model: _Model, path: Path, *, trust: bool) -> str:
    """The handler, by its name. Raises NotTrusted for code of the archive's own."""
    handler = model.handler.partition(":")[0].removesuffix(".py").rpartition("/")[2]
    if handler and handler not in _STANDARD and not trust:
        raise NotTrusted(
            f"{path.name}: a TorchServe archive with a handler of its own, {model.handler[:100]!r}: what its code does before and after the model is not "
            "taken over",
            hint="pass --trust to pack the model without it, and give what it does as --pre and --post",
            handler=model.handler,
        )
    return handler


def _manifest(archive: zipfile.ZipFile, path: Path) -> _Model:
    if archive.getinfo(_MANIFEST).file_size > MAX_TEXT_BYTES:
        raise TooLarge(f"{path}: a manifest of {archive.getinfo(_MANIFEST).file_size} bytes")
    try:
        model = msgspec.json.decode(archive.read(_MANIFEST), type=_Manifest).model
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path}: {_MANIFEST} is no manifest: {error}", hint="make the archive again") from error
    if not model.serialized_file:
        raise Unsupported(
            f"{path}: a TorchServe archive without a model file", hint="its handler alone makes the model: pack the model itself"
        )
    if model.model_file:
        raise Unsupported(
            f"{path}: the weights of a TorchServe archive need its class in {model.model_file[:100]!r}",
            hint="unzip it, and pack the weights with --class MODULE:CLASS, or save the model with torch.export",
        )
    return model


def _taken_out(archive: zipfile.ZipFile, path: Path, name: str, work: Path) -> Path:
    """Write one entry into the work folder, whatever it is called kept out of any path but its last, checked part."""
    matches = [entry for entry in archive.infolist() if entry.filename == name]
    if len(matches) != 1 or not _NAME.fullmatch(name):
        what = "names no plain file" if not _NAME.fullmatch(name) else f"holds the file {len(matches)} times that it names"
        raise InvalidFile(f"{path}: the archive {what}: {name[:100]!r}", hint="do not trust this archive")
    entry = matches[0]
    if entry.file_size > _MAX_BYTES or entry.flag_bits & 1:
        raise TooLarge(f"{path}: {name} has {entry.file_size} bytes, or is encrypted", hint="make the archive again")
    folder = work / "torchserve"
    folder.mkdir(exist_ok=True)
    place, written = folder / name, 0
    with archive.open(entry) as source, place.open("xb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > entry.file_size:
                raise InvalidFile(
                    f"{path}: {name} holds more than the {entry.file_size} bytes that it states", hint="do not trust this archive"
                )
            target.write(chunk)
    return place

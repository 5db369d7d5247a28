"""Finding and loading what a person names: a package in the store, or a model file that is packed on the fly."""

import dataclasses
import hashlib
from pathlib import Path

from aweigh.app.options import PackOptions
from aweigh.app.packages import open_store
from aweigh.core.errors import FileMissing, InvalidName, ModelNotFound
from aweigh.core.names import Reference, model_name, parse_reference, suggest_name
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings

_FILE_SUFFIXES = frozenset({".onnx", ".joblib", ".pkl", ".pickle", ".skops"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a word on the command line means: a reference to the store, or a file to pack under a name."""

    reference: Reference | None = None
    file: Path | None = None


def meaning(text: str) -> Named:
    """A path that exists, or looks like one, is a file; anything else must be a reference. Raises FileMissing, InvalidName."""
    path = Path(text)
    looks_like_file = "/" in text or path.suffix.lower() in _FILE_SUFFIXES
    if path.exists() and (looks_like_file or path.is_file()):
        return Named(file=path)
    if looks_like_file:
        raise FileMissing(f"there is no file {text}", hint="check the path; 'aweigh models' lists what is in the store")
    try:
        return Named(reference=parse_reference(text))
    except InvalidName as error:
        raise InvalidName(f"{text!r} is neither a file nor a model: {error.message}", hint=error.hint) from None


def open_model(
    settings: Settings, text: str, *, name: str = "", options: PackOptions | None = None, progress: Progress = quiet
) -> PackageHandle:
    """The package that a word means; a file is packed and published first, under `name` or a name made from the file's."""
    named = meaning(text)
    if named.reference is not None:
        return open_store(settings).open(named.reference)
    file = named.file or Path(text)
    chosen = model_name(name) if name else suggest_name(file.name.partition(".")[0])
    known = _unchanged(settings, file, chosen, options)
    if known is not None:
        return known
    from aweigh.app.pack import pack_and_publish  # packing and proving: time that a stored package must not cost

    return pack_and_publish(settings, file, chosen, options=options or PackOptions(), progress=progress)


def _unchanged(settings: Settings, file: Path, name: str, options: PackOptions | None) -> PackageHandle | None:
    """The newest package of `name` if it was packed from exactly this file and nothing else is asked: packing again would prove it again."""
    asks_more = options is not None and dataclasses.replace(options, command="", trust=False) != PackOptions()
    if asks_more or not file.is_file():
        return None
    try:
        handle = open_store(settings).open(Reference(name=model_name(name)))
    except ModelNotFound:
        return None
    return handle if handle.manifest.provenance.source_digest == _digest(file) else None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()

"""Finding and loading what a person names: a package in the store, or a model file that is packed on the fly."""

import dataclasses
import hashlib
from pathlib import Path

from aweigh.app.addresses import is_address, name_from_address
from aweigh.app.environments import provide
from aweigh.app.options import PackOptions
from aweigh.app.packages import open_store
from aweigh.app.rollouts import open_live
from aweigh.core.errors import FileMissing, InvalidName, ModelNotFound
from aweigh.core.names import Reference, model_name, parse_reference, suggest_name
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings

_FILE_SUFFIXES = frozenset({".onnx", ".joblib", ".pkl", ".pickle", ".skops", ".toml"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a word on the command line means: a reference to the store, or a file or an address to pack under a name."""

    reference: Reference | None = None
    file: Path | None = None
    address: str = ""
    """Of a model elsewhere, which is fetched and packed."""


def meaning(text: str) -> Named:
    """A path that exists, or looks like one, is a file; anything else must be a reference. Raises FileMissing, InvalidName."""
    if is_address(text):
        return Named(address=text)
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


def every_model(settings: Settings) -> list[str]:
    """The names in the store, for a server that was told none. Raises ModelNotFound where it is empty."""
    names = sorted({str(version.name) for version in open_store(settings).list()})
    if not names:
        raise ModelNotFound("no model was named, and the store is empty", hint="say which: aweigh serve NAME, or aweigh serve FILE")
    return names


def model_to_load(settings: Settings, text: str, *, variant: str = "") -> PackageHandle:
    """As `open_model`, for whoever is about to load it: an environment without which it cannot run here is made."""
    handle = open_model(settings, text)
    provide(settings, [handle], variant=variant)
    return handle


def open_model(
    settings: Settings, text: str, *, name: str = "", options: PackOptions | None = None, live: bool = False, progress: Progress = quiet
) -> PackageHandle:
    """The package that a word means; a file is packed and published first, under `name` or a name made from the file's.

    A bare name means its newest version, to a server (`live`) the one that was promoted last.
    """
    named = meaning(text)
    if named.reference is not None:
        return open_live(settings, named.reference) if live else open_store(settings).open(named.reference)
    file = named.file or Path(text)
    chosen = model_name(name) if name else name_from_address(text) if named.address else suggest_name(file.name.partition(".")[0])
    known = None if named.address else _unchanged(settings, file, chosen, options)
    if known is not None:
        return known
    from aweigh.app.pack import pack_and_publish  # packing and proving: time that a stored package must not cost

    return pack_and_publish(settings, named.address or file, chosen, options=options or PackOptions(), progress=progress)


def _unchanged(settings: Settings, file: Path, name: str, options: PackOptions | None) -> PackageHandle | None:
    """The newest package of `name` if it was packed from exactly this file and nothing else is asked: packing again would prove it again."""
    asks_more = options is not None and dataclasses.replace(options, command="", trust=False) != PackOptions()
    if asks_more or not file.is_file() or file.suffix.lower() == ".toml":  # what a pipeline names may have changed though its text has not
        return None
    try:
        handle = open_store(settings).open(Reference(name=model_name(name)))
    except ModelNotFound:
        return None
    return handle if handle.manifest.provenance.source_digest == _digest(file) else None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()

"""What a fetch is allowed and what it found. Made by `app` from the settings; tokens in it are never shown or logged."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Progress, quiet

SCHEMES: Final = ("https", "http", "s3", "gs", "oci", "hf", "git+https", "git+file")
MAX_FILES: Final = 2000
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+]*)://", re.ASCII)
_MAX_NAME_BYTES: Final = 200
_PIN: Final = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)
_MAX_LENGTH: Final = 2048


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Limits, and whom one may ask."""

    max_bytes: int
    timeout_s: float
    private_hosts: tuple[str, ...] = ()
    """Patterns of hosts that may be asked although they are on this machine or a private network."""
    ca_file: str = ""
    plain_http: bool = False
    hub: str = ""
    hub_token: str = dataclasses.field(default="", repr=False)
    progress: Progress = quiet


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file or folder on this machine, and where it came from: the address, with the commit or digest that it had."""

    path: Path
    origin: str


class Budget:
    """The bytes and files that one fetch may still take."""

    def __init__(self, terms: Terms) -> None:
        self._most = self._left = terms.max_bytes
        self._files = MAX_FILES

    def take(self, size_bytes: int) -> None:
        """Count bytes that came or are announced. Raises TooLarge."""
        self._left -= size_bytes
        if self._left < 0:
            raise TooLarge(f"the source has more than the {self._most} bytes that are fetched", hint="raise the setting max_source_bytes")

    def file(self) -> None:
        """Count a file. Raises TooLarge."""
        self._files -= 1
        if self._files < 0:
            raise TooLarge(f"the source has more than {MAX_FILES} files", hint="name the model file itself")


def scheme_of(text: str) -> str:
    """The scheme of an address, "" for what is none. Raises InvalidInput for a scheme that is not known."""
    match = _ADDRESS.match(text)
    if match is None:
        return ""
    if match[1] not in SCHEMES:
        raise InvalidInput(
            f"{text[:120]!r}: {match[1]!r} is no scheme that models are fetched by",
            hint=f"there are {', '.join(f'{each}://' for each in SCHEMES)}",
        )
    if len(text) > _MAX_LENGTH or not text.isprintable() or "\\" in text:
        raise InvalidInput(f"{text[:120]!r} is not an address", hint="it is too long, or holds characters that no address has")
    return match[1]


def split_pin(text: str) -> tuple[str, str]:
    """Address and digest of `ADDRESS#sha256=…`. Raises InvalidInput for another fragment."""
    address, found, fragment = text.partition("#")
    pin = _PIN.fullmatch(fragment)
    if found and pin is None:
        raise InvalidInput(
            f"{text[:120]!r}: '#{fragment[:40]}' is no digest", hint="write #sha256= and 64 hexadecimal digits, or leave it out"
        )
    return address, pin[1] if pin else ""


def check_pin(text: str, pin: str, found: str) -> None:
    """Raises InvalidFile where another file came than was pinned."""
    if pin and pin != found:
        raise InvalidFile(
            f"{text[:200]}: it has the digest sha256:{found}, and not the one that was asked for", hint="do not use it, or pin anew"
        )


def write_counted(place: Path, chunks: Iterable[bytes], budget: Budget) -> str:
    """Write a file, whole or not at all, and give its SHA-256. Raises TooLarge."""
    budget.file()
    digest = hashlib.sha256()
    part = place.with_name(f".{place.name[:200]}.part")
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                budget.take(len(chunk))
                digest.update(chunk)
                file.write(chunk)
        part.rename(place)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()


def is_plain(name: str) -> bool:
    """Whether a name from elsewhere is one of a file here: it leads nowhere else, harms no terminal, and fits any disk."""
    if name in {"", ".", ".."} or "/" in name or "\\" in name or not name.isprintable() or Path(name).name != name:
        return False
    return len(name.encode()) <= _MAX_NAME_BYTES


def inside(folder: Path, parts: Sequence[str]) -> Path:
    """A place below the folder for a name from elsewhere. Raises InvalidFile for a name that could lead out."""
    if not parts or not all(map(is_plain, parts)):
        raise InvalidFile(f"the source names the file {'/'.join(parts)[:200]!r}, which is no plain path", hint="do not trust it")
    place = folder.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place

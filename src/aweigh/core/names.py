"""Names, versions and references: the one grammar for `fraud`, `fraud:3`, `fraud@champion` and `sha256:…`.

Names reach file paths, URLs, registries and shells, so the grammar is an allow-list (OCI repository names without the slash) and
nothing outside it is ever cleaned up: it is refused.
"""

import dataclasses
import re
from typing import Final, NewType

from aweigh.core.errors import InvalidName

ModelName = NewType("ModelName", str)
Alias = NewType("Alias", str)
Digest = NewType("Digest", str)

_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:[._-]|__|--)[a-z0-9]+)*", re.ASCII)
_ALIAS: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_ASKED: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?", re.ASCII)
_PATH_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+=@, ()-]{0,126}[A-Za-z0-9_+=@()-])?", re.ASCII)
MAX_NAME: Final = 64
MAX_PATH: Final = 512
_RESERVED: Final = frozenset({"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)})


def model_name(text: str) -> ModelName:
    """Check a model name: lower-case letters, digits and single . _ - between them, 64 characters at most. Raises InvalidName."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text) or text.split(".")[0] in _RESERVED:
        shown = text if len(text) <= MAX_NAME else text[:MAX_NAME] + "…"
        raise InvalidName(
            f"{shown!r} is not a model name",
            hint="use lower-case letters, digits, and '.', '_' or '-' between them, 64 characters at most, for example 'fraud-score'",
        )
    return ModelName(text)


def check_asked(text: str) -> None:
    """Raise InvalidName for what no server calls a model or version: a path, an address, control characters, other scripts, 129 characters.

    Wider than `model_name`: a peer that asks for `ResNet50` is told that it is not here, not that it may not be called so.
    """
    if text and not _ASKED.fullmatch(text):
        raise InvalidName(f"{text[:MAX_NAME]!r} is not the name of a model or version", hint="use letters, digits, '.', '_' and '-'")


def suggest_name(text: str) -> ModelName:
    """A valid model name close to `text` (a file name, say); 'model' when nothing is left of it."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_NAME].strip("-")
    return ModelName(cleaned) if cleaned and cleaned not in _RESERVED else ModelName("model")


def alias_name(text: str) -> Alias:
    """Check an alias: a lower-case word that does not begin with a digit. Raises InvalidName."""
    if len(text) > MAX_NAME or not _ALIAS.fullmatch(text) or text.split(".")[0] in _RESERVED:
        raise InvalidName(f"{text[:MAX_NAME]!r} is not an alias", hint="use a lower-case word such as 'champion' or 'stable-eu'")
    return Alias(text)


def digest_name(text: str) -> Digest:
    """Check a content digest, `sha256:` and 64 hexadecimal digits. Raises InvalidName."""
    if not _DIGEST.fullmatch(text):
        raise InvalidName(f"{text[:80]!r} is not a digest", hint="a digest is 'sha256:' followed by 64 hexadecimal digits")
    return Digest(text)


def package_path(text: str) -> str:
    """Check a path inside a package: relative, '/' between plain parts, nothing that a file system could read otherwise. Raises InvalidName."""
    parts = text.split("/")
    fits = len(text) <= MAX_PATH and all(_PATH_PART.fullmatch(part) and part.split(".")[0].lower() not in _RESERVED for part in parts)
    if not fits:
        raise InvalidName(
            f"{text[:120]!r} is not a path inside a package",
            hint="use letters, digits and '.', '_', '-' in each part, '/' between parts, no '..' and no leading '/'",
        )
    return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a person names: a model, and at most one of a version and an alias (neither means the newest version)."""

    name: ModelName
    version: int | None = None
    alias: Alias | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}:{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else str(self.name)


def parse_reference(text: str) -> Reference:
    """Read `name`, `name:version` or `name@alias`. Raises InvalidName with the part that is wrong."""
    name, at, alias = text.partition("@")
    if at:
        return Reference(name=model_name(name), alias=alias_name(alias))
    name, colon, version = text.partition(":")
    if colon and not _VERSION.fullmatch(version):
        raise InvalidName(f"{version!r} in {text!r} is not a version", hint="versions count 1, 2, 3, …; an alias is written name@alias")
    return Reference(name=model_name(name), version=int(version) if colon else None)

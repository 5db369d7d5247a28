"""The package manifest `aweigh.json`: signature, variants, golden set, evidence, provenance. Format version 1.

To raise FORMAT_VERSION: keep the old structs and a reader that lifts them to the new ones, add a sample file of the old version to
tests/data/formats/, and say in an ADR what changed. An unknown newer version is refused by name, never guessed at.
"""

from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.evidence import Evidence
from aweigh.core.names import Digest
from aweigh.core.signature import Signature

FORMAT_VERSION: Final = 1
MANIFEST_FILE: Final = "aweigh.json"


class PackageFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the package. `path` is relative, '/'-separated, as in `variants/onnx/model.onnx`."""

    path: str
    digest: Digest
    size_bytes: int


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One runnable form: the runtime that executes it, its files (the first is the entry), the runtime's options, its evidence."""

    name: str
    runtime: str
    precision: str
    files: tuple[str, ...] = ()
    options: dict[str, str | int | float | bool] = {}
    missing_text: str | None = None
    """What a missing BYTES element becomes before the session sees it; None = the runtime takes missing elements as they are."""
    environment: tuple[str, ...] = ()
    """Exact requirements (`name==version`) that the variant was proven with."""
    evidence: Evidence | None = None


class GoldenCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One set of inputs and the source model's own answers, in one tensor file (see `core/tensorfile.py`)."""

    name: str
    why: str
    rows: int
    file: str


class Hooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Python that rides along: `module:function` called before (`pre`) and after (`post`) the session, and the files it came from."""

    pre: str = ""
    post: str = ""
    files: tuple[str, ...] = ()
    model_signature: Signature | None = None
    """What the session itself takes and gives, between `pre` and `post`; None = the package's own signature."""
    outputs: tuple[str, ...] = ()
    """Names of the package's outputs, in the signature's order."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the package came from: the source file's digest, its framework and versions, and how it was packed."""

    framework: str
    source_file: str = ""
    source_digest: str = ""
    source_class: str = ""
    versions: dict[str, str] = {}
    git_commit: str = ""
    command: str = ""
    machine: str = ""
    packed_at: str = ""
    """UTC, ISO 8601, whole seconds."""
    trusted: bool = False
    """Whether the source was a pickle that a person trusted."""


class PackageManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole of `aweigh.json`. `files` lists every other file of the package by digest."""

    format_version: int
    signature: Signature
    variants: tuple[Variant, ...]
    golden: tuple[GoldenCase, ...]
    provenance: Provenance
    files: tuple[PackageFile, ...] = ()
    hooks: Hooks = Hooks()
    contains_pickle: bool = False
    licence: str = ""
    description: str = ""
    metrics: dict[str, float] = {}

    @property
    def session_signature(self) -> Signature:
        """The signature to load variants with: the model's own where hooks stand around it."""
        return self.hooks.model_signature or self.signature

    def variant(self, name: str) -> Variant | None:
        """The variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)


_DECODER: Final = msgspec.json.Decoder(PackageManifest)
_VERSION_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode_manifest(manifest: PackageManifest) -> bytes:
    """Deterministic JSON: the same manifest gives the same bytes."""
    return msgspec.json.encode(manifest, order="sorted")


def decode_manifest(data: bytes, *, place: str = MANIFEST_FILE) -> PackageManifest:
    """Read `aweigh.json`. Raises Unsupported for a newer format version, InvalidFile with the JSON path for anything malformed."""
    try:
        version = msgspec.json.decode(_VERSION_DECODER.decode(data).get("format_version", b"null"))
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise Unsupported(
                f"{place}: format version {version} is newer than this aweigh understands ({FORMAT_VERSION})",
                hint="upgrade aweigh: pip install -U aweigh",
            )
        if not isinstance(version, int) or version < 1:
            raise InvalidFile(f"{place}: format version {version!r} is none", hint="the package is damaged: pack or pull it again")
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{place}: not a package manifest: {error}", hint="the package is damaged: pack or pull it again") from error

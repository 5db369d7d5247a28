"""The package manifest `aweigh.json`: signature, variants, golden set, evidence, provenance. Format version 1.

A field that may be left out, and is left out where it says nothing, does not raise it: packages without it stay what they were to every reader, and a
reader that does not know it refuses it by name. Whatever changes what a known field means, or must not be left out, raises it.

To raise FORMAT_VERSION: keep the old structs and a reader that lifts them to the new ones, add a sample file of the old version to
tests/data/formats/, and say in an ADR what changed. An unknown newer version is refused by name, never guessed at.
"""

from typing import Final

import msgspec

from aweigh.core.documents import decode_document
from aweigh.core.evidence import Evidence
from aweigh.core.names import Digest
from aweigh.core.signature import Signature, Tolerance
from aweigh.core.steps import Step

FORMAT_VERSION: Final = 1
MANIFEST_FILE: Final = "aweigh.json"


class PackageFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the package. `path` is relative, '/'-separated, as in `variants/onnx/model.onnx`."""

    path: str
    digest: Digest
    size_bytes: int


class GoldenCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One set of inputs and the answers to them, of the source model or of a variant that departs from it, in one tensor file (see `core/tensorfile.py`)."""

    name: str
    why: str
    rows: int
    file: str


class Departure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of a variant that answers otherwise than the source, within a budget that a person gave: made faster or smaller at that price."""

    base: str
    """The variant that it was made of, which answers as the source does."""
    passes: tuple[str, ...]
    """What was done to it, in order: 'int8-static'."""
    keep: str
    """The budget, as it was given: 'accuracy >= 99%'."""
    golden: tuple[GoldenCase, ...] = ()
    """Its own answers, to which it is held where it is loaded, as other variants are to the source's."""
    tolerances: dict[str, Tolerance] = {}
    """By float output: how far it may be from its own answers."""

    def held(self, signature: Signature) -> Signature:
        """The signature with these tolerances."""
        outputs = (msgspec.structs.replace(spec, tolerance=self.tolerances.get(spec.name, spec.tolerance)) for spec in signature.outputs)
        return msgspec.structs.replace(signature, outputs=tuple(outputs))


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
    step: Step | None = None
    """What aweigh does around the runtime, with files among `files`."""
    departure: Departure | None = None
    """None where it answers as the source does."""
    base: str = ""
    """The variant that a search made it of; of one that departs `departure` says so."""
    passes: tuple[str, ...] = ()
    """What the search did to that one, in order: 'onnxslim'. Empty where no search made it."""
    evidence: Evidence | None = None

    def bare(self) -> "Variant":
        """As its runtime alone sees it: without the step and its files, and whatever it is held to."""
        kept = tuple(file for file in self.files if self.step is None or file not in self.step.files)
        return msgspec.structs.replace(self, step=None, departure=None, files=kept)

    def bare_signature(self, signature: Signature) -> Signature:
        """What the runtime alone takes and gives, where `signature` is of the whole variant."""
        return self.step.model_signature if self.step else signature


class Hooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Python that rides along: `module:function` called before (`pre`) and after (`post`) the session, and the files it came from."""

    pre: str = ""
    post: str = ""
    files: tuple[str, ...] = ()
    model_signature: Signature | None = None
    """What the session itself takes and gives, between `pre` and `post`; None = the package's own signature."""
    outputs: tuple[str, ...] = ()
    """Names of the package's outputs, in the signature's order."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another package that this one needs: its digest is what counts, name and version are what people call it."""

    name: str
    version: int
    digest: Digest

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the package came from: the source file's digest, its framework and versions, and how it was packed."""

    framework: str
    source_file: str = ""
    source_digest: str = ""
    source_class: str = ""
    source_layout: str = ""
    """What the source file was found inside of: 'MLflow model, flavour sklearn: model.pkl'."""
    source_address: str = ""
    """Where it was fetched from, with the commit or digest that was found there."""
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
    parts: tuple[Part, ...] = ()
    """The packages that a pipeline is made of: it cannot be loaded without them."""

    @property
    def session_signature(self) -> Signature:
        """The signature to load variants with: the model's own where hooks stand around it."""
        return self.hooks.model_signature or self.signature

    @property
    def cases(self) -> tuple[GoldenCase, ...]:
        """All golden cases: the source's, and the own ones of variants that depart from it."""
        own = (case for variant in self.variants if variant.departure for case in variant.departure.golden)
        return (*self.golden, *own)

    def variant(self, name: str) -> Variant | None:
        """The variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)


_DECODER: Final = msgspec.json.Decoder(PackageManifest)


def encode_manifest(manifest: PackageManifest) -> bytes:
    """Deterministic JSON: the same manifest gives the same bytes."""
    return msgspec.json.encode(manifest, order="sorted")


def decode_manifest(data: bytes, *, place: str = MANIFEST_FILE) -> PackageManifest:
    """Read `aweigh.json`. Raises Unsupported for a newer format version, InvalidFile with the JSON path for anything malformed."""
    return decode_document(data, _DECODER, newest=FORMAT_VERSION, what="a package manifest", place=place)

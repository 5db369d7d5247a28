"""The seams: what a runtime, a session, a framework and a store promise. One verb or few; a forty-line fake implements any of them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.names import Digest, ModelName, Reference
from aweigh.core.package import PackageManifest, Part, Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors


class Session(Protocol):
    """One loaded variant, able to run. `run` may be called from any thread, by one caller at a time unless `concurrent`."""

    concurrent: bool
    """Whether `run` may be called from several threads at once."""
    isolated: bool
    """Whether `run` waits for another process: such a session is never run on the event loop."""

    def run(self, inputs: Tensors) -> list[Tensor]:
        """Answer checked inputs; the outputs come in the signature's order. Raises AweighError."""
        ...

    def close(self) -> None:
        """Release memory, files and processes; may be called twice."""
        ...


class Runtime(Protocol):
    """The adapter of a library that executes a variant."""

    name: str

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load the variant; `path` maps a package path to a file on disk. Raises AweighError, MissingLibrary among them."""
        ...


class PackageHandle(Protocol):
    """A complete package on disk, as the store hands it out."""

    @property
    def reference(self) -> Reference: ...
    @property
    def digest(self) -> Digest: ...
    @property
    def manifest(self) -> PackageManifest: ...

    def path(self, file: str) -> Path:
        """The file on disk of a package path, its digest verified. Raises NotFound, InvalidFile."""
        ...


@runtime_checkable
class WithParts(Protocol):
    """A package handle that can open the packages which its own needs: they lie where it lies."""

    def part(self, part: Part) -> PackageHandle:
        """The package with the part's digest. Raises ModelNotFound, naming it, where it is not there."""
        ...


class PackageSource(Protocol):
    """Where packages are looked up: the store, or one package that was made on the fly."""

    def open(self, reference: Reference) -> PackageHandle:
        """Raises ModelNotFound, naming what there is."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A package before publication: its manifest (without `files`) and the bytes or source path of each file."""

    manifest: PackageManifest
    files: Mapping[str, bytes | Path]


class Publisher(Protocol):
    """Where `pack` puts a finished package."""

    def publish(self, name: ModelName, draft: Draft) -> PackageHandle:
        """Publish as the next version of `name`, atomically. Raises StoreUnavailable, Conflict."""
        ...


class Remote(Protocol):
    """A place elsewhere that keeps packages: blobs by digest, manifests by digest and tag. One repository of it. Raises AweighError alone."""

    def tags(self) -> list[str]:
        """Every tag, in any order; empty where nothing was pushed yet."""
        ...

    def manifest(self, tag: str) -> bytes:
        """The manifest that a tag or a digest names, as it was pushed. Raises NotFound."""
        ...

    def get(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        """A blob's bytes, resumed where a transfer breaks off; whoever takes them checks them. Raises NotFound."""
        ...

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        """Send the blob in `path`, whose digest was checked; False when it was there already and nothing was sent."""
        ...

    def tag(self, tag: str, manifest: bytes) -> None:
        """Keep a manifest, whose blobs are there, and let the tag name it, whatever it named before."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A source written down anew: its files on disk by package path, the entry first, and what the form takes and gives."""

    files: Mapping[str, Path]
    signature: Signature
    options: Mapping[str, str | int | float | bool]


class SourceWriter(Protocol):
    """Writes a source in the form that a runtime takes, as packing would; a plug-in of kind "source-form"."""

    def __call__(
        self,
        source: Path,
        folder: Path,
        *,
        runtime: str,
        endings: Sequence[str] = (),
        factory: str = "",
        rows: Mapping[str, Tensor] | None = None,
    ) -> Written:
        """Judge and load the source, and write the first form of `runtime` whose entry has one of the `endings`, best first. `rows` stand for the sample.

        Raises NotTrusted, InvalidFile, UnknownFormat, MissingLibrary, Unsupported: the source has no such form.
        """
        ...


class Progress(Protocol):
    """Told what long work is doing; the command line draws it, Python callers may ignore it."""

    def __call__(self, step: str, done: int = 0, total: int = 0) -> None: ...


def quiet(step: str, done: int = 0, total: int = 0) -> None:
    """A `Progress` that says nothing."""


class Prover(Protocol):
    """Checks one candidate variant against the golden set and returns its evidence; `verify.prove` is one."""

    def __call__(
        self,
        variant: Variant,
        signature: Signature,
        golden: Sequence[GoldenAnswers],
        path: Callable[[str], Path],
        *,
        strength: Strength,
        data: str,
        environments: Path | None = None,
    ) -> Evidence: ...

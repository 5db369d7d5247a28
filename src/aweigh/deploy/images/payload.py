"""What an image holds besides its base: parts, each a layer, in the order in which they change ever more often, and how it is started. Used by `build`."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from aweigh.core.protocols import Progress
from aweigh.deploy.images.bytecode import compile_modules, version_of
from aweigh.deploy.images.inside import Inside
from aweigh.deploy.images.layers import Content, Files, Link
from aweigh.deploy.platforms import Platform, Python
from aweigh.deploy.wheels import Wheel

NOBODY = "65532:65532"
"""User and group that containers run as: of no meaning on any system, so that nothing is theirs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layer: `key` says what its files are, whatever makes them is asked only where nobody made them before."""

    title: str
    key: str
    files: Callable[[], Files]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a container of the image is started."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    health: tuple[str, ...] = ()
    """A command that ends with 0 where the container answers; () where it has none."""
    folder: str = "/"
    port: int = 8080


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One library in the image, for its list of parts."""

    name: str
    version: str
    digest: str = ""
    """SHA-256 of the wheel it came from, hexadecimal."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """Makes bytecode for the image's Python; without an interpreter it makes none."""

    python: Python
    interpreter: str

    def compile(self, modules: Mapping[str, bytes]) -> dict[str, bytes]:
        return compile_modules(modules, self.python, self.interpreter) if self.interpreter else {}

    @property
    def key(self) -> str:
        """What decides the bytecode: another patch release at the same path may compile otherwise."""
        return f"{self.python} {self.interpreter} {version_of(self.interpreter)}" if self.interpreter else str(self.python)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a payload is on one platform."""

    parts: Sequence[Part]
    start: Start
    libraries: Sequence[Library]


class Payload(Protocol):
    """What is put into an image: the server and a package, or the runner and a package."""

    def fill(self, platform: Platform, inside: Inside, compiler: Compiler, *, cache: Path, progress: Progress) -> Filled:
        """The parts for a platform whose base has this inside. Raises what fetching raises."""
        ...


def wheels_part(wheels: Sequence[Wheel], folder: str, compiler: Compiler) -> Part:
    """The libraries, with their bytecode, below a folder."""

    def files() -> dict[str, Content]:
        found: dict[str, Content] = {f"{folder}/{path}": data for wheel in wheels for path, data in wheel.files()}
        return found | with_bytecode(found, compiler)

    key = " ".join(["wheels", folder, compiler.key, *sorted(wheel.digest for wheel in wheels)])
    return Part(title="libraries: " + ", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels), key=key, files=files)


def with_bytecode(files: Mapping[str, Content], compiler: Compiler) -> dict[str, Content]:
    """Bytecode of the modules among files that are in memory."""
    modules = {path: content for path, content in files.items() if path.endswith(".py") and isinstance(content, bytes)}
    return dict(compiler.compile(modules))


def digest_of(files: Files) -> str:
    """A digest of files and their paths."""
    found = hashlib.sha256()
    for path, content in sorted(files.items(), key=lambda item: item[0]):
        data = content.to.encode() if isinstance(content, Link) else content if isinstance(content, bytes) else content.read_bytes()
        found.update(f"{len(path)} {path} {len(data)} ".encode() + data)
    return found.hexdigest()

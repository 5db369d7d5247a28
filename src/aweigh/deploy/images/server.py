"""The server in an image: `aweigh serve` of one package, with the libraries of its runtime alone. A `Payload`; used by `app`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from aweigh import __version__
from aweigh.core.package import Variant
from aweigh.core.protocols import Progress
from aweigh.deploy.images.inside import Inside
from aweigh.deploy.images.layers import Content, Files, Link
from aweigh.deploy.images.payload import Compiler, Filled, Library, Part, Start, digest_of, wheels_part, with_bytecode
from aweigh.deploy.platforms import Platform, WheelTarget
from aweigh.deploy.requirements import runtime_pins
from aweigh.deploy.wheels import fetch_wheels

HOME: Final = "models"
"""Where the package lies: a home folder with a store that holds it alone."""
_LIBRARY: Final = "app/lib"
_HEALTH: Final = "app/health.py"
_OURS: Final = Path(__file__).resolve().parents[2]
_PORT: Final = 8080


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerPayload:
    """A package and `aweigh serve`."""

    name: str
    variants: Sequence[Variant]
    """Those whose files are there; the first answers."""
    some: bool = False
    """Whether the package has more than these."""
    others: Sequence[Variant] = ()
    """Of a pipeline: what its parts are answered by."""
    home: Files
    """The files of the home folder, by path below it."""
    digest: str
    """Of the package."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Settings of the server, as variables."""

    def fill(self, platform: Platform, inside: Inside, compiler: Compiler, *, cache: Path, progress: Progress) -> Filled:
        target = WheelTarget(platform=platform, python=inside.python, glibc=inside.glibc)
        pins = runtime_pins((*self.variants, *self.others), target)
        wheels = fetch_wheels(pins, target, cache=cache, progress=progress)
        chosen = {"AWEIGH_VARIANT": self.variants[0].name} if self.some else {}
        interpreter = f"/{inside.interpreter}"
        start = Start(
            entrypoint=(interpreter, "-m", "aweigh"),
            command=("serve", self.name),
            environment={
                "AWEIGH_HOME": f"/{HOME}",
                "AWEIGH_HOST": "0.0.0.0",  # noqa: S104  # inside a container; who may reach it is said outside
                "AWEIGH_NO_AUTH": "true",
                "AWEIGH_NO_ISOLATE": "true",
                **chosen,
                "ORT_DISABLE_TELEMETRY": "1",
                "PYTHONPATH": f"/{_LIBRARY}",
                "PYTHONNOUSERSITE": "1",
                "PYTHONSAFEPATH": "1",
                "PYTHONUNBUFFERED": "1",
                **self.environment,
            },
            health=(interpreter, "-S", "-E", f"/{_HEALTH}"),
            port=_PORT,
        )
        libraries = [Library(name=wheel.name, version=wheel.version, digest=wheel.digest) for wheel in wheels]
        return Filled(
            parts=(wheels_part(wheels, _LIBRARY, compiler), _own_part(compiler), self._model_part()),
            start=start,
            libraries=(*libraries, Library(name="aweigh", version=__version__)),
        )

    def _model_part(self) -> Part:
        names = " ".join(variant.name for variant in self.variants)
        files = {
            f"{HOME}/{path}": Link(to=f"{HOME}/{content.to}") if isinstance(content, Link) else content
            for path, content in self.home.items()
        }
        # The blobs are named by their digests, so what the small files say decides what all are.
        small = digest_of({path: content for path, content in files.items() if isinstance(content, bytes)})
        listed = " ".join(sorted(files))
        return Part(title=f"model {self.name}: {self.digest}", key=f"model {small} {names} {listed}", files=lambda: files)


def _own_part(compiler: Compiler) -> Part:
    files = own_files()
    return Part(
        title=f"aweigh {__version__}", key=f"aweigh {compiler.key} {digest_of(files)}", files=lambda: files | with_bytecode(files, compiler)
    )


def own_files() -> dict[str, Content]:
    """aweigh as it is installed here, and what asks a container whether it answers."""
    found: dict[str, Content] = {}
    for path in sorted(_OURS.rglob("*")):
        below = path.relative_to(_OURS)
        if (
            path.is_file()
            and not path.is_symlink()
            and not any(part.startswith((".", "__pycache__")) or part == "locks" for part in below.parts)
        ):
            found[f"{_LIBRARY}/aweigh/{below.as_posix()}"] = path.read_bytes()
    metadata = f"Metadata-Version: 2.1\nName: aweigh\nVersion: {__version__}\n"
    found[f"{_LIBRARY}/aweigh-{__version__}.dist-info/METADATA"] = metadata.encode()
    found[_HEALTH] = Path(__file__).with_name("health.py").read_bytes()
    return found

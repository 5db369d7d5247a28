"""The runner in an image: for cold starts. Its code, one shared library and the model, without numpy and without the server. A `Payload`; used by `app`."""

import dataclasses
import json
from pathlib import Path
from typing import Final

from aweigh import __version__
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle, Progress
from aweigh.deploy.bundle import ENTRY, SETTINGS_FILE, runner_bundle
from aweigh.deploy.images.inside import Inside
from aweigh.deploy.images.layers import Content
from aweigh.deploy.images.payload import Compiler, Filled, Library, Part, Start, digest_of, with_bytecode
from aweigh.deploy.platforms import Platform, WheelTarget

_FOLDER: Final = "app"
_HEALTH: Final = f"{_FOLDER}/health.py"
_LIBRARIES: Final = ("lib/",)
_CODE: Final = ("runner/",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPayload:
    """A package and the runner."""

    package: PackageHandle
    variant: Variant

    def fill(self, platform: Platform, inside: Inside, compiler: Compiler, *, cache: Path, progress: Progress) -> Filled:
        target = WheelTarget(platform=platform, python=inside.python, glibc=inside.glibc)
        bundle = runner_bundle(self.package, self.variant, target, cache=cache, progress=progress)
        settings = bundle[SETTINGS_FILE]
        version = str(json.loads(settings if isinstance(settings, bytes) else settings.read_bytes())["library_version"])
        library: dict[str, Content] = {}
        code: dict[str, Content] = {_HEALTH: Path(__file__).with_name("health.py").read_bytes()}
        model: dict[str, Content] = {}
        for path, content in bundle.items():
            if "__pycache__" in path:
                continue  # made anew, so that it is the same whichever Python builds
            where = library if path.startswith(_LIBRARIES) else code if path.startswith(_CODE) or path == ENTRY else model
            where[f"{_FOLDER}/{path}"] = content if isinstance(content, bytes) or where is not code else content.read_bytes()
        interpreter = f"/{inside.interpreter}"
        start = Start(
            entrypoint=(interpreter, "-IS", f"/{_FOLDER}/{ENTRY}"),
            command=("serve",),
            environment={"HOST": "0.0.0.0", "ORT_DISABLE_TELEMETRY": "1"},  # noqa: S104  # inside a container
            health=(interpreter, "-S", "-E", f"/{_HEALTH}"),
            folder=f"/{_FOLDER}",
        )
        runtime = self.variant.runtime
        return Filled(
            parts=(
                _part(f"{runtime} {version}", library),
                Part(
                    title=f"runner of aweigh {__version__}",
                    key=f"runner {compiler.key} {digest_of(code)}",
                    files=lambda: code | with_bytecode(code, compiler),
                ),
                _part(f"model {self.package.reference.name}: {self.package.digest}", model),
            ),
            start=start,
            libraries=(Library(name=runtime, version=version), Library(name="aweigh", version=__version__)),
        )


def _part(title: str, files: dict[str, Content]) -> Part:
    return Part(title=title, key=f"files {digest_of(files)}", files=lambda: files)

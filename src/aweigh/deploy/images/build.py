"""Builds an image: the base's layers, then the payload's, for each platform, and one index over all. Called by `app`.

The same request gives the same digest on any machine: nothing of the clock, the user, the folder or the machine is in it.
"""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from aweigh import __version__
from aweigh.core.names import Digest
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, encode
from aweigh.core.protocols import Progress, quiet
from aweigh.deploy.images.base import Base, ImageRegistry, open_base
from aweigh.deploy.images.bytecode import find_interpreter
from aweigh.deploy.images.documents import CONFIG_TYPE, Config, History, Index, Manifest, RootFs
from aweigh.deploy.images.inside import Inside, look_inside
from aweigh.deploy.images.layers import Layer, Layers
from aweigh.deploy.images.payload import NOBODY, Compiler, Filled, Library, Part, Payload, Start
from aweigh.deploy.platforms import Platform

BASE: Final = "gcr.io/distroless/python3-debian12:nonroot"
_SECOND_NS: Final = 1_000_000_000
Opener = Callable[[str], tuple[ImageRegistry, str]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What is built."""

    payload: Payload
    platforms: tuple[Platform, ...]
    base: str
    """`oci:FOLDER[:TAG]`, `docker-archive:FILE` or the address of a registry."""
    registry: Opener
    """Opens a repository for such an address: it, and the tag or digest in it."""
    cache: Path
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    epoch: int = 0
    """The time that everything in the image has, in seconds since 1970."""
    bytecode: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """The image of one platform."""

    platform: Platform
    descriptor: Descriptor
    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    base: Base
    inside: Inside
    start: Start
    libraries: tuple[Library, ...]
    parts: tuple[Part, ...]
    """What the payload put above the base."""
    interpreter: str
    """What made the bytecode, '' where nothing did."""

    @property
    def size_bytes(self) -> int:
        """Compressed: what a registry keeps and a node pulls."""
        return sum(layer.size_bytes for layer in self.layers) + len(self.config) + len(self.manifest)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image: one manifest, or an index where there are several platforms."""

    descriptor: Descriptor
    document: bytes
    platforms: tuple[PlatformImage, ...]

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest


def build_image(request: ImageRequest, *, progress: Progress = quiet) -> Image:
    """Build it in the cache. Raises what opening the base and fetching wheels raise; Refused where a wheel does not fit; MissingLibrary."""
    images = tuple(_build(request, platform, progress) for platform in request.platforms)
    if len(images) == 1:
        return Image(descriptor=images[0].descriptor, document=images[0].manifest, platforms=images)
    index = Index(
        schema_version=2, media_type=INDEX_TYPE, manifests=tuple(image.descriptor for image in images), annotations=dict(request.labels)
    )
    document = encode(index)
    return Image(descriptor=describe(document, INDEX_TYPE), document=document, platforms=images)


def describe(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of a document."""
    return Descriptor(media_type=media_type, digest=Digest(f"sha256:{hashlib.sha256(data).hexdigest()}"), size=len(data))


def _build(request: ImageRequest, platform: Platform, progress: Progress) -> PlatformImage:
    base = open_base(request.base, platform, cache=request.cache, registry=request.registry, progress=progress)
    progress(f"looking into {request.base}")
    inside = look_inside(base)
    interpreter = find_interpreter(inside.python) if request.bytecode else ""
    compiler = Compiler(python=inside.python, interpreter=interpreter)
    filled = request.payload.fill(platform, inside, compiler, cache=request.cache, progress=progress)
    parts = [*_base_bytecode(base, inside, compiler), *filled.parts]
    layers = Layers(request.cache, epoch=request.epoch)
    made = []
    for at, part in enumerate(parts):
        progress(f"layer {part.title.partition(':')[0]} for {platform}", at, len(parts))
        made.append(layers.make(part.key, part.files, created_by=part.title, folders=inside.folders))
    config = encode(_config(request, base, made, filled))
    every = (*base.layers, *made)
    manifest = Manifest(
        schema_version=2,
        config=describe(config, CONFIG_TYPE),
        layers=tuple(Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size_bytes) for layer in every),
        annotations=_labels(request, base),
    )
    document = encode(manifest)
    return PlatformImage(
        platform=platform,
        descriptor=msgspec.structs.replace(describe(document, MANIFEST_TYPE), platform=platform.as_dict()),
        manifest=document,
        config=config,
        layers=every,
        base=base,
        inside=inside,
        start=filled.start,
        libraries=tuple(filled.libraries),
        parts=tuple(filled.parts),
        interpreter=interpreter,
    )


def _base_bytecode(base: Base, inside: Inside, compiler: Compiler) -> list[Part]:
    """Bytecode of the base's own modules, where it has none: distributions leave it to an installation that never happens."""
    if not inside.modules or not compiler.interpreter:
        return []
    key = " ".join(["bytecode", compiler.key, *(layer.diff_id for layer in base.layers)])
    return [Part(title="bytecode of the standard library", key=key, files=lambda: dict(compiler.compile(inside.modules)))]


def _config(request: ImageRequest, base: Base, made: list[Layer], filled: Filled) -> Config:
    created = dt.datetime.fromtimestamp(request.epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    history = tuple(History(created=created, created_by=f"aweigh: {layer.created_by}") for layer in made)
    before = base.config.history
    if sum(not line.empty_layer for line in before) != len(base.layers):
        before = tuple(History(created=created, created_by="base") for _ in base.layers)
    return Config(
        architecture=base.platform.architecture,
        os=base.platform.os,
        variant=base.config.variant,
        created=created,
        config=_container(request, base, filled.start),
        rootfs=RootFs(type="layers", diff_ids=(*base.config.rootfs.diff_ids, *(layer.diff_id for layer in made))),
        history=(*before, *history),
    )


def _container(request: ImageRequest, base: Base, start: Start) -> dict[str, object]:
    known = dict(line.split("=", 1) for line in base.config.config.get("Env") or [] if "=" in line)
    health = {
        "Test": ["CMD", *start.health],
        "Interval": 10 * _SECOND_NS,
        "Timeout": 5 * _SECOND_NS,
        "StartPeriod": 30 * _SECOND_NS,
        "Retries": 3,
    }
    return {
        **{name: value for name, value in base.config.config.items() if name in ("Labels", "Volumes")},
        "User": NOBODY,
        "Env": [f"{name}={value}" for name, value in (known | dict(start.environment)).items()],
        "Entrypoint": list(start.entrypoint),
        "Cmd": list(start.command),
        "WorkingDir": start.folder,
        "ExposedPorts": {f"{start.port}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {**(base.config.config.get("Labels") or {}), **_labels(request, base)},
        **({"Healthcheck": health} if start.health else {}),
    }


def _labels(request: ImageRequest, base: Base) -> dict[str, str]:
    remote = {} if base.name.startswith(("oci:", "docker-archive:")) else {"org.opencontainers.image.base.name": base.name}
    return {
        **remote,  # of a base that lies here, a folder of this machine is nobody's business
        "org.opencontainers.image.base.digest": base.digest,
        "vnd.aweigh.version": __version__,
        **request.labels,
    }

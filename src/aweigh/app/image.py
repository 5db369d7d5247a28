"""Images of packages: the package out of the store, the base and the result from and to registries. Joins `store` and `deploy`; decides nothing."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import msgspec

from aweigh.app.models import open_model
from aweigh.app.shipping import access_of, open_remote
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.nearest import nearest
from aweigh.core.package import Variant
from aweigh.core.plugins import load
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.deploy.images import BASE, Image, ImageRequest, RunnerPayload, ServerPayload, build_image
from aweigh.deploy.images.attach import documents_about
from aweigh.deploy.images.base import ARCHIVE, OCI, ImageRegistry
from aweigh.deploy.images.context import check_context, write_context
from aweigh.deploy.images.layers import Content, Link
from aweigh.deploy.images.output import (
    Attached,
    ImageStore,
    Sent,
    check_archive,
    check_layout,
    check_name,
    check_tag,
    push_image,
    write_archive,
    write_layout,
)
from aweigh.deploy.platforms import parse_platforms
from aweigh.engine.variants import choose_variant, in_order
from aweigh.store import StoredPackage
from aweigh.store.alone import alone
from aweigh.store.remotes import Access, Address, parse_address
from aweigh.store.remotes.address import REGISTRY


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as a person wrote it."""

    to: str = ""
    """`oci:FOLDER[:TAG]`, `docker-archive:FILE`, or the address of a registry."""
    platforms: str = "linux/amd64"
    base: str = BASE
    variants: tuple[str, ...] = ()
    """Empty: the quickest that is proven."""
    runner: bool = False
    """The runner in place of the server."""
    bytecode: bool = True
    sign_key: str = ""
    """PEM file of an ECDSA key; empty: it is not signed."""
    dockerfile: str = ""
    """Folder for a Dockerfile, a compose file and what they copy; empty: none is written."""
    epoch: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of it."""

    package: PackageHandle
    image: Image
    variants: Sequence[Variant]
    where: str = ""
    """What names it there, with its digest where that can be said."""
    sent: Sent | None = None
    attached: Sequence[Attached] = ()
    folder: Path | None = None
    """Where the Dockerfile is."""


def make_image(settings: Settings, model: str, options: ImageOptions, *, access: Access | None = None, progress: Progress = quiet) -> Made:
    """Build an image of a model, and put it where `options.to` says.

    Raises ModelNotFound, InvalidInput, Conflict, Unsupported, Refused where a wheel does not fit the base, MissingLibrary, and what registries raise.
    """
    if not options.to and not options.dockerfile:
        raise InvalidInput(
            "it is not said where the image goes", hint="--to oci:FOLDER, --to registry.example/team/NAME, or --dockerfile FOLDER"
        )
    place = _place(options.to) if options.to else None
    platforms = parse_platforms(options.platforms)
    if place is not None and place.file is not None and len(platforms) > 1:
        raise Unsupported(
            f"an archive holds one platform, and {len(platforms)} are asked for", hint="name one --platform, or write oci:FOLDER"
        )
    if options.dockerfile:
        check_context(Path(options.dockerfile), options.base)
    key = Path(options.sign_key).expanduser() if options.sign_key else None
    if key is not None:
        cast("Callable[[bytes, Path], bytes]", load("signer", "ecdsa"))(b"", key)  # a key that cannot sign is told before minutes of work
    package = open_model(settings, model, progress=progress)
    if not isinstance(package, StoredPackage):
        raise Unsupported(f"{package.reference} is not in the store", hint="pack it first: aweigh pack FILE --name NAME")
    variants = _variants(package, options.variants)
    reach = access or access_of(settings)
    stranger = _to_strangers(reach, settings, place)
    request = ImageRequest(
        payload=RunnerPayload(package=package, variant=_one(variants)) if options.runner else _server(package, variants),
        platforms=platforms,
        base=options.base,
        registry=lambda text: _open(text, reach if place and place.address and place.address.host == base_address(text).host else stranger),
        cache=Path(settings.image_cache).expanduser(),
        epoch=options.epoch,
        bytecode=options.bytecode,
        labels=_labels(package, variants),
    )
    image = build_image(request, progress=progress)
    attached = documents_about(image, request, name=str(package.reference), package=package.digest, key_file=key)
    made = Made(package=package, image=image, variants=variants, attached=attached)
    if options.dockerfile:
        made = dataclasses.replace(made, folder=_write_context(image, request, Path(options.dockerfile), package, progress))
    return _write(made, place, reach, options.base, progress) if place is not None else made


def _write_context(image: Image, request: ImageRequest, folder: Path, package: StoredPackage, progress: Progress) -> Path:
    """The folder to build in with Docker. Raises Conflict for files that a person put there or changed."""
    first = image.platforms[0]
    name = f"{request.labels['org.opencontainers.image.title']}:v{request.labels['org.opencontainers.image.version']}"
    make = cast("Callable[..., dict[str, bytes | Path]]", load("image-output", "dockerfile"))
    files = make(request.base, first.platform, name, first.parts, first.start, request.labels)
    progress("writing the folder")
    write_context(folder, files, name=str(package.reference.name), model=str(package.reference), digest=package.digest)
    return folder


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an image goes: one of the three, and the name that it gets there; empty: the package's version."""

    folder: Path | None = None
    file: Path | None = None
    address: Address | None = None
    name: str = ""


def _place(to: str) -> _Place:
    """What is wrong with it is said before anything is built. Raises InvalidInput, and Conflict for a place that holds something else."""
    head, _, name = to.removeprefix(OCI).removeprefix(ARCHIVE).partition(":")
    if to.startswith((OCI, ARCHIVE)) and not head:
        raise InvalidInput(f"{to!r} names no file", hint="oci:FOLDER, oci:FOLDER:TAG, docker-archive:FILE or docker-archive:FILE:NAME:TAG")
    if to.startswith(OCI):
        check_layout(Path(head))
        return _Place(folder=Path(head), name=check_tag(name) if name else "")
    if to.startswith(ARCHIVE):
        check_archive(Path(head))
        return _Place(file=Path(head), name=check_name(name) if name else "")
    places = "oci:FOLDER, docker-archive:FILE or registry.example/team/NAME:TAG"
    try:
        address = parse_address(to)
    except InvalidInput as error:
        near = nearest(to.partition(":")[0], [OCI.rstrip(":"), ARCHIVE.rstrip(":")])
        meant = f"did you mean '{near}:…'? There are " if near else ""
        raise InvalidInput(f"{to!r} is no place for an image: {error.message}", hint=f"{meant}{places}") from error
    if address.scheme != REGISTRY or address.digest:
        raise InvalidInput(f"{to!r} is no place for an image", hint=places)
    return _Place(address=address, name=address.tag)


def _write(made: Made, place: _Place, access: Access, base: str, progress: Progress) -> Made:
    tag = place.name or f"v{made.package.reference.version}"
    if place.folder is not None:
        beside = write_layout(made.image, place.folder, tag, made.attached)
        return dataclasses.replace(made, where=f"{OCI}{place.folder}:{tag}", attached=beside)
    if place.file is not None:
        name = place.name or f"{made.package.reference.name}:{tag}"
        write_archive(made.image, place.file, name)
        return dataclasses.replace(made, where=f"{ARCHIVE}{place.file}:{name}")
    if place.address is None:
        return made
    address = dataclasses.replace(place.address, tag=tag)
    near = None if base.startswith((OCI, ARCHIVE)) else base_address(base)
    if near is not None and near.host == address.host and not access.mount_from:
        access = dataclasses.replace(access, mount_from=near.repository)
    sent = push_image(made.image, cast("ImageStore", open_remote(address, access)), tag, made.attached, progress=progress)
    return dataclasses.replace(made, where=f"{address}@{made.image.digest}", sent=sent, attached=sent.attached)


def _to_strangers(access: Access, settings: Settings, place: _Place | None) -> Access:
    """How to reach a registry other than the one that the image goes to: over TLS, and as nobody who is known to that one.

    Where the image goes to none, a user name that the settings do not have was given for the base.
    """
    access = dataclasses.replace(access, plain_http=False, mount_from="")
    if access.username != settings.registry_username and not (place and place.address):
        return access
    return dataclasses.replace(access, username="", password="")


def _open(text: str, access: Access) -> tuple[ImageRegistry, str]:
    address = base_address(text)
    return cast("ImageRegistry", open_remote(address, access)), address.digest or address.tag or "latest"


def base_address(text: str) -> Address:
    """The address that a base's name means, as Docker has it: `python:3.12-slim` and `team/base` are Docker Hub's; beside a digest a tag says nothing.

    Raises InvalidInput.
    """
    name, at, digest = text.partition("@")
    head, slash, _ = name.partition("/")
    if not (slash and ("." in head or ":" in head or head == "localhost")):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    address = parse_address(name)
    return parse_address(f"{dataclasses.replace(address, tag='')}@{digest}") if at else address


def _variants(package: StoredPackage, names: Sequence[str]) -> list[Variant]:
    """Those that are named, or the quickest that is proven: its library must be in the image, not here."""
    proven = [variant for variant in package.manifest.variants if variant.evidence is not None and variant.evidence.passed]
    if proven and not names:
        return in_order(proven, "online")[:1]
    return [choose_variant(package.manifest, name) for name in names or ("",)]


def _one(variants: Sequence[Variant]) -> Variant:
    if len(variants) > 1:
        raise InvalidInput("the runner answers by one variant, and several are named", hint="give --variant once")
    return variants[0]


def _server(package: StoredPackage, variants: Sequence[Variant]) -> ServerPayload:
    kept = alone(package, variants)
    home: dict[str, Content] = {**kept.files, **{path: Link(to=to) for path, to in kept.links.items()}}
    return ServerPayload(
        name=package.reference.name,
        variants=variants,
        some=len(variants) < len(package.manifest.variants),
        others=tuple(_of_parts(package)),
        home=home,
        digest=package.digest,
    )


def _of_parts(package: StoredPackage) -> Iterator[Variant]:
    """Of a pipeline: the variants that its parts answer by, and theirs."""
    for part in package.manifest.parts:
        needed = package.part(part)
        yield from _variants(needed, ())
        yield from _of_parts(needed)


def _labels(package: StoredPackage, variants: Sequence[Variant]) -> dict[str, str]:
    said = {
        "org.opencontainers.image.title": str(package.reference.name),
        "org.opencontainers.image.version": str(package.reference.version),
        "org.opencontainers.image.description": package.manifest.description,
        "org.opencontainers.image.licenses": package.manifest.licence,
        "vnd.aweigh.package.digest": package.digest,
        "vnd.aweigh.variant": ",".join(variant.name for variant in variants),
        "vnd.aweigh.runtime": ",".join(dict.fromkeys(variant.runtime for variant in variants)),
    }
    return {name: value for name, value in said.items() if value}

"""The image that others are built on: from a registry, a layout on disk, or an archive as `docker save` writes it. Used by `build`.

Everything is checked against the digest it is named by; nothing of it is run.
"""

import dataclasses
import hashlib
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, NotFound, Unavailable, Unsupported
from aweigh.core.names import Digest, digest_name
from aweigh.core.oci import REF_NAME, Descriptor
from aweigh.core.protocols import Progress, quiet
from aweigh.core.whole import whole
from aweigh.deploy.images.documents import (
    ALL_TYPES,
    INDEX_TYPES,
    LAYER_TYPES,
    MAX_DOCUMENT_BYTES,
    Config,
    Index,
    Manifest,
    decode,
)
from aweigh.deploy.images.layers import Layer, open_plain
from aweigh.deploy.platforms import Platform

OCI: Final = "oci:"
ARCHIVE: Final = "docker-archive:"
_CHUNK_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 3
_NO_ARCHIVE: Final = (
    tarfile.TarError, KeyError, EOFError, zlib.error, lzma.LZMAError, msgspec.DecodeError, UnicodeDecodeError, RecursionError,
)  # fmt: skip
"""What reading one raises that is cut off, damaged, or something else."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One platform's image to build on, its layers on this disk."""

    name: str
    """As it was asked for."""
    digest: str
    """Of its manifest."""
    platform: Platform
    config: Config
    layers: tuple[Layer, ...]


class ImageRegistry(Protocol):
    """One repository of a registry, as images need it."""

    def fetch(self, tag: str, accept: Sequence[str]) -> bytes:
        """The document that a tag or digest names. Raises NotFound."""
        ...

    def get(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        """A blob's bytes."""
        ...


class _Source(Protocol):
    top: str
    """What the image is named by there: a tag, a digest."""

    def document(self, name: str) -> bytes: ...
    def blob(self, descriptor: Descriptor) -> Path: ...


def open_base(
    text: str,
    platform: Platform,
    *,
    cache: Path,
    registry: Callable[[str], tuple[ImageRegistry, str]],
    progress: Progress = quiet,
) -> Base:
    """Read `oci:FOLDER[:TAG]`, `docker-archive:FILE` or the address of a registry, which `registry` opens: a repository, and tag or digest in it.

    Raises InvalidFile, FileMissing, NotFound, Unsupported where it has no image for the platform, and what the registry raises.
    """
    blobs = cache / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    source: _Source
    if text.startswith(ARCHIVE):
        source = _Archive(Path(text.removeprefix(ARCHIVE)), blobs)
    elif text.startswith(OCI):
        source = _Layout(text.removeprefix(OCI))
    else:
        source = _Remote(*registry(text), blobs, progress)
    try:
        data = _of_platform(source, platform, text)
    except Unavailable as error:
        failed = error.saying(f"the base image {text} cannot be fetched: {error.message}")
        failed.hint = f"build on an image that this machine reaches: --base registry.example/team/IMAGE, or --base {OCI}FOLDER"
        raise failed from error
    manifest = decode(data, Manifest, place=f"the manifest of {text}")
    config = decode(_read(source.blob(manifest.config)), Config, place=f"the config of {text}")
    if (config.os, config.architecture) != (platform.os, platform.architecture):
        raise Unsupported(f"{text} is for {config.os}/{config.architecture}, not for {platform}", hint="name a base for that platform")
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise InvalidFile(f"{text} has {len(manifest.layers)} layers and names {len(config.rootfs.diff_ids)}", hint="do not use it")
    layers = []
    for at, (descriptor, diff_id) in enumerate(zip(manifest.layers, config.rootfs.diff_ids, strict=True)):
        progress(f"fetching {text} for {platform}", at, len(manifest.layers))
        layers.append(_layer(source, descriptor, diff_id, text))
    return Base(name=text, digest=f"sha256:{hashlib.sha256(data).hexdigest()}", platform=platform, config=config, layers=tuple(layers))


def _of_platform(source: _Source, platform: Platform, text: str) -> bytes:
    """The manifest for the platform, through indexes of indexes."""
    data = source.document(source.top)
    for _ in range(_MAX_DEPTH):
        index = _as_index(data, text)
        if index is None:
            return data
        images = [each for each in index.manifests if _fits(each, platform)]
        if not images:
            known = sorted({f"{(each.platform or {}).get('os')}/{(each.platform or {}).get('architecture')}" for each in index.manifests})
            raise Unsupported(f"{text} has no image for {platform}", hint=f"it has {', '.join(known)[:200]}")
        data = source.document(images[0].digest)
    raise InvalidFile(f"{text} is an index of indexes, {_MAX_DEPTH} deep", hint="name the image itself")


def _as_index(data: bytes, text: str) -> Index | None:
    found = decode(data, _Kind, place=text)
    if found.media_type in INDEX_TYPES or (not found.media_type and found.manifests is not None):
        return decode(data, Index, place=text)
    return None


class _Kind(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    media_type: str = ""
    manifests: tuple[object, ...] | None = None


def _fits(descriptor: Descriptor, platform: Platform) -> bool:
    stated = descriptor.platform
    if stated is None:
        return descriptor.media_type in ALL_TYPES and descriptor.artifact_type is None
    variant = str(stated.get("variant", ""))
    same = (stated.get("os"), stated.get("architecture")) == (platform.os, platform.architecture)
    return same and (not platform.variant or variant == platform.variant)


def _layer(source: _Source, descriptor: Descriptor, diff_id: str, text: str) -> Layer:
    kind = LAYER_TYPES.get(descriptor.media_type)
    if kind is None:
        raise Unsupported(f"{text} has a layer of type {descriptor.media_type!r}", hint="layers must be tar or tar+gzip")
    return Layer(
        path=source.blob(descriptor), digest=descriptor.digest, diff_id=digest_name(diff_id), size_bytes=descriptor.size, media_type=kind
    )


class _Layout:
    """An OCI layout: `FOLDER` with one image, or `FOLDER:TAG`."""

    def __init__(self, text: str) -> None:
        folder, colon, tag = text.rpartition(":")
        if not colon or not Path(folder).is_dir():
            folder, tag = text, ""
        self._folder = Path(folder)
        self._index = decode(_read(self._folder / "index.json"), Index, place=f"{folder}/index.json")
        self.top = self._choose(tag)

    def document(self, name: str) -> bytes:
        return _checked(self._path(name), Digest(name)).read_bytes()

    def blob(self, descriptor: Descriptor) -> Path:
        return _checked(self._path(descriptor.digest), descriptor.digest)

    def _path(self, digest: str) -> Path:
        return self._folder / "blobs" / "sha256" / digest_name(digest).removeprefix("sha256:")

    def _choose(self, tag: str) -> str:
        images = [each for each in self._index.manifests if each.artifact_type is None]
        if tag:
            images = [each for each in images if each.annotations.get(REF_NAME) == tag]
        if len({each.digest for each in images}) == 1:
            return images[0].digest
        known = ", ".join(each.annotations.get(REF_NAME, each.digest[:19]) for each in self._index.manifests[:10])
        raise NotFound(f"{self._folder} has {len(images) or 'no'} images{f' named {tag!r}' if tag else ''}", hint=f"it has {known}")


class _Remote:
    """A repository of a registry; blobs are kept in the cache."""

    def __init__(self, registry: ImageRegistry, tag: str, blobs: Path, progress: Progress) -> None:
        self._registry = registry
        self._blobs = blobs
        self._progress = progress
        self.top = tag

    def document(self, name: str) -> bytes:
        data = self._registry.fetch(name, ALL_TYPES)
        if name.startswith("sha256:") and hashlib.sha256(data).hexdigest() != name.removeprefix("sha256:"):
            raise InvalidFile(f"the registry gave another document than {name[:19]}…", hint="do not use it")
        return data

    def blob(self, descriptor: Descriptor) -> Path:
        path = self._blobs / digest_name(descriptor.digest).removeprefix("sha256:")
        if not path.exists():
            keep(path, descriptor, self._registry.get(descriptor.digest, descriptor.size))
        return _checked(path, descriptor.digest)


class _ArchiveManifest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    config: str
    layers: tuple[str, ...]


class _Archive:
    """An archive as `docker save` writes it: its files become blobs, and a manifest is made of them."""

    top = "manifest"

    def __init__(self, file: Path, blobs: Path) -> None:
        self._blobs = blobs
        try:
            with open_plain(file) as stream, tarfile.open(fileobj=stream) as archive:
                self._manifest = self._read(archive, file)
        except _NO_ARCHIVE as error:
            raise _no_archive(file, error) from error
        except OSError as error:
            if error.errno is None:  # of gzip and bz2: of the file and the disk it has a number
                raise _no_archive(file, error) from error
            raise

    def document(self, name: str) -> bytes:
        return self._manifest

    def blob(self, descriptor: Descriptor) -> Path:
        return self._blobs / descriptor.digest.removeprefix("sha256:")

    def _read(self, archive: tarfile.TarFile, file: Path) -> bytes:
        data = _member(archive, "manifest.json", limit=MAX_DOCUMENT_BYTES)
        listed = msgspec.json.decode(data, type=tuple[_ArchiveManifest, ...])
        if len(listed) != 1:
            raise InvalidInput(f"{file} holds {len(listed)} images", hint="save one: docker save NAME")
        found = listed[0]
        config = self._keep(archive, found.config, "application/vnd.oci.image.config.v1+json")
        layers = tuple(self._keep(archive, name, "") for name in found.layers)
        return msgspec.json.encode(Manifest(schema_version=2, config=config, layers=layers), order="sorted")

    def _keep(self, archive: tarfile.TarFile, name: str, kind: str) -> Descriptor:
        stream = archive.extractfile(name)
        if stream is None:
            raise InvalidFile(f"{name!r} in the archive is no file")
        handle, made = tempfile.mkstemp(dir=self._blobs, prefix=".making-")
        digest, size, first = hashlib.sha256(), 0, b""
        try:
            with os.fdopen(handle, "wb") as out:
                while chunk := stream.read(_CHUNK_BYTES):
                    first = first or chunk[:2]
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
            Path(made).replace(self._blobs / digest.hexdigest())
        finally:
            Path(made).unlink(missing_ok=True)
        tar = "application/vnd.oci.image.layer.v1.tar"
        packed = f"{tar}+gzip" if first == b"\x1f\x8b" else tar
        return Descriptor(media_type=kind or packed, digest=Digest(f"sha256:{digest.hexdigest()}"), size=size)


def _no_archive(file: Path, error: Exception) -> InvalidFile:
    return InvalidFile(f"{file} is no archive of 'docker save': {error}", hint="save it again: docker save NAME")


def _member(archive: tarfile.TarFile, name: str, *, limit: int) -> bytes:
    stream = archive.extractfile(name)
    data = stream.read(limit + 1) if stream else b""
    if not data or len(data) > limit:
        raise InvalidFile(f"{name!r} in the archive is none of those that 'docker save' writes")
    return data


def keep(path: Path, descriptor: Descriptor, chunks: Iterator[bytes]) -> None:
    """Write a blob that comes in pieces; it is there whole and checked, or not at all. Raises InvalidFile."""
    digest, size = hashlib.sha256(), 0
    with whole(path, mode=0o644) as stream:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if size > descriptor.size:
                break
            stream.write(chunk)
        if size != descriptor.size or f"sha256:{digest.hexdigest()}" != descriptor.digest:
            raise InvalidFile(f"what came as {descriptor.digest[:19]}… is something else", hint="try again; do not use it")


def _read(path: Path) -> bytes:
    try:
        with open_plain(path) as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except InvalidInput as error:
        if not path.exists():
            raise FileMissing(f"{path} does not exist", hint="a layout is a folder with index.json and blobs: oci:FOLDER[:TAG]") from error
        raise
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidFile(f"{path} is larger than such a document may be")
    return data


def _checked(path: Path, digest: str) -> Path:
    if not path.exists():
        raise FileMissing(f"blob {digest[:19]}… is missing: {path}", hint="the layout is not whole: copy it again")
    with open_plain(path) as stream:
        if f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" != digest:
            raise InvalidFile(f"{path} is not what its name says", hint="remove it: it was damaged or changed")
    return path

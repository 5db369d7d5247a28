"""Where a built image goes: an OCI layout on disk, an archive that `docker load` reads, a registry. Used by `app`."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from aweigh.core.errors import Conflict, InvalidInput, NotFound, Unsupported
from aweigh.core.names import Digest
from aweigh.core.oci import REF_NAME, Descriptor, encode
from aweigh.core.protocols import Progress, quiet
from aweigh.core.whole import whole
from aweigh.deploy.images.build import Image, describe
from aweigh.deploy.images.documents import ALL_TYPES, CONFIG_TYPE, INDEX_TYPES, Index, decode
from aweigh.deploy.images.joined import join_documents
from aweigh.deploy.images.layers import open_plain

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_ANOTHER: Final = "name a folder that is not there yet"
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._:/-]+[a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


class ImageStore(Protocol):
    """One repository of a registry, to send an image to."""

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        """Send a blob; False where it was there."""
        ...

    def fetch(self, tag: str, accept: Sequence[str]) -> bytes:
        """The document that a tag or digest names. Raises NotFound."""
        ...

    def keep(self, name: str, document: bytes, media_type: str) -> None:
        """Keep a manifest or index under a tag or its digest, when all it names is there."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A document about an image: `manifest` names the image as its subject, and `blobs` hold what it says."""

    subject: str
    """The digest of what it is about."""
    manifest: bytes
    descriptor: Descriptor
    blobs: Sequence[bytes]
    tag: str = ""
    """The tag that clients without the referrers interface look for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a push did."""

    sent: int
    sent_bytes: int
    kept: int
    attached: Sequence[Attached] = ()
    """What stands beside the image now: with what others had put there."""


def check_tag(text: str) -> str:
    """Raise InvalidInput unless it is a tag."""
    if not _TAG.fullmatch(text):
        raise InvalidInput(f"{text[:120]!r} is not a tag", hint="a tag has letters, digits, '.', '_' and '-', 128 characters at most")
    return text


def check_name(text: str) -> str:
    """Raise InvalidInput unless it is a name and a tag, as `docker load` gives them."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(f"{text[:120]!r} is not the name of an image", hint="write it as fraud:v3, or registry.example/team/fraud:v3")
    return text


def check_layout(folder: Path) -> None:
    """Raise Conflict unless it is an OCI layout, or one can be made there."""
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise Conflict(f"{above} is a file, and an OCI layout is a folder", hint=_ANOTHER)
    if above == folder and any(folder.iterdir()) and not (folder / "oci-layout").is_file():
        raise Conflict(f"{folder} holds something else than an OCI layout", hint=_ANOTHER)


def check_archive(file: Path) -> None:
    """Raise Conflict unless a file can be written there."""
    above = next(place for place in file.absolute().parents if place.exists())
    if file.is_dir():
        raise Conflict(f"{file} is a folder, and an archive is a file", hint="name a file that is not there yet")
    if not above.is_dir():
        raise Conflict(f"{above} is a file, and {file} would be in it", hint="name a file in a folder")


def write_layout(image: Image, folder: Path, tag: str, attached: Sequence[Attached] = ()) -> Sequence[Attached]:
    """Add the image to an OCI layout, which is made where it is not there; what had the tag loses it. What stands beside the image then.

    Raises Conflict for a folder of something else, InvalidFile.
    """
    check_layout(folder)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    index = folder / "index.json"
    before = decode(index.read_bytes(), Index, place=str(index)).manifests if index.is_file() else ()
    known = {each.annotations.get(REF_NAME): blobs / each.digest.removeprefix("sha256:") for each in before}
    beside = [one for each in attached for one in _joined(each, lambda name: _if_there(known.get(name)))]
    for digest, content in _contents(image, beside).items():
        _place(blobs / digest.removeprefix("sha256:"), content)
    _replace(folder / "oci-layout", LAYOUT)
    top = msgspec.structs.replace(image.descriptor, annotations={REF_NAME: tag})
    entries = [top, *(msgspec.structs.replace(each.descriptor, annotations={REF_NAME: each.tag} if each.tag else {}) for each in beside)]
    taken, tags = {entry.digest for entry in entries}, {entry.annotations.get(REF_NAME) for entry in entries} - {None}
    kept = [each for each in before if (name := each.annotations.get(REF_NAME)) not in tags and (name or each.digest not in taken)]
    _replace(index, encode(Index(schema_version=2, manifests=(*kept, *entries))))
    return beside


def write_archive(image: Image, file: Path, name: str) -> None:
    """Write what `docker load` and `podman load` read: one platform under a name. Raises Unsupported for several."""
    if len(image.platforms) != 1:
        raise Unsupported(
            f"an archive holds one platform, and the image has {len(image.platforms)}", hint="name one --platform, or write oci:FOLDER"
        )
    (found,) = image.platforms
    config = describe(found.config, CONFIG_TYPE).digest
    listed = [{"Config": _member(config), "RepoTags": [name], "Layers": [_member(layer.digest) for layer in found.layers]}]
    members: dict[str, bytes | Path] = {
        _member(digest): content for digest, content in sorted(_contents(image, ()).items(), key=lambda item: item[0])
    }
    top = msgspec.structs.replace(image.descriptor, annotations={REF_NAME: name})
    members |= {
        "index.json": encode(Index(schema_version=2, manifests=(top,))),
        "manifest.json": msgspec.json.encode(listed),
        "oci-layout": LAYOUT,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file, mode=0o644) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in members.items():
            _add(archive, path, content)


def push_image(image: Image, registry: ImageStore, tag: str, attached: Sequence[Attached] = (), *, progress: Progress = quiet) -> Sent:
    """Send what the registry does not have, layers that were there least likely first, and the documents last: it is there whole or not at all."""
    contents = _contents(image, attached)
    manifests = {found.descriptor.digest for found in image.platforms} | {image.digest} | {each.descriptor.digest for each in attached}
    blobs = [(digest, content) for digest, content in contents.items() if digest not in manifests]
    sizes: list[int] = []
    for at, (digest, content) in enumerate(blobs):
        progress("sending layers", at, len(blobs))
        sizes += _put(registry, digest, content)
    for found in image.platforms:
        registry.keep(found.descriptor.digest, found.manifest, found.descriptor.media_type)
    registry.keep(image.digest, image.document, image.descriptor.media_type)
    beside: list[Attached] = []
    for each in attached:
        for one in _joined(each, lambda name: _if_named(registry, name)):
            for digest, blob in _named(one.blobs).items():
                if digest not in contents:
                    _put(registry, digest, blob)
            registry.keep(one.tag or one.descriptor.digest, one.manifest, one.descriptor.media_type)
            beside.append(one)
    registry.keep(tag, image.document, image.descriptor.media_type)
    return Sent(sent=len(sizes), sent_bytes=sum(sizes), kept=len(blobs) - len(sizes), attached=beside)


def _put(registry: ImageStore, digest: Digest, content: bytes | Path) -> list[int]:
    """Send a blob; its size, or nothing where it was there."""
    with _on_disk(content) as path:
        size_bytes = path.stat().st_size
        return [size_bytes] if registry.put(digest, size_bytes, path) else []


def _joined(ours: Attached, there: Callable[[str], bytes | None]) -> list[Attached]:
    """The document, and under its tag what it is together with what others put there. Raises InvalidFile where that is of another kind."""
    before = there(ours.tag) if ours.tag else None
    if before is None:
        return [ours]
    document, kind, blobs = join_documents(ours.manifest, before, ours.descriptor.media_type, place=f"what is under {ours.tag[:20]}…")
    if document == ours.manifest:
        return [ours]
    descriptor = msgspec.structs.replace(describe(document, kind), artifact_type=ours.descriptor.artifact_type)
    both = dataclasses.replace(ours, manifest=document, descriptor=descriptor, blobs=blobs)
    return [both] if kind in INDEX_TYPES else [dataclasses.replace(ours, tag=""), both]  # the list of referrers names ours by its digest


def _if_named(registry: ImageStore, name: str) -> bytes | None:
    try:
        return registry.fetch(name, ALL_TYPES)
    except NotFound:
        return None


def _if_there(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None and path.is_file() else None


def _contents(image: Image, attached: Sequence[Attached]) -> Mapping[Digest, bytes | Path]:
    """Everything that the image is made of, by digest."""
    found: dict[Digest, bytes | Path] = {}
    for each in image.platforms:
        found |= {layer.digest: layer.path for layer in each.layers}
        found[describe(each.config, "").digest] = each.config
        found[each.descriptor.digest] = each.manifest
    found[image.digest] = image.document
    for document in attached:
        found |= _named(document.blobs)
        found[document.descriptor.digest] = document.manifest
    return found


def _named(blobs: Sequence[bytes]) -> Mapping[Digest, bytes]:
    return {describe(blob, "").digest: blob for blob in blobs}


@contextlib.contextmanager
def _on_disk(content: bytes | Path) -> Iterator[Path]:
    if isinstance(content, Path):
        yield content
        return
    with tempfile.NamedTemporaryFile(prefix="aweigh-blob-") as stream:
        stream.write(content)
        stream.flush()
        yield Path(stream.name)


def _member(digest: Digest) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(archive: tarfile.TarFile, path: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    with open_plain(content) as stream:
        entry.size = os.fstat(stream.fileno()).st_size
        archive.addfile(entry, stream)


def _place(path: Path, content: bytes | Path) -> None:
    size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    if path.is_file() and path.stat().st_size == size_bytes:
        return
    if isinstance(content, bytes):
        _replace(path, content)
        return
    with whole(path, mode=0o644) as out, open_plain(content) as stream:
        shutil.copyfileobj(stream, out, 1024 * 1024)


def _replace(path: Path, data: bytes) -> None:
    with whole(path, mode=0o644) as stream:
        stream.write(data)

"""Where a built image goes: an OCI layout on disk, an archive that `docker load` reads, a registry. Used by `app`."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from aweigh.core.errors import Conflict, InvalidInput, Unsupported
from aweigh.core.names import Digest
from aweigh.core.oci import REF_NAME, Descriptor, encode
from aweigh.core.protocols import Progress, quiet
from aweigh.core.whole import whole
from aweigh.deploy.images.build import Image, describe
from aweigh.deploy.images.documents import CONFIG_TYPE, Index, decode
from aweigh.deploy.images.layers import open_plain

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


_NAME: Final = re.compile(r"[a-z0-9]+(?:[._:/-]+[a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


class ImageStore(Protocol):
    """One repository of a registry, to send an image to."""

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        """Send a blob; False where it was there."""
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


def write_layout(image: Image, folder: Path, tag: str, attached: Sequence[Attached] = ()) -> None:
    """Add the image to an OCI layout, which is made where it is not there; what had the tag loses it. Raises Conflict for a folder of something else."""
    blobs = folder / "blobs" / "sha256"
    if folder.exists() and any(folder.iterdir()) and not (folder / "oci-layout").is_file():
        raise Conflict(f"{folder} holds something else than an OCI layout", hint="name a folder that is not there yet")
    blobs.mkdir(parents=True, exist_ok=True)
    for digest, content in _contents(image, attached).items():
        _place(blobs / digest.removeprefix("sha256:"), content)
    _replace(folder / "oci-layout", LAYOUT)
    top = msgspec.structs.replace(image.descriptor, annotations={REF_NAME: tag})
    entries = [top, *(msgspec.structs.replace(each.descriptor, annotations={REF_NAME: each.tag} if each.tag else {}) for each in attached)]
    taken = {entry.digest for entry in entries}
    before = (
        decode((folder / "index.json").read_bytes(), Index, place=f"{folder}/index.json") if (folder / "index.json").is_file() else None
    )
    tags = {entry.annotations.get(REF_NAME) for entry in entries} - {None}
    others = before.manifests if before else ()
    kept = [
        each
        for each in others
        if each.annotations.get(REF_NAME) not in tags and (each.annotations.get(REF_NAME) or each.digest not in taken)
    ]
    _replace(folder / "index.json", encode(Index(schema_version=2, manifests=(*kept, *entries))))


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
    sent = sent_bytes = 0
    for at, (digest, content) in enumerate(blobs):
        progress("sending layers", at, len(blobs))
        with _on_disk(content) as path:
            size_bytes = path.stat().st_size
            if registry.put(digest, size_bytes, path):
                sent, sent_bytes = sent + 1, sent_bytes + size_bytes
    for found in image.platforms:
        registry.keep(found.descriptor.digest, found.manifest, found.descriptor.media_type)
    registry.keep(image.digest, image.document, image.descriptor.media_type)
    for each in attached:
        registry.keep(each.tag or each.descriptor.digest, each.manifest, each.descriptor.media_type)
    registry.keep(tag, image.document, image.descriptor.media_type)
    return Sent(sent=sent, sent_bytes=sent_bytes, kept=len(blobs) - sent)


def _contents(image: Image, attached: Sequence[Attached]) -> Mapping[Digest, bytes | Path]:
    """Everything that the image is made of, by digest."""
    found: dict[Digest, bytes | Path] = {}
    for each in image.platforms:
        found |= {layer.digest: layer.path for layer in each.layers}
        found[describe(each.config, "").digest] = each.config
        found[each.descriptor.digest] = each.manifest
    found[image.digest] = image.document
    for document in attached:
        found |= {describe(blob, "").digest: blob for blob in document.blobs}
        found[document.descriptor.digest] = document.manifest
    return found


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

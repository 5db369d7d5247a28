"""The OCI documents of images that are read here, and media types. Used by all of `images`; pure.

Spec: OCI image-spec config.md, manifest.md, image-index.md; Docker's own manifest version 2 for images of before.
"""

from typing import Any, Final, TypeVar

import msgspec

from aweigh.core.errors import InvalidFile
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor

CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES: Final = (INDEX_TYPE, DOCKER_LIST_TYPE)
ALL_TYPES: Final = (INDEX_TYPE, MANIFEST_TYPE, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE)
LAYER_TYPES: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
}
"""What a base's layers may be, and what OCI calls the same bytes."""
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image manifest."""

    schema_version: int
    media_type: str = MANIFEST_TYPE
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image index, and the `index.json` of a layout."""

    schema_version: int
    media_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of the layers before they were compressed."""

    type: str
    diff_ids: tuple[str, ...]


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a config's history."""

    created: str = ""
    created_by: str = ""
    comment: str = ""
    author: str = ""
    empty_layer: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image's config; `config` holds what a container is started with, by the names that Docker gave it."""

    architecture: str
    os: str
    variant: str = ""
    created: str = ""
    config: dict[str, Any] = {}
    rootfs: RootFs
    history: tuple[History, ...] = ()


_Document = TypeVar("_Document", bound=msgspec.Struct)


def decode(data: bytes, kind: type[_Document], *, place: str) -> _Document:
    """Read a document. Raises InvalidFile, with the place."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{place} is no OCI {kind.__name__.lower()}: {error}", hint="is it an image?") from error

"""What packages and images share of OCI: the descriptor, media types, and JSON whose bytes are always the same. Used by `store` and `deploy`.

Spec: OCI image-spec descriptor.md, manifest.md, image-index.md.
"""

from typing import Final

import msgspec

from aweigh.core.names import Digest

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
REF_NAME: Final = "org.opencontainers.image.ref.name"


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An OCI descriptor; unknown fields are allowed, as the specification asks of readers."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] = {}
    platform: dict[str, object] | None = None
    urls: tuple[str, ...] = ()
    data: str | None = None


def encode(document: msgspec.Struct) -> bytes:
    """Deterministic JSON."""
    return msgspec.json.encode(document, order="sorted")

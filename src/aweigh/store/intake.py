"""Judges a package that comes from elsewhere, by its manifest alone, before any of its files is fetched. Used by `Store.adopt`; pure.

Whoever made the manifest may be hostile: nothing in it is believed that is not checked here, by digest, or by `open_package`.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aweigh.core.errors import InvalidFile, InvalidName, TooLarge
from aweigh.core.names import Digest, digest_name
from aweigh.core.oci import MANIFEST_TYPE, Descriptor
from aweigh.core.package import PackageManifest
from aweigh.store.blobs import MAX_DOCUMENT_BYTES
from aweigh.store.oci import ARTIFACT_TYPE, FILE_PATH, PACKAGE_TYPE, OciManifest, decode_oci_manifest
from aweigh.store.package import StoredPackage

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""What registries allow, by the distribution specification."""
MAX_LAYERS: Final = 10_000
_STRANGE: Final = "it was not made by aweigh, or was changed since: do not use it"

Fetch = Callable[[Digest, int], Iterator[bytes]]
"""Gives the bytes of a blob of that digest and size; raises AweighError alone."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A package that an archive or a remote offers."""

    place: str
    """What to call it in messages: a file or an address."""
    digest: Digest
    """What the manifest's digest must be; what was asked for, or what the place says it has."""
    manifest: bytes
    fetch: Fetch
    version: int = 0
    """The number it had there; 0 when it had none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms an offer is taken. `permit` and `judge` raise to refuse it; nothing is published then."""

    permit: Callable[[PackageManifest], None]
    """Asked before the package's files are fetched."""
    judge: Callable[[StoredPackage], Iterable[str] | None]
    """Asked when all files are there and verified, before anyone else can see the package. Gives the variants that it could not try."""
    origin: str
    """Where it came from, for the index."""


def read_offer(offer: Offer) -> tuple[Descriptor, OciManifest]:
    """Check the manifest and describe it. Raises InvalidFile, TooLarge."""
    if len(offer.manifest) > MAX_MANIFEST_BYTES:
        raise TooLarge(f"{offer.place}: a manifest of {len(offer.manifest)} bytes, of {MAX_MANIFEST_BYTES} that are allowed", hint=_STRANGE)
    found = f"sha256:{hashlib.sha256(offer.manifest).hexdigest()}"
    if found != offer.digest:
        raise InvalidFile(
            f"{offer.place}: the manifest has digest {found[:19]}… where {offer.digest[:19]}… was promised",
            hint="it was damaged or changed on its way: nothing was published",
        )
    manifest = decode_oci_manifest(offer.manifest, place=offer.place)
    if manifest.schema_version != 2 or manifest.media_type not in ("", MANIFEST_TYPE):
        raise InvalidFile(
            f"{offer.place}: {manifest.media_type or 'no media type'!r} (schema {manifest.schema_version}) is not a manifest of OCI images",
            hint="pull a package that 'aweigh push' put there",
        )
    if len(manifest.layers) > MAX_LAYERS:
        raise TooLarge(f"{offer.place}: {len(manifest.layers)} layers, of {MAX_LAYERS} that are allowed", hint=_STRANGE)
    _check_layers(manifest, offer.place)
    return Descriptor(media_type=MANIFEST_TYPE, digest=offer.digest, size=len(offer.manifest), artifact_type=ARTIFACT_TYPE), manifest


def documents_of(manifest: OciManifest) -> list[Descriptor]:
    """What is fetched first, because it says what the rest is: `aweigh.json` and the config."""
    return [manifest.config, *(layer for layer in manifest.layers if layer.media_type == PACKAGE_TYPE)]


def _check_layers(manifest: OciManifest, place: str) -> None:
    sizes: dict[Digest, int] = {}
    paths: set[str] = set()
    for part in (manifest.config, *manifest.layers):
        _check_part(part, place)
        if sizes.setdefault(part.digest, part.size) != part.size:
            raise InvalidFile(f"{place}: blob {part.digest[:19]}… is said to have two sizes", hint=_STRANGE)
    for part in documents_of(manifest):
        if part.size > MAX_DOCUMENT_BYTES:
            raise TooLarge(f"{place}: a document of {part.size} bytes, of {MAX_DOCUMENT_BYTES} that are allowed", hint=_STRANGE)
    for layer in manifest.layers:
        path = layer.annotations.get(FILE_PATH, "")
        if path in paths:
            raise InvalidFile(f"{place}: two layers are named {path!r}", hint=_STRANGE)
        paths.add(path)
    if sum(layer.media_type == PACKAGE_TYPE for layer in manifest.layers) > 1:
        raise InvalidFile(f"{place}: it holds more than one package", hint=_STRANGE)


def _check_part(part: Descriptor, place: str) -> None:
    try:
        digest_name(part.digest)
    except InvalidName as error:
        raise InvalidFile(f"{place}: {error.message}", hint=_STRANGE) from error
    if part.size < 0:
        raise InvalidFile(f"{place}: blob {part.digest[:19]}… is said to have {part.size} bytes", hint=_STRANGE)
    if part.urls:
        raise InvalidFile(f"{place}: blob {part.digest[:19]}… lies elsewhere, at {part.urls[0][:120]!r}", hint="foreign layers are refused")

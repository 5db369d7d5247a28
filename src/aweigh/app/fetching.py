"""Models that lie elsewhere, for `pack` and `serve`: settings become the terms of a fetch, and the scheme says who fetches. Wires sources and store."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from aweigh.app.shipping import access_of, open_remote
from aweigh.core.errors import InvalidFile, InvalidSetting, NotFound, Unsupported
from aweigh.core.oci import Descriptor
from aweigh.core.plugins import load
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.sources import Budget, Fetched, Terms, checked_addresses, inside, is_allowed, scheme_of
from aweigh.store.oci import FILE_PATH, PACKAGE_TYPE, OciManifest
from aweigh.store.remotes import Access, Address, parse_address, split_port

_TITLE: Final = "org.opencontainers.image.title"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_OCI: Final = "oci://"
_MANIFEST: Final = msgspec.json.Decoder(OciManifest)


def fetch(settings: Settings, text: str, folder: Path, *, progress: Progress = quiet) -> Fetched:
    """Bring what the address names into the folder. Raises InvalidInput, MissingLibrary, Refused, TooLarge, NotFound, Unavailable, …"""
    scheme = scheme_of(text)
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {text.partition('#')[0].partition('?')[0]}")
    terms = terms_of(settings, progress)
    if scheme == "oci":
        return _from_registry(settings, text, folder, terms)
    fetcher = cast("Callable[[str, Path, Terms], Fetched]", load("source", scheme))
    return fetcher(text, folder, terms)


def terms_of(settings: Settings, progress: Progress = quiet) -> Terms:
    """What the settings allow a fetch. Raises InvalidSetting for a token file that cannot be read."""
    token = ""
    if settings.hub_token_file:
        try:
            token = Path(settings.hub_token_file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            raise InvalidSetting(f"setting 'hub_token_file' is {settings.hub_token_file!r}, which cannot be read: {error}") from error
    return Terms(
        max_bytes=settings.max_source_bytes,
        timeout_s=settings.transfer_timeout_s,
        private_hosts=tuple(pattern.strip().lower() for pattern in settings.private_hosts.split(",") if pattern.strip()),
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
        hub=settings.hub,
        hub_token=token,
        progress=progress,
    )


def _access_within(settings: Settings, place: Address, terms: Terms) -> Access:
    """How to reach a registry that is held to the terms, as are all that it names. Raises Refused before anything is opened, Unavailable."""
    host, port = split_port(place.host)
    host = host.strip("[]")
    plain = terms.plain_http and is_allowed(host, port or 80, terms)
    checked_addresses(host, port or (80 if plain else 443), terms)
    return dataclasses.replace(access_of(settings), plain_http=plain, check=lambda host, port: checked_addresses(host, port, terms))


def _from_registry(settings: Settings, text: str, folder: Path, terms: Terms) -> Fetched:
    """The files of an artifact, each layer under its title. Raises Unsupported for a package of aweigh."""
    place = parse_address(text.removeprefix(_OCI))
    remote = open_remote(place, _access_within(settings, place, terms))
    data = remote.manifest(str(place.digest or place.tag or "latest"))
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if place.digest and digest != place.digest:
        raise InvalidFile(f"{place} answered a manifest with the digest {digest}", hint="do not trust this registry")
    try:
        manifest = _MANIFEST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{place} is no artifact with a model: {error}", hint="an index of several platforms holds none") from error
    if manifest.layer(PACKAGE_TYPE) is not None:
        raise Unsupported(f"{place} is a package already", hint=f"aweigh pull {place}")
    layers = [layer for layer in manifest.layers if layer.media_type != _EMPTY]
    if not layers:
        raise NotFound(f"{place} holds no file", hint="check repository and tag")
    budget = Budget(terms)
    for layer in layers:
        budget.file()
        budget.take(layer.size)
    root = folder / place.name
    for layer in layers:
        name = layer.annotations.get(_TITLE) or layer.annotations.get(FILE_PATH) or ("model" if len(layers) == 1 else layer.digest[7:19])
        target = inside(root, name.split("/"))
        terms.progress(f"fetching {name}")
        _write(target, remote.get(layer.digest, layer.size), layer, str(place))
    only = root / (layers[0].annotations.get(_TITLE) or layers[0].annotations.get(FILE_PATH) or "model")
    origin = f"{_OCI}{place.host}/{place.repository}@{digest}"
    return Fetched(path=only if len(layers) == 1 else root, origin=origin)


def _write(target: Path, chunks: object, layer: Descriptor, place: str) -> None:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        for chunk in cast("list[bytes]", chunks):
            size += len(chunk)
            if size > layer.size:
                break
            digest.update(chunk)
            file.write(chunk)
    if size != layer.size or f"sha256:{digest.hexdigest()}" != layer.digest:
        raise InvalidFile(f"{place}: the layer {layer.digest[:19]}… came damaged", hint="try again, or do not trust this registry")

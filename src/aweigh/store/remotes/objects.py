"""Object stores: S3, Google Cloud Storage, Azure, by the library obstore. Loaded through the plug-in table by the address's scheme.

Below the address lie `blobs/sha256/…` (manifests too) and `tags/TAG`, a descriptor. Credentials, region and endpoint come from where each
cloud's own tools look for them (AWS_…, GOOGLE_…, AZURE_… in the environment, the machine's identity).
"""

import contextlib
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from aweigh.core.errors import AweighError, Denied, InvalidFile, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from aweigh.core.names import Digest, digest_name
from aweigh.core.oci import MANIFEST_TYPE, Descriptor, encode
from aweigh.store.intake import MAX_MANIFEST_BYTES
from aweigh.store.remotes.access import Access
from aweigh.store.remotes.address import Address
from aweigh.store.remotes.resume import resumed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK_BYTES: Final = 1024 * 1024
_RECORD_BYTES: Final = 64 * 1024
_MAX_TAGS: Final = 100_000
_MAX_TEXT: Final = 300
_DESCRIPTOR: Final = msgspec.json.Decoder(Descriptor)


def open_s3(address: Address, access: Access) -> "Objects":
    """`s3://bucket/prefix`."""
    return Objects(_opened(lambda: S3Store(address.host, **_options(access))), address, access)


def open_gs(address: Address, access: Access) -> "Objects":
    """`gs://bucket/prefix`."""
    return Objects(_opened(lambda: GCSStore(address.host, **_options(access))), address, access)


def open_az(address: Address, access: Access) -> "Objects":
    """`az://container/prefix`; the account comes from the environment."""
    return Objects(_opened(lambda: AzureStore(address.host, **_options(access))), address, access)


class Objects:
    """A `Remote` in an object store."""

    def __init__(self, store: "ObjectStore", address: Address, access: Access) -> None:
        self._store = store
        self._address = address
        self._access = access

    def tags(self) -> list[str]:
        prefix = self._key("tags")
        found: list[str] = []
        with self._mapped(prefix):
            for page in obstore.list(self._store, prefix=prefix):
                found += (str(each["path"]).rpartition("/")[2] for each in page)
                if len(found) > _MAX_TAGS:
                    raise TooLarge(f"{self._address} has more than {_MAX_TAGS} tags", hint="name the tag")
        return found

    def manifest(self, tag: str) -> bytes:
        if tag.startswith("sha256:"):
            return self._small(self._blob(digest_name(tag)), MAX_MANIFEST_BYTES)
        record = self._small(self._key("tags", tag), _RECORD_BYTES)
        try:
            found = _DESCRIPTOR.decode(record)
            digest_name(found.digest)
        except (msgspec.DecodeError, UnicodeDecodeError, AweighError) as error:
            raise InvalidFile(f"{self._address}: the record of tag {tag!r} is none: {error}", hint="push the package again") from error
        data = self._small(self._blob(found.digest), MAX_MANIFEST_BYTES)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != found.digest:
            raise InvalidFile(f"{self._address}: the manifest of tag {tag!r} is damaged", hint="push the package again")
        return data

    def get(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        return resumed(
            lambda offset: self._read(self._blob(digest), offset),
            size_bytes,
            place=f"{self._address} {digest[:19]}…",
            pause=self._access.pause,
        )

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        key = self._blob(digest)
        with self._mapped(key):
            try:
                if obstore.head(self._store, key)["size"] == size_bytes:
                    return False
            except FileNotFoundError:
                pass
            obstore.put(self._store, key, path)
        return True

    def tag(self, tag: str, manifest: bytes) -> None:
        digest = Digest(f"sha256:{hashlib.sha256(manifest).hexdigest()}")
        record = encode(Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(manifest)))
        for key, data in ((self._blob(digest), manifest), (self._key("tags", tag), record)):
            with self._mapped(key):
                obstore.put(self._store, key, data)

    def _read(self, key: str, offset: int) -> Iterator[bytes]:
        with self._mapped(key):
            answer = obstore.get(self._store, key, options={"range": {"offset": offset}} if offset else {})
            for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def _small(self, key: str, limit: int) -> bytes:
        data = b""
        for chunk in self._read(key, 0):
            data += chunk
            if len(data) > limit:
                raise TooLarge(f"{self._address}: {key!r} has more than the {limit} bytes that are allowed")
        return data

    def _blob(self, digest: Digest) -> str:
        return self._key("blobs", "sha256", digest_name(digest).removeprefix("sha256:"))

    def _key(self, *parts: str) -> str:
        return "/".join((self._address.repository, *parts))

    @contextlib.contextmanager
    def _mapped(self, key: str) -> Iterator[None]:
        """Map what the library raises; its own retries are over then."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no {key!r} in {self._address.scheme}://{self._address.host}", hint="check bucket, prefix and tag"
            ) from error
        except UnauthenticatedError as error:
            raise Unauthenticated(f"{self._address} wants to know who you are: {_text(error)}", hint=_credentials(self._address)) from error
        except PermissionDeniedError as error:
            raise Denied(f"you may not do this at {self._address}: {_text(error)}", hint=_credentials(self._address)) from error
        except (BaseError, OSError, ValueError) as error:
            raise Unavailable(f"{self._address} cannot be used: {_text(error)}", hint=_credentials(self._address)) from error


def _options(access: Access) -> dict[str, Any]:
    patience = timedelta(seconds=access.timeout_s)
    return {
        "client_options": {"connect_timeout": min(patience, timedelta(seconds=10)), **({"allow_http": True} if access.plain_http else {})},
        "retry_config": {"max_retries": 5, "retry_timeout": patience},
    }


def _opened(make: Any) -> "ObjectStore":
    try:
        store: ObjectStore = make()
        return store
    except (BaseError, ValueError, OSError) as error:
        raise InvalidInput(f"the object store cannot be opened: {_text(error)}", hint="check the variables of that cloud") from error


def _text(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0][:_MAX_TEXT]


def _credentials(address: Address) -> str:
    variables = {
        "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS",
        "az": "AZURE_STORAGE_…",
    }
    return f"credentials are looked for in {variables.get(address.scheme, 'the environment')} and in this machine's identity"

"""OCI registries, by the distribution specification 1.1. Loaded through the plug-in table; `open_registry` is its attribute.

Blobs that are there are not sent again; large ones go in pieces and go on where they stopped; what the registry says it keeps is compared.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, urlsplit

import msgspec

from aweigh.core.errors import AweighError, InvalidFile, NotFound, Refused, Unavailable, Unsupported
from aweigh.core.names import Digest
from aweigh.core.oci import MANIFEST_TYPE
from aweigh.store.intake import MAX_MANIFEST_BYTES
from aweigh.store.remotes.access import Access
from aweigh.store.remotes.address import Address
from aweigh.store.remotes.http import Web, path_of
from aweigh.store.remotes.resume import ATTEMPTS, delay_s, resumed, worth_another_try

WHOLE_BYTES: Final = 8 * 1024 * 1024
"""Blobs up to this go in one request."""
PIECE_BYTES: Final = 64 * 1024 * 1024
_MAX_PAGES: Final = 100
_TAGS_BYTES: Final = 4 * 1024 * 1024
_NEXT: Final = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-")


class _Tags(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] | None = None


def open_registry(address: Address, access: Access) -> "Registry":
    """One repository of a registry. Connects when first asked."""
    return Registry(address, access)


class Registry:
    """A `Remote`. Smaller sizes of `whole_bytes` and `piece_bytes` are for tests."""

    def __init__(self, address: Address, access: Access, *, whole_bytes: int = WHOLE_BYTES, piece_bytes: int = PIECE_BYTES) -> None:
        self._address = address
        self._access = access
        self._web = Web(address, access)
        self._whole_bytes = whole_bytes
        self._piece_bytes = piece_bytes
        self._greeted = False

    def tags(self) -> list[str]:
        self._greet()
        found: list[str] = []
        url = path_of(self._address.repository, "tags", "list") + "?n=1000"
        for _ in range(_MAX_PAGES):
            answer = self._web.request("GET", url, ok=frozenset({200, 404}))
            if answer.status == 404:
                self._web.drop(answer)
                return found
            link = _NEXT.search(answer.headers.get("Link", ""))
            try:
                found += msgspec.json.decode(self._web.document(answer, limit=_TAGS_BYTES), type=_Tags).tags or ()
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(f"{self._address.host} answered what is no list of tags", hint="is it a registry?") from error
            if link is None:
                return found
            url = self._web.elsewhere(self._web.base, link[1])
        raise Unsupported(f"{self._address} has more than {len(found)} tags", hint="name the tag")

    def manifest(self, tag: str) -> bytes:
        return self.fetch(tag, (MANIFEST_TYPE,))

    def fetch(self, tag: str, accept: Sequence[str]) -> bytes:
        """The document of one of these types that a tag or a digest names: of an image, say. Raises NotFound."""
        self._greet()
        try:
            answer = self._web.request("GET", self._path("manifests", tag), ok=frozenset({200}), headers={"Accept": ", ".join(accept)})
        except NotFound as error:
            raise NotFound(
                f"there is no {tag!r} at {self._address.host}/{self._address.repository}",
                hint="check repository and tag; what is private may look absent",
            ) from error
        said = answer.headers.get("Docker-Content-Digest", "")
        data = self._web.document(answer, limit=MAX_MANIFEST_BYTES)
        self._compare(said, data)
        return data

    def get(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        self._greet()
        return resumed(
            lambda offset: self._read(digest, offset), size_bytes, place=f"{self._address} {digest[:19]}…", pause=self._access.pause
        )

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        self._greet()
        failures = 0
        while True:
            if self._has(digest):
                return failures > 0  # the answer to a transfer that was whole may have been lost
            try:
                return self._upload(digest, size_bytes, path)
            except AweighError as error:
                failures += 1
                if failures >= ATTEMPTS or not (worth_another_try(error) or isinstance(error, NotFound)):
                    raise
                self._access.pause(delay_s(failures))

    def tag(self, tag: str, manifest: bytes) -> None:
        self.keep(tag, manifest, MANIFEST_TYPE)

    def keep(self, name: str, document: bytes, media_type: str) -> None:
        """Keep a document under a tag or its own digest, when everything that it names is there."""
        self._greet()
        headers = {"Content-Type": media_type, "Content-Length": str(len(document))}
        answer = self._web.request("PUT", self._path("manifests", name), ok=frozenset({201}), headers=headers, send=lambda: document)
        said = answer.headers.get("Docker-Content-Digest", "")
        self._web.drop(answer)
        self._compare(said, document)

    def _greet(self) -> None:
        """Ask the registry whether it is one, and who it wants us to be, before anything large is sent."""
        if self._greeted:
            return
        try:
            self._ping()
        except Refused as error:
            if error.context.get("tls") != "none" or not self._address.loopback:
                raise
            self._web.without_tls()
            self._ping()
        self._greeted = True

    def _ping(self) -> None:
        try:
            self._web.drop(self._web.request("GET", "/v2/", ok=frozenset({200})))
        except NotFound as error:
            raise Unsupported(f"{self._address.host} is no OCI registry: it has no /v2/", hint="check the address") from error

    def _has(self, digest: Digest) -> bool:
        answer = self._web.request("HEAD", self._path("blobs", digest), ok=frozenset({200, 404}))
        self._web.drop(answer)
        return answer.status == 200

    def _read(self, digest: Digest, offset: int) -> Iterator[bytes]:
        """The blob's bytes from an offset, whether the registry can begin there or not."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._web.request("GET", self._path("blobs", digest), ok=frozenset({200, 206}), headers=headers)
        skip = offset
        if answer.status == 206:
            begins = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
            if begins is None or int(begins[1]) != offset:
                answer.close()
                raise InvalidFile(f"{self._address} answered another part of {digest[:19]}… than it was asked for")
            skip = 0
        for chunk in self._web.chunks(answer):
            kept = chunk[skip:]
            skip = max(0, skip - len(chunk))
            if kept:
                yield kept

    def _upload(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        """Send a blob; False where the registry took it from another repository of its own."""
        query = f"?mount={quote(digest)}" + (f"&from={quote(self._access.mount_from, safe='')}" if self._access.mount_from else "")
        answer = self._web.request(
            "POST",
            self._path("blobs", "uploads") + "/" + query,
            ok=frozenset({201, 202}),
            headers={"Content-Length": "0"},
            send=lambda: b"",
        )
        self._web.drop(answer)
        if answer.status == 201:
            return False
        location = self._location(answer.headers.get("Location", ""))
        with path.open("rb") as file:
            if size_bytes > self._whole_bytes:
                least = answer.headers.get("OCI-Chunk-Min-Length", "")
                piece = max(self._piece_bytes, int(least) if least.isascii() and least.isdigit() and len(least) < 11 else 0)
                location = self._send_pieces(location, size_bytes, piece, file)
                self._finish(location, digest, _Part(file, size_bytes, size_bytes), 0)
            else:
                self._finish(location, digest, _Part(file, 0, size_bytes), size_bytes)
        return True

    def _send_pieces(self, location: str, size_bytes: int, piece: int, file: BinaryIO) -> str:
        """Send piece by piece; after a break ask how far it came and go on from there. The location to finish at."""
        at, failures = 0, 0
        while at < size_bytes:
            end = min(at + piece, size_bytes)
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - at), "Content-Range": f"{at}-{end - 1}"}
            part = _Part(file, at, end)
            try:
                answer = self._web.request("PATCH", location, ok=frozenset({202}), headers=headers, send=part.again, retry=False)
                self._web.drop(answer)
                location, at, failures = self._location(answer.headers.get("Location", "")), end, 0
            except AweighError as error:
                failures += 1
                if failures >= ATTEMPTS or not worth_another_try(error):
                    raise
                self._access.pause(delay_s(failures))
                location, at = self._progress(location, size_bytes)
        return location

    def _progress(self, location: str, size_bytes: int) -> tuple[str, int]:
        """Where an upload stands. Raises NotFound when the registry has forgotten it."""
        answer = self._web.request("GET", location, ok=frozenset({204}))
        self._web.drop(answer)
        said = _RANGE.fullmatch(answer.headers.get("Range", ""))
        at = int(said[1]) + 1 if said else 0
        if said and said[1] == "0":
            at = 0  # `0-0` is said of nothing as well as of one byte: that byte is sent again or refused, never left out
        if at > size_bytes:
            raise Refused(
                f"{self._address.host} holds {at} bytes of a blob that has {size_bytes}", hint="something is wrong at the registry"
            )
        return self._location(answer.headers.get("Location", "")), at

    def _finish(self, location: str, digest: Digest, part: "_Part", size_bytes: int) -> None:
        url = location + ("&" if urlsplit(location).query else "?") + f"digest={quote(digest)}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        answer = self._web.request("PUT", url, ok=frozenset({201}), headers=headers, send=part.again, retry=False)
        self._web.drop(answer)

    def _location(self, text: str) -> str:
        return self._web.elsewhere(self._web.base, text)

    def _path(self, *parts: str) -> str:
        return path_of(self._address.repository, *parts)

    def _compare(self, said: str, data: bytes) -> None:
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if said.startswith("sha256:") and said != found:
            raise InvalidFile(
                f"{self._address} says that the manifest has digest {said[:19]}…, and it has {found[:19]}…",
                hint="it was damaged or changed on its way: do not use it",
            )


class _Part:
    """Part of an open file, as a body; `again` rewinds it."""

    def __init__(self, file: BinaryIO, begin: int, end: int) -> None:
        self._file = file
        self._begin = begin
        self._at = begin
        self._end = end

    def again(self) -> "_Part":
        self._at = self._begin
        self._file.seek(self._begin)
        return self

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._at
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data

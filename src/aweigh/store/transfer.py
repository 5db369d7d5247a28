"""Push and pull: a package to a remote and back, whatever kind of remote it is. Used by `app`."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import Conflict, NotFound
from aweigh.core.names import Digest
from aweigh.core.protocols import Progress, Remote, quiet
from aweigh.store.intake import Offer
from aweigh.store.package import StoredPackage

VERSION_TAG: Final = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)
_SHOWN: Final = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did."""

    digest: Digest
    tags: tuple[str, ...]
    sent: int
    """Blobs that were sent."""
    sent_bytes: int
    kept: int
    """Blobs that were there."""


def push(
    package: StoredPackage, remote: Remote, tags: Sequence[str], *, force: bool = False, progress: Progress = quiet, place: str = ""
) -> Pushed:
    """Send a package: its blobs, then its manifest under each tag. Nobody sees it before it is whole.

    Raises Conflict when a version's tag (`v3`) names another package there, unless `force`; InvalidFile for a damaged blob.
    """
    package.verify()
    if not force:
        for tag in tags:
            _check_free(tag, package, remote, place)
    entry = package.descriptor
    manifest = package.blobs.read(entry.digest, entry.size, place=str(package.reference))
    parts = {part.digest: part for part in (package.oci.config, *package.oci.layers)}
    total, done, sent, sent_bytes = sum(part.size for part in parts.values()), 0, 0, 0
    for digest, part in parts.items():
        progress("sending", done, total)
        if remote.put(digest, part.size, package.blobs.verify(digest, part.size, place=digest)):
            sent, sent_bytes = sent + 1, sent_bytes + part.size
        done += part.size
    progress("sending", done, total)
    for tag in tags:
        remote.tag(tag, manifest)
    return Pushed(digest=entry.digest, tags=tuple(tags), sent=sent, sent_bytes=sent_bytes, kept=len(parts) - sent)


def find_offer(remote: Remote, *, tag: str = "", digest: Digest | None = None, place: str) -> Offer:
    """The package that a tag or digest names; without either, the newest version. Raises NotFound, naming what there is."""
    chosen = digest or tag or _newest(remote.tags(), place)
    manifest = remote.manifest(chosen)
    version = VERSION_TAG.fullmatch(chosen)
    return Offer(
        place=place,
        digest=digest or Digest(f"sha256:{hashlib.sha256(manifest).hexdigest()}"),
        manifest=manifest,
        fetch=remote.get,
        version=int(version[1]) if version else 0,
    )


def _check_free(tag: str, package: StoredPackage, remote: Remote, place: str) -> None:
    if not VERSION_TAG.fullmatch(tag):
        return
    try:
        found = f"sha256:{hashlib.sha256(remote.manifest(tag)).hexdigest()}"
    except NotFound:
        return
    if found != package.digest:
        raise Conflict(
            f"{place} has another package under {tag!r}: {found[:19]}…, not {package.digest[:19]}…",
            hint="versions do not change: push it under another tag (ADDRESS:TAG), or use --force",
        )


def _newest(tags: Sequence[str], place: str) -> str:
    numbers = [int(found[1]) for tag in tags if (found := VERSION_TAG.fullmatch(tag))]
    if numbers:
        return f"v{max(numbers)}"
    if "latest" in tags:
        return "latest"
    shown = ", ".join(repr(tag) for tag in sorted(tags)[:_SHOWN])
    raise NotFound(f"{place} has no version", hint=f"name one of its tags: {shown}" if shown else "nothing was pushed there yet")

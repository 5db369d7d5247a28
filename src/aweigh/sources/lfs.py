"""Files that lie in Git LFS on a server, asked for by its own HTTP interface from hosts that are checked as every other. Loaded by the plug-in table.

The program git-lfs is not run: a repository says itself where that one goes.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile, NotFound
from aweigh.sources.pointers import Missing, Pointer
from aweigh.sources.terms import Budget, Terms
from aweigh.sources.web import Web

_AT_ONCE: Final = 100
_ANSWER_BYTES: Final = 1024 * 1024
_KIND: Final = "application/vnd.git-lfs+json"
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}", re.ASCII)
_OURS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent"})


class _Action(msgspec.Struct, frozen=True):
    href: str
    header: dict[str, str] = {}


class _Actions(msgspec.Struct, frozen=True):
    download: _Action | None = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = ""


class _Object(msgspec.Struct, frozen=True):
    oid: str
    actions: _Actions | None = None
    error: _Problem | None = None


class _Answer(msgspec.Struct, frozen=True):
    objects: tuple[_Object, ...] = ()


def fetch_files(pointers: Sequence[Pointer], url: str, terms: Terms) -> Missing:
    """From the server of the repository `url`. Raises InvalidFile, TooLarge, Refused, Unavailable, NotFound where it has no Git LFS."""
    web, missing = Web(terms), Missing()
    for at in range(0, len(pointers), _AT_ONCE):
        some = pointers[at : at + _AT_ONCE]
        given = _offered(web, some, f"{url.removesuffix('.git')}.git/info/lfs/objects/batch")
        for pointer in some:
            found = given.get(pointer.digest)
            if found is None or found.actions is None or found.actions.download is None:
                why = f": {found.error.message[:200]}" if found is not None and found.error is not None else ""
                said = f"{pointer.place.name} lies in Git LFS, and {url[:200]} does not give it{why}"
                missing[pointer.place] = NotFound(said, hint="clone it with git-lfs, and give the folder")
            else:
                _download(web, pointer, found.actions.download, terms)
    return missing


def _offered(web: Web, pointers: Sequence[Pointer], address: str) -> dict[str, _Object]:
    """What the server says of these, by digest."""
    wanted = [{"oid": pointer.digest, "size": pointer.size_bytes} for pointer in pointers]
    question = msgspec.json.encode({"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": wanted})
    said = web.document(address, limit=_ANSWER_BYTES, body=question, headers={"Accept": _KIND, "Content-Type": _KIND})
    try:
        return {each.oid: each for each in msgspec.json.decode(said, type=_Answer).objects}
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFile(
            f"{address[:200]} answered what is none of Git LFS: {error}", hint="clone it with git-lfs, and give the folder"
        ) from error


def _download(web: Web, pointer: Pointer, action: _Action, terms: Terms) -> None:
    terms.progress(f"fetching {pointer.place.name}")
    most = Budget(dataclasses.replace(terms, max_bytes=pointer.size_bytes))
    pointer.fill(web.download(action.href, pointer.part, most, headers=_fields(action.header)))


def _fields(said: Mapping[str, str]) -> dict[str, str]:
    """The header fields that the server wants to be sent, but for those that are not its business."""
    return {
        name: text
        for name, text in said.items()
        if _FIELD.fullmatch(name) and name.lower() not in _OURS and text.isascii() and text.isprintable()
    }

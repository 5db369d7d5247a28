"""Addresses of packages elsewhere: `registry.example/team/fraud:v3`, `s3://bucket/models/fraud`. Used by `app`; pure.

They end in URLs and object keys, so the grammar is an allow-list: what it does not name (user:password@, %, #, ?, .., backslashes) is refused,
never cleaned up.
"""

import dataclasses
import ipaddress
import re
from typing import Final

from aweigh.core.errors import InvalidInput, InvalidName
from aweigh.core.names import Digest, digest_name

REGISTRY: Final = "oci"
_OBJECT_SCHEMES: Final = ("s3", "gs", "az")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,127}(?:/[A-Za-z0-9_][A-Za-z0-9._=+-]{0,127})*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*", re.ASCII
)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.ASCII)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(.*))?", re.ASCII | re.DOTALL)
_MAX_DIGITS: Final = 5
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)
_MAX: Final = 512
_EXAMPLES: Final = "write an address as registry.example/team/fraud, localhost:5000/fraud:v3, or s3://bucket/models/fraud"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One repository elsewhere, and at most one of a tag and a digest in it."""

    scheme: str
    host: str
    """Host and port of a registry; the bucket or container of an object store."""
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        start = f"{self.host}/{self.repository}" if self.scheme == REGISTRY else f"{self.scheme}://{self.host}/{self.repository}"
        return f"{start}@{self.digest}" if self.digest else f"{start}:{self.tag}" if self.tag else start

    @property
    def name(self) -> str:
        """The last part of the repository: what the model is called there."""
        return self.repository.rpartition("/")[2]

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(split_port(self.host)[0])


def parse_address(text: str) -> Address:
    """Read an address. Raises InvalidInput with the part that is wrong."""
    if len(text) > _MAX:
        raise InvalidInput(f"an address of {len(text)} characters, of {_MAX} that are allowed", hint=_EXAMPLES)
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = REGISTRY, text
    if scheme not in (REGISTRY, *_OBJECT_SCHEMES):
        raise _wrong(
            text, f"{scheme!r} is no scheme of an address", "a registry is written without one; object stores are s3://, gs:// and az://"
        )
    host, _, path = rest.partition("/")
    path, _, digest = path.partition("@")
    path, tag = _tag(path)
    if digest and tag:
        raise _wrong(text, "it has a tag and a digest", "give one of them")
    if tag is not None and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag", "a tag has letters, digits, '.', '_' and '-', 128 characters at most")
    if not (_REPOSITORY if scheme == REGISTRY else _PREFIX).fullmatch(path):
        raise _wrong(text, f"{path!r} is not a repository", _EXAMPLES)
    _check_host(text, scheme, host)
    try:
        wanted = digest_name(digest) if "@" in rest else None
    except InvalidName as error:
        raise _wrong(text, error.message, error.hint) from error
    return Address(scheme=scheme, host=host.lower(), repository=path, tag=tag or "", digest=wanted)


def split_port(host: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, `[::1]:port`; the port is None when there is none, 0 when it is none."""
    found = _AUTHORITY.fullmatch(host)
    if found is None:
        return host, 0
    port = found[2]
    if port is None:
        return found[1], None
    return found[1], int(port) if port.isascii() and port.isdigit() and len(port) <= _MAX_DIGITS else 0


def is_loopback(name: str) -> bool:
    """Whether a host, as it is written, is this machine."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _tag(path: str) -> tuple[str, str | None]:
    head, slash, last = path.rpartition("/")
    last, colon, tag = last.partition(":")
    return head + slash + last, tag if colon else None


def _check_host(text: str, scheme: str, host: str) -> None:
    if scheme != REGISTRY:
        if not _BUCKET.fullmatch(host):
            raise _wrong(text, f"{host!r} is not the name of a bucket", _EXAMPLES)
        return
    name, port = split_port(host)
    if port is not None and not 0 < port < 65536:
        raise _wrong(text, f"{host!r} has a port that is none", _EXAMPLES)
    try:
        found = ipaddress.ip_address(name.strip("[]") if name.startswith("[") else name)
    except ValueError:
        _check_name(text, name, port)
        return
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        raise _wrong(text, f"{name} is no address of a registry", _EXAMPLES)


def _check_name(text: str, name: str, port: int | None) -> None:
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise _wrong(text, f"{name!r} is not a host", _EXAMPLES)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # 0x7f.1 and 2130706433 are addresses to some resolvers
        raise _wrong(text, f"{name!r} is not an IP address in its usual form", _EXAMPLES)
    if "." not in name and port is None and name.lower() != "localhost":
        raise _wrong(text, f"{name!r} could be a folder as well as a host", "a registry has a dot or a port in its name, or is 'localhost'")


def _wrong(text: str, what: str, hint: str) -> InvalidInput:
    return InvalidInput(f"{text[:120]!r} is not an address: {what}", hint=hint)

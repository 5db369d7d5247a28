"""The one authoriser: every route of every dialect on every port passes it, and what no rule allows is denied.

Keys are held as SHA-256 digests and compared in constant time. Decisions are part of a head and live exactly as long as it.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import Denied, FileMissing, InvalidFile, InvalidSetting, Unauthenticated
from aweigh.core.settings import Settings
from aweigh.serve.router import Permission

_MIN_KEY: Final = 16


class Authoriser:
    """Allows everything when made without keys (loopback, or an explicit no_auth); otherwise asks for a key on all but public routes."""

    def __init__(self, key_digests: Mapping[str, bytes] | None = None) -> None:
        self._keys = dict(key_digests or {})

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    def check(self, permission: Permission, headers: Mapping[bytes, bytes]) -> str:
        """The caller's name. Raises Unauthenticated without a valid key, Denied for a permission no rule grants."""
        if permission is Permission.PUBLIC:
            return "anyone"
        if permission not in {Permission.PREDICT, Permission.OPERATE}:
            raise Denied(f"no rule grants '{permission}'")
        if self.open:
            return "anyone"
        return self._holder(_presented(headers))

    def stranger(self, headers: Mapping[bytes, bytes]) -> Unauthenticated | None:
        """Why a caller on a public route would be refused on others; None for one who is known, and where no key is asked for."""
        try:
            self.check(Permission.PREDICT, headers)
        except Unauthenticated as error:
            return error
        return None

    def _holder(self, key: bytes) -> str:
        digest = hashlib.sha256(key).digest()
        found = ""
        for name, known in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = name
        if not key or not found:
            what = "no API key was sent" if not key else "the API key is not known"
            raise Unauthenticated(what, hint="send 'Authorization: Bearer KEY' with a key from the server's key file")
        return found


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"").strip()


def read_keys(path: Path) -> dict[str, bytes]:
    """Digests by holder from a key file: one `name:key` or `key` per line, # for comments. Raises FileMissing, InvalidFile with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileMissing(f"API key file {path} does not exist", hint="write one key per line, 16 characters or more") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(f"API key file {path} cannot be read: {error}") from error
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, colon, key = text.partition(":")
        name, key = (name.strip(), key.strip()) if colon else (f"key-{number}", text)
        if len(key) < _MIN_KEY:
            raise InvalidFile(
                f"{path}:{number}: the key is {len(key)} characters long; {_MIN_KEY} is the least", hint="openssl rand -hex 32"
            )
        if name in keys:
            raise InvalidFile(f"{path}:{number}: a second key named {name!r}", hint="give each key its own name")
        keys[name] = hashlib.sha256(key.encode()).digest()
    if not keys:
        raise InvalidFile(f"API key file {path} holds no key", hint="write one key per line, 16 characters or more")
    return keys


def make_authoriser(settings: Settings) -> Authoriser:
    """The authoriser that the settings ask for. Raises InvalidSetting for an open door on an address that others can reach."""
    if settings.api_key_file:
        return Authoriser(read_keys(Path(settings.api_key_file).expanduser()))
    if not is_loopback(settings.host) and not settings.no_auth:
        raise InvalidSetting(
            f"host {settings.host!r} can be reached from other machines, and nothing guards it",
            hint="give --api-key-file FILE, or --no-auth if something in front of aweigh guards it",
        )
    return Authoriser()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

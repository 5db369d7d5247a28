"""Who we are at a registry: what was given, else what `docker login` left. Used by `http`. Must never log or show a password."""

import base64
import binascii
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile, Unauthenticated
from aweigh.store.remotes.access import Access

_HELPER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HELPER_TIMEOUT_S: Final = 30.0
_HUB: Final = "https://index.docker.io/v1/"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and a password or token."""

    username: str
    password: str = dataclasses.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class _Auth(msgspec.Struct, frozen=True, kw_only=True):
    auth: str = ""
    username: str = ""
    password: str = ""


class _Config(msgspec.Struct, frozen=True, kw_only=True, rename={"helpers": "credHelpers", "store": "credsStore"}):
    auths: dict[str, _Auth] = {}
    helpers: dict[str, str] = {}
    store: str = ""


class _Helped(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    username: str
    secret: str


def find_credentials(host: str, access: Access) -> Credentials | None:
    """Credentials for a registry, or None for going without. Raises InvalidFile for a configuration that cannot be read."""
    if access.username:
        return Credentials(username=access.username, password=access.password)
    if access.docker_config is None:
        return None
    config = _read(access.docker_config)
    keys = [host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/"]
    if host == "docker.io":
        keys.append(_HUB)
    for key in keys:
        if helper := config.helpers.get(key):
            return _ask(helper, key)
    for key in keys:
        if key in config.auths:
            entry = config.auths[key]
            found = _decode(entry, access.docker_config)
            return found or (_ask(config.store, key) if config.store else None)
    return _ask(config.store, keys[-1] if host == "docker.io" else host) if config.store else None


def _read(path: Path) -> _Config:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Config)
    except (FileNotFoundError, NotADirectoryError):
        return _Config()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} cannot be read: {error}", hint="mend it, or name another: setting docker_config_file") from error


def _decode(entry: _Auth, path: Path) -> Credentials | None:
    if entry.username:
        return Credentials(username=entry.username, password=entry.password)
    if not entry.auth:
        return None
    try:
        username, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} holds credentials that cannot be decoded", hint="run 'docker login' again") from error
    return Credentials(username=username, password=password.rstrip("\0")) if colon else None


def _ask(helper: str, key: str) -> Credentials | None:
    """Ask a credential helper; None when it has nothing for that registry."""
    program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
    if program is None:
        raise Unauthenticated(
            f"the credential helper 'docker-credential-{helper}' is not installed",
            hint="install it, or give --username and --password-stdin",
        )
    try:
        done = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unauthenticated(f"'{program}' did not answer", hint="run it by hand, or give --username and --password-stdin") from error
    if done.returncode:
        return None
    try:
        found = msgspec.json.decode(done.stdout, type=_Helped)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unauthenticated(f"'{program}' answered what is no credential", hint="give --username and --password-stdin") from error
    return Credentials(username=found.username, password=found.secret)

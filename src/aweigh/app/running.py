"""Asking a running server over REST: one request, its answer or the server's own error. Used by the commands that look at a server or change it."""

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, Denied, InvalidInput, Unauthenticated, Unavailable, Unsupported, all_errors, from_dict
from aweigh.core.settings import Settings

_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 16 * 1024 * 1024
_CODES: Final = frozenset(cls.code for cls in all_errors())


class Running:
    """The server at `url`, by default the one that the settings' host and port name. Sends the first key of api_key_file, if there is one."""

    def __init__(self, settings: Settings, url: str = "") -> None:
        """Raises InvalidInput for what is no address, and for a key file that cannot be read."""
        self.place = url or _own_place(settings.host, settings.port)
        try:
            self._parts = urllib.parse.urlsplit(self.place)
            usable = self._parts.scheme in {"http", "https"} and bool(self._parts.hostname) and self._parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise InvalidInput(f"{self.place!r} is no address of a server", hint="such as http://127.0.0.1:8080")
        self._headers = _key(settings)

    def get(self, path: str) -> bytes:
        """Raises Unavailable where nothing answers, else what the server says is wrong."""
        return self._ask("GET", path, None, _TIMEOUT_S)

    def post(self, path: str, document: object, *, timeout_s: float = _TIMEOUT_S) -> bytes:
        """The same for a change, which may take its time."""
        return self._ask("POST", path, msgspec.json.encode(document), timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=timeout_s)
        try:
            connection.request(method, f"{self._parts.path.rstrip('/')}{path}", body, self._headers)
            answer = connection.getresponse()
            said = answer.read(_MAX_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unavailable(
                f"no server answers at {self.place}: {error}",
                hint="is 'aweigh serve' running? --url or --port names another",
                url=self.place,
            ) from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise self._refusal(answer.status, said)
        return said

    def _refusal(self, status: int, body: bytes) -> AweighError:
        """The server's own error where it says one, else what the status means."""
        if status == http.client.UNAUTHORIZED:
            return Unauthenticated(f"the server at {self.place} asks for an API key", hint="--api-key-file FILE with one that it knows")
        said = _said(body)
        if said.get("code") in _CODES:
            return from_dict({"code": said["code"], "message": said.get("error", ""), "hint": said.get("hint", "")})
        if status == http.client.FORBIDDEN:
            return Denied(f"the server at {self.place} does not do this for the holder of this API key")
        if status == http.client.SERVICE_UNAVAILABLE:
            return Unavailable(f"the server at {self.place} has no worker that can answer now", hint="try again in a moment")
        return Unsupported(
            f"what answers at {self.place} does not know this: HTTP {status}", hint="is it an aweigh server of this version?"
        )


def _own_place(host: str, port: int) -> str:
    """Where a server that listens on `host` is asked: one that listens on every address of a kind, on this machine's own of that kind."""
    asked = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # what is listened on is not what is asked
    return f"http://[{asked}]:{port}" if ":" in asked else f"http://{asked}:{port}"


def _said(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _key(settings: Settings) -> dict[str, str]:
    if not settings.api_key_file:
        return {}
    try:
        lines = Path(settings.api_key_file).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"API key file {settings.api_key_file} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    name, colon, key = keys[0].partition(":") if keys else ("", "", "")
    return {"Authorization": f"Bearer {key.strip() if colon else name}"} if keys else {}

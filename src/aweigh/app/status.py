"""Asking a running server how it is: `GET /status`, read into the structs that the server made it from."""

import http.client
import urllib.parse
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import Denied, InvalidInput, Unauthenticated, Unavailable, Unsupported
from aweigh.core.settings import Settings
from aweigh.serve.overview import ServerStatus

_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 16 * 1024 * 1024


def server_status(settings: Settings, url: str = "") -> ServerStatus:
    """The status of the server at `url`, by default this machine's at the port of the settings. Sends the first key of api_key_file, if there is one.

    Raises Unavailable where none answers, Unauthenticated, Denied, Unsupported for what is no aweigh server.
    """
    place = url or f"http://127.0.0.1:{settings.port}"
    parts = urllib.parse.urlsplit(place)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"{place!r} is no address of a server", hint="such as http://127.0.0.1:8080")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        connection.request("GET", f"{parts.path.rstrip('/')}/status", headers=_key(settings))
        answer = connection.getresponse()
        body = answer.read(_MAX_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(
            f"no server answers at {place}: {error}", hint="is 'aweigh serve' running? --url or --port names another"
        ) from error
    _check(place, answer.status)
    try:
        return msgspec.json.decode(body, type=ServerStatus)
    except msgspec.DecodeError as error:
        raise Unsupported(f"what answers at {place} is no aweigh server of this version: {error}") from error
    finally:
        connection.close()


def _check(place: str, status: int) -> None:
    if status == http.client.UNAUTHORIZED:
        raise Unauthenticated(f"the server at {place} asks for an API key", hint="--api-key-file FILE with one that it knows")
    if status == http.client.FORBIDDEN:
        raise Denied(f"the server at {place} does not tell this to the holder of this API key")
    if status == http.client.SERVICE_UNAVAILABLE:
        raise Unavailable(f"the server at {place} has no worker that can answer now", hint="try again in a moment")
    if status != http.client.OK:
        raise Unsupported(f"what answers at {place} has no status to tell: HTTP {status}", hint="is it an aweigh server?")


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

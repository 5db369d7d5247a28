"""Asking a running server how it is: `GET /status`, read into the structs that the server made it from."""

import msgspec

from aweigh.app.running import Running
from aweigh.core.errors import Unsupported
from aweigh.core.settings import Settings
from aweigh.serve.overview import ServerStatus


def server_status(settings: Settings, url: str = "") -> ServerStatus:
    """The status of the server at `url`. Raises Unavailable where none answers, Unauthenticated, Denied, Unsupported for what is no aweigh server."""
    server = Running(settings, url)
    try:
        return msgspec.json.decode(server.get("/status"), type=ServerStatus)
    except msgspec.DecodeError as error:
        raise Unsupported(f"what answers at {server.place} is no aweigh server of this version: {error}") from error

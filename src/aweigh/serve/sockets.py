"""Taking the port. Used by the server of one process, and by the supervisor of several."""

import errno
import socket
from typing import Final

from aweigh.core.errors import InvalidSetting, PortInUse
from aweigh.core.settings import Settings

BACKLOG: Final = 1024


def bind(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises PortInUse, InvalidSetting for an address this machine does not have."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError):
        raise InvalidSetting(f"host {host!r} is not an address of this machine", hint="use 127.0.0.1, ::1 or 0.0.0.0") from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _bind_error(error, host, port) from error
    listening.settimeout(0)
    return listening


def _bind_error(error: OSError, host: str, port: int) -> PortInUse | InvalidSetting:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"port {port} on {host} is in use", hint="stop what listens there, or choose another: --port 0 takes a free one", port=port
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PortInUse(
            f"port {port} on {host} may not be opened by this user", hint="ports below 1024 need privileges: choose a higher one", port=port
        )
    return InvalidSetting(f"cannot listen on {host}:{port}: {error.strerror}", hint="use an address of this machine, such as 127.0.0.1")

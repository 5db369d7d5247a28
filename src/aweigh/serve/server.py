"""The server of one process: joins data plane, dialects, guard and wire; listens, and drains when told to stop.

Made and run by `app`. Loads no model itself: it serves what the data plane holds.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import cast

from aweigh.core import plugins
from aweigh.core.errors import InternalError, InvalidSetting, PortInUse
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.guard import Authoriser, make_authoriser
from aweigh.serve.router import Dialect, Router
from aweigh.serve.wire.limits import Limits
from aweigh.serve.wire.listener import Listener

_LOG = logging.getLogger("aweigh.server")
_BACKLOG = 1024


def make_dispatcher(dataplane: DataPlane, authoriser: Authoriser) -> Dispatcher:
    """Every dialect of the plug-in table over one data plane, behind one authoriser. Raises MissingLibrary, Conflict."""
    dialects = [cast("Callable[[DataPlane], Dialect]", plugins.load("dialect", row.name))(dataplane) for row in plugins.plugins("dialect")]
    settings = dataplane.settings
    return Dispatcher(Router(dialects), authoriser, max_body_bytes=settings.max_body_bytes, access_log=settings.access_log)


class HttpServer:
    """Listens on one port for REST and gRPC. `bind` first, so that a taken port is known before models are loaded."""

    def __init__(self, dataplane: DataPlane) -> None:
        settings = dataplane.settings
        self._dataplane = dataplane
        self._settings = settings
        self.listener = Listener(make_dispatcher(dataplane, make_authoriser(settings)), Limits.of(settings))
        dataplane.wire = self.listener
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    def bind(self) -> int:
        """Take the port; returns it. Raises PortInUse, InvalidSetting for an address this machine does not have."""
        host, port = self._settings.host, self._settings.port
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        except (socket.gaierror, UnicodeError):
            raise InvalidSetting(f"host {host!r} is not an address of this machine", hint="use 127.0.0.1, ::1 or 0.0.0.0") from None
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise _bind_error(error, host, port) from error
        self._socket.settimeout(0)
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begin to answer on the bound port."""
        if self._socket is None:
            raise InternalError("start() was called before bind()")
        self.listener.start()
        self._server = await asyncio.get_running_loop().create_server(self.listener.connect, sock=self._socket, backlog=_BACKLOG)

    async def stop(self) -> None:
        """Drain: not ready at once, accept during drain_delay_s, finish what is in flight within drain_timeout_s, then drop the rest."""
        self._dataplane.draining = self.listener.draining = True
        if self._settings.drain_delay_s:
            await asyncio.sleep(self._settings.drain_delay_s)
        if self._server is not None:
            self._server.close()
        self.listener.drain()
        if not await self.listener.emptied(self._settings.drain_timeout_s):
            _LOG.warning("drain timeout: dropping connections", extra={"connections": self.listener.open_connections})
        self.listener.stop()
        await asyncio.sleep(0)
        if self._server is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)

    def close(self) -> None:
        """Give up a bound port that was never served."""
        if self._socket is not None and self._server is None:
            self._socket.close()


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

"""The server of one process: joins data plane, dialects, guard and wire; listens, and drains when told to stop.

Made and run by `app`. Loads no model itself: it serves what the data plane holds.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import cast

from aweigh.core import plugins
from aweigh.core.errors import InternalError
from aweigh.core.objective import parse_objective
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.slab import LATE
from aweigh.serve.admission import Admission
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.guard import Authoriser, make_authoriser
from aweigh.serve.router import Dialect, Router
from aweigh.serve.sockets import BACKLOG, bind
from aweigh.serve.wire.acceptor import Acceptor, Shared
from aweigh.serve.wire.limits import Limits
from aweigh.serve.wire.listener import Listener

_LOG = logging.getLogger("aweigh.server")


def make_dispatcher(dataplane: DataPlane, authoriser: Authoriser) -> Dispatcher:
    """Every dialect of the plug-in table over one data plane, behind one authoriser. Raises MissingLibrary, Conflict."""
    dialects = [cast("Callable[[DataPlane], Dialect]", plugins.load("dialect", row.name))(dataplane) for row in plugins.plugins("dialect")]
    settings = dataplane.settings

    def count_late() -> None:
        dataplane.counts[LATE] += 1

    admission = Admission(parse_objective(settings.objective).limit_s if settings.objective else 0.0, count_late)
    return Dispatcher(Router(dialects), authoriser, admission, max_body_bytes=settings.max_body_bytes, access_log=settings.access_log)


class HttpServer:
    """Listens on one port for REST and gRPC. `bind` first, so that a taken port is known before models are loaded."""

    def __init__(self, dataplane: DataPlane, *, shared: Shared | None = None) -> None:
        settings = dataplane.settings
        self._shared = shared
        self._dataplane = dataplane
        self._settings = settings
        self.listener = Listener(
            make_dispatcher(dataplane, make_authoriser(settings)),
            Limits.of(settings),
            board=shared.board if shared else None,
            slab=shared.slab if shared else None,
        )
        dataplane.wire, dataplane.counts = self.listener, self.listener.cells
        self._socket: socket.socket | None = shared.listening if shared else None
        self._server: asyncio.Server | Acceptor | None = None

    def bind(self) -> int:
        """Take the port; returns it. Raises PortInUse, InvalidSetting for an address this machine does not have."""
        self._socket = bind(self._settings)
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begin to answer on the bound port."""
        if self._socket is None:
            raise InternalError("start() was called before bind()")
        if self._server is not None:
            return
        self.listener.start()
        if self._shared is not None or os.name == "posix":
            self._server = Acceptor(self.listener, self._socket, self._shared)
            return
        self._server = await asyncio.get_running_loop().create_server(self.listener.connect, sock=self._socket, backlog=BACKLOG)

    async def stop(self, *, alone: bool = False) -> None:
        """Drain: not ready at once, accept during drain_delay_s, finish what is in flight within drain_timeout_s, then drop the rest.

        `alone`, one worker among others that go on: it stops to accept at once, and the server as a whole is as ready as before.
        """
        self._dataplane.draining, self.listener.draining = not alone, True
        if self._settings.drain_delay_s and not alone:
            await asyncio.sleep(self._settings.drain_delay_s)
        if self._server is not None:
            self._server.close()
        if isinstance(self._server, Acceptor):
            await self._server.wait_closed()
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

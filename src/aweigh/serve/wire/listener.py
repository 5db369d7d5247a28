"""Accepts connections, tells HTTP/1.1 from HTTP/2 by their first bytes, and keeps what all connections of a server share.

Called by the server. A connection belongs to exactly one listener and reports back when it is gone.
"""

import asyncio
import contextlib
import time
from collections.abc import MutableSequence
from typing import Final, Protocol

from aweigh.core.errors import Unavailable
from aweigh.engine.slab import ACCEPTED, CELLS, OPEN, REFUSED, SENT, UNKNOWN, Board, Connections, Slab
from aweigh.serve.dispatch import Dispatcher
from aweigh.serve.message import Request
from aweigh.serve.outcome import failure_of
from aweigh.serve.wire.custody import Custody
from aweigh.serve.wire.heads import HeadCache
from aweigh.serve.wire.http1 import DRAIN_GRACE_S, Http1Connection
from aweigh.serve.wire.http2 import Http2Connection
from aweigh.serve.wire.layouts import Layouts
from aweigh.serve.wire.limits import Limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TICK_S: Final = 1.0
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"


class _Connection(Protocol):
    def drain(self) -> None: ...
    def abort(self) -> None: ...
    def tick(self, now: float) -> None: ...


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> bytes:
    """A time as the Date header has it (RFC 9110 section 5.6.7), in English whatever the locale."""
    at = time.gmtime(seconds)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} {clock} GMT".encode()


class Listener:
    """Shared state of all connections: limits, head cache, counters, the clock and the Date header."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits, *, board: Board | None = None, slab: Slab | None = None) -> None:
        self.dispatcher = dispatcher
        self.limits = limits
        self.heads = HeadCache()
        self.layouts = Layouts()
        self.draining = False
        """Whether answers tell clients to go elsewhere."""
        self.closing = False
        """Whether connections end as soon as nothing is under way on them."""
        self._board = board
        self.cells: MutableSequence[int] = [0] * CELLS if slab is None else slab.cells  # type: ignore[assignment]  # a memoryview of whole numbers
        """Counts of this process, at the places that `slab` names; REFUSED are requests that were not understood. With several workers in shared memory."""
        self.slots: MutableSequence[int] = [0]
        """What is written of each connection for who has it in custody; without custody of none in particular."""
        self._custody: Custody | None = None
        self.date = self.ok_json = b""
        self._set_date()
        self.now = time.monotonic
        self._connections: set[_Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def connections(self) -> Connections:
        """The counts of this process, or of all workers together."""
        if self._board is not None:
            return self._board.connections()
        return Connections(self.cells[OPEN], self.cells[ACCEPTED], self.cells[REFUSED])

    def total(self, cell: int) -> int:
        """One count of this process, or of all workers together."""
        return self.cells[cell] if self._board is None else self._board.total(cell)

    def start(self) -> None:
        """Begin the once-a-second round; needs a running loop."""
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def stop(self) -> None:
        """End the round and drop every connection."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._connections):
            connection.abort()

    def entrust(self, custody: Custody) -> None:
        """From now on connections are in custody."""
        self._custody, self.slots = custody, custody.slots

    def leave(self, slot: int, *, ends: bool = True) -> None:
        """A connection leaves custody, because it ends or otherwise."""
        if slot and self._custody is not None:
            self._custody.leave(slot, ends=ends)

    def connect(self, slot: int = 0, sent: int = SENT) -> asyncio.Protocol:
        """The protocol of a new connection, for `loop.create_server`, or of one that is in custody and on which something was sent before."""
        return _FirstBytes(self, slot, sent)

    def full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self._connections) >= self.limits.max_connections

    def remember(self, connection: _Connection) -> None:
        self.cells[ACCEPTED] += 1
        self._connections.add(connection)
        self.cells[OPEN] = len(self._connections)

    def misunderstood(self) -> None:
        """Count a request that was refused as malformed."""
        self.cells[REFUSED] += 1

    def forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self.cells[OPEN] = len(self._connections)
        if self.closing and not self._connections:
            self._emptied.set()

    def drain(self) -> None:
        """Close idle connections; the others close with their last answer."""
        self.draining = self.closing = True
        self._emptied.clear()
        for connection in list(self._connections):
            connection.drain()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until no connection is left; False when `timeout_s` passed first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._connections:  # one may have come since the last had gone
                    self._emptied.clear()
                    await self._emptied.wait()
        return not self._connections

    def give_up(self, request: Request) -> None:
        """Answer a request that cannot be finished: the server stops."""
        request.cancelled = True
        request.reply(request, failure_of(Unavailable("the server is shutting down", hint="try again"), request))

    def _set_date(self) -> None:
        """The Date header, and the beginning of the commonest answer with it."""
        self.date = http_date(time.time())
        self.ok_json = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: %b\r\n" % self.date

    def _tick(self) -> None:
        self.start()
        self._set_date()
        now = self.now()
        for connection in list(self._connections):
            connection.tick(now)


class _FirstBytes(asyncio.Protocol):
    """Waits for enough bytes to tell the protocol (RFC 9113 section 3.4), then hands the connection over."""

    def __init__(self, listener: Listener, slot: int, sent: int) -> None:
        self._listener = listener
        self._slot = slot
        self._sent = sent
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any data arrives
        self._data = b""
        self._since = listener.now()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # the loop gives stream protocols a Transport
        if self._listener.full():
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._listener.remember(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        self._listener.leave(self._slot)

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._data = data
            self._listener.slots[self._slot] = UNKNOWN
            return
        protocol: Http1Connection | Http2Connection
        if data.startswith(PREFACE):
            protocol = Http2Connection(self._listener)
            self._listener.leave(self._slot, ends=False)  # its streams are known to nobody else
        else:
            protocol = Http1Connection(self._listener, self._slot, self._sent)
        self._listener.remember(protocol)  # before the other is forgotten: at no moment has the last connection gone
        self._listener.forget(self)
        self._listener.cells[ACCEPTED] -= 1
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)
        if self._listener.closing:
            protocol.drain()

    def drain(self) -> None:
        """A request may be on its way: it gets a moment."""
        self._since = self._listener.now()

    def abort(self) -> None:
        self._transport.abort()

    def tick(self, now: float) -> None:
        """A connection that never says anything is idle from its start."""
        if now - self._since > (DRAIN_GRACE_S if self._listener.closing else self._listener.limits.idle_timeout_s):
            self._transport.close()

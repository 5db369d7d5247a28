"""One thread, one poll, all connections: moves bytes between sockets and `http1`, and asks the forms. Every wait has an end, every buffer a limit.

The port opens when the model is ready, and not before: a connection that is refused says "not yet" to every platform there is. At SIGTERM the port
closes, what has been asked is answered, and the process ends.
"""

from __future__ import annotations

import _socket
import posix
from _signal import SIGINT, SIGTERM, set_wakeup_fd  # type: ignore[import-not-found]  # typeshed has the public shell alone
from _signal import signal as handle
from errno import EADDRINUSE
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from time import monotonic

from .errors import Refusal
from .http1 import Reader, render
from .message import Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .forms import Forms

_BACKLOG = 128
_PIECE = 256 * 1024
_MOST_WAITING = 1024 * 1024
"""Bytes of answers that a peer may leave unread before its next request waits."""
_LAST_REQUEST_S = 0.5
"""How long a connection on which nothing is under way may still bring a request while the server stops: it may be on its way."""
_LINGER_BYTES = 32 * 1024 * 1024
_LINGER_S = 2.0
"""How much is dropped of what still comes to a connection that was told its end, and for how long."""
_COMING = 1 / 6
"""Of the time for a request: how long it may take to come where others wait for its connection."""
_UNIX = "unix:"
_KIND_OF_FILE, _SOCKET_FILE = 0o170000, 0o140000
"""Of a file's mode: stat.S_IFMT, stat.S_IFSOCK."""


def open_port(host: str, port: int) -> _socket.socket:
    """A socket that is bound and does not listen yet: whether the address is free is known before the model is loaded. Raises OSError."""
    if host.startswith(_UNIX):
        return _open_file(host[len(_UNIX) :])
    listener = _socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _open_file(place: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        listener.bind(place)
    except OSError as error:
        if error.errno != EADDRINUSE or not _is_left_over(place):
            raise
        posix.unlink(place)
        listener.bind(place)
    return listener


def _close_port(listener: _socket.socket) -> None:
    """A socket in the file system goes with its port, unless another listens there by now."""
    place = listener.getsockname() if listener.family == _socket.AF_UNIX else ""
    listener.close()
    try:
        if place and _is_left_over(place):
            posix.unlink(place)
    except OSError:  # somebody took it away
        return


def _is_left_over(place: str) -> bool:
    """Whether a socket lies there at which nobody listens: one that was killed takes nothing away with it."""
    if posix.lstat(place).st_mode & _KIND_OF_FILE != _SOCKET_FILE:
        return False
    asking = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    asking.settimeout(0)
    try:
        asking.connect(place)
    except ConnectionRefusedError:
        return True
    except OSError:  # its queue is full
        return False
    finally:
        asking.close()
    return False


class _Peer:
    """One connection."""

    __slots__ = ("deadline", "held", "last", "lingers", "out", "reader", "socket", "unread")

    def __init__(self, socket: _socket.socket, reader: Reader, deadline: float) -> None:
        self.socket = socket
        self.reader = reader
        self.deadline = deadline
        self.out = bytearray()
        self.held = 0
        """Bytes that wait here, of requests and of answers."""
        self.last = False
        """Whether the connection ends with what is in `out`."""
        self.unread = False
        """Whether more may come behind that, which nobody will read."""
        self.lingers = 0
        """How many bytes of it are still dropped: nothing is left to be said."""


class Server:
    """Serves until it is told to stop."""

    def __init__(self, forms: Forms, listener: _socket.socket) -> None:
        self._forms = forms
        self._listener = listener
        self._limits: dict[str, Any] = forms.spec["limits"]
        self._peers: dict[int, _Peer] = {}
        self._held = 0
        self._poll = poll()
        self._stopping = False
        self._wake, self._waker = posix.pipe()

    def run(self, ready: Callable[[], None]) -> None:
        """Listen, say that it is `ready`, answer, drain, return."""
        posix.set_blocking(self._wake, False)
        posix.set_blocking(self._waker, False)
        set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (SIGTERM, SIGINT):
            handle(number, self._stop)
        self._listener.settimeout(0)
        self._listener.listen(_BACKLOG)
        self._poll.register(self._listener.fileno(), POLLIN)
        self._poll.register(self._wake, POLLIN)
        ready()
        end = 0.0
        while True:
            asked = monotonic()
            for number, events in self._poll.poll(self._patience(end)):
                self._turn(number, events)
            if self._stopping and not end:
                end = monotonic() + self._limits["drain_s"]
                self._drain()
            self._end_late(asked)
            if self._stopping and (not self._peers or monotonic() >= end):
                break
        for peer in list(self._peers.values()):
            self._close(peer)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _patience(self, end: float) -> int:
        """Milliseconds until something ends by itself."""
        times = [peer.deadline for peer in self._peers.values()]
        if end:
            times.append(end)
        return max(0, int((min(times) - monotonic()) * 1000) + 1) if times else -1

    def _turn(self, number: int, events: int) -> None:
        if number == self._wake:
            posix.read(self._wake, 4096)
        elif not self._stopping and number == self._listener.fileno():
            self._turn(self._accept(), POLLIN)  # the request has often come with the connection
        elif (peer := self._peers.get(number)) is not None:
            try:
                self._move(peer, events)
            except OSError:  # the peer has left
                self._close(peer)

    def _accept(self) -> int:
        """Take a connection in; its number, or -1 where none waits."""
        try:
            number, _ = self._listener._accept()  # type: ignore[attr-defined]  # as the public shell does
        except OSError:
            return -1
        socket = _socket.socket(fileno=number)
        if len(self._peers) >= self._limits["connections"] and not self._make_room():
            socket.close()
            return int(number)
        socket.settimeout(0)
        if socket.family != _socket.AF_UNIX:
            socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        reader = Reader(max_head=self._limits["head_bytes"], max_body=self._limits["body_bytes"])
        self._peers[number] = _Peer(socket, reader, monotonic() + self._limits["idle_s"])
        self._poll.register(number, POLLIN)
        return int(number)

    def _make_room(self) -> bool:
        """Close a connection that has nothing to be read: the one that has been silent longest, else the one whose request has been coming longest, if that is long.

        Whether there was one.
        """
        waiting = [peer for peer in self._peers.values() if not peer.out]
        silent = [peer for peer in waiting if peer.reader.idle]
        late = monotonic() + self._limits["request_s"] * (1 - _COMING)
        slow = [peer for peer in waiting if not peer.reader.idle and peer.deadline < late]
        for some in (silent, slow):
            for peer in sorted(some, key=lambda each: each.deadline):
                if not _has_come(peer.socket):
                    self._close(peer)
                    return True
        return False

    def _move(self, peer: _Peer, events: int) -> None:
        if peer.lingers:
            self._drop(peer)
            return
        if events & POLLIN and not peer.last:
            try:
                data = peer.socket.recv(_PIECE)
            except BlockingIOError:
                return
            if not data:
                self._close(peer)
                return
            if peer.reader.idle:
                peer.deadline = monotonic() + self._limits["request_s"]
            peer.reader.buffer += data
            self._count(peer)
        elif events & (POLLERR | POLLHUP):
            self._close(peer)
            return
        if not peer.out or self._send(peer):
            while self._answer(peer) and self._send(peer):
                pass
        self._count(peer)

    def _count(self, peer: _Peer) -> None:
        held = peer.reader.held + len(peer.out) if peer.socket.fileno() in self._peers else 0
        self._held += held - peer.held
        peer.held = held

    def _answer(self, peer: _Peer) -> bool:
        """Answer requests that are whole, one after the other, until enough waits to be sent; whether anything does."""
        while not peer.last and len(peer.out) < _MOST_WAITING:
            try:
                request = peer.reader.take()
                if peer.reader.head is not None:
                    self._forms.admit(peer.reader.head)  # before the body is collected
                    self._check_room()
            except Refusal as error:
                self._refuse(peer, error)
                break
            if request is None:
                if peer.reader.expects:
                    peer.reader.expects = False
                    peer.out += b"HTTP/1.1 100 Continue\r\n\r\n"
                break
            response = self._respond(request)
            peer.last = not request.keep_alive or self._stopping
            peer.unread = self._stopping or bool(peer.reader.buffer)
            peer.out += render(response, identity=request.id, keep_alive=not peer.last, head_only=request.method == "HEAD")
            peer.deadline = monotonic() + self._limits["idle_s" if peer.reader.idle else "request_s"]
        return bool(peer.out)

    def _respond(self, request: Request) -> Response:
        """Probes bring no body, and are answered whatever the others send."""
        try:
            if request.body:
                self._check_room()
        except Refusal as error:
            return self._forms.failure(error, request)
        return self._forms.answer(request)

    def _check_room(self) -> None:
        """Raise Refusal where too much waits here for bodies to be taken on."""
        if self._held > self._limits["buffered_bytes"]:
            raise Refusal("too many bytes wait in this server", hint="try again", status=503, code="unavailable")

    def _refuse(self, peer: _Peer, error: Refusal) -> None:
        """Nothing more of this connection is read: its last answer says why."""
        request = peer.reader.head or Request("", "", {})
        response = self._forms.failure(error, request)
        peer.out += render(response, identity=request.id, keep_alive=False, head_only=request.method == "HEAD")
        peer.last = peer.unread = True
        peer.reader.forget()
        peer.deadline = monotonic() + _LINGER_S

    def _send(self, peer: _Peer) -> bool:
        """Send what is waiting; whether all of it went and the connection goes on."""
        try:
            sent = peer.socket.send(peer.out)
        except BlockingIOError:
            sent = 0
        del peer.out[:sent]
        if peer.out:
            self._poll.modify(peer.socket.fileno(), POLLOUT)  # a peer that does not read is not read from
            if sent:
                peer.deadline = monotonic() + self._limits["request_s"]
            return False
        if peer.last:
            if peer.unread:
                self._linger(peer)
            else:
                self._close(peer)
            return False
        self._poll.modify(peer.socket.fileno(), POLLIN)
        return True

    def _linger(self, peer: _Peer) -> None:
        """RFC 9112, 9.6: a connection that is closed with bytes unread is reset, and takes along the answer that its peer has not read yet."""
        peer.reader.forget()
        peer.socket.shutdown(_socket.SHUT_WR)
        peer.lingers = _LINGER_BYTES
        peer.deadline = monotonic() + _LINGER_S
        self._poll.modify(peer.socket.fileno(), POLLIN)

    def _drop(self, peer: _Peer) -> None:
        try:
            dropped = len(peer.socket.recv(_PIECE))
        except BlockingIOError:
            return
        peer.lingers -= dropped
        if not dropped or peer.lingers <= 0:
            self._close(peer)

    def _drain(self) -> None:
        """Close the port, once all are in who have connected: those who wait in its queue would be reset with it."""
        for _ in range(2 * _BACKLOG):
            if self._accept() < 0:
                break
        self._poll.unregister(self._listener.fileno())
        _close_port(self._listener)
        soon = monotonic() + _LAST_REQUEST_S
        for peer in self._peers.values():
            if peer.reader.idle and not peer.out:
                peer.deadline = min(peer.deadline, soon)

    def _end_late(self, asked: float) -> None:
        """End those whose time was up when all were `asked` for what had come: while others were answered nobody looked."""
        for peer in [each for each in self._peers.values() if each.deadline <= asked]:
            if not peer.reader.idle and not peer.out:
                self._refuse(
                    peer, Refusal("the request took too long to arrive", hint="send it at once", status=408, code="deadline-exceeded")
                )
                try:
                    self._send(peer)
                except OSError:
                    self._close(peer)
            else:
                self._close(peer)

    def _close(self, peer: _Peer) -> None:
        number = peer.socket.fileno()
        if number in self._peers:
            del self._peers[number]
            self._poll.unregister(number)
            peer.socket.close()
            self._count(peer)


def _has_come(socket: _socket.socket) -> bool:
    """Whether something waits to be read."""
    try:
        return bool(socket.recv(1, _socket.MSG_PEEK))
    except OSError:
        return False

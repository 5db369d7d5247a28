"""The template's side: a process that has imported what workers need, and forks one whenever the supervisor says so. They share what it imported.

Run by `app` in a process of its own, Linux alone. Must never fork while it has a second thread: what that thread held would be held for ever.
"""

import os
import select
import signal
import socket
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from aweigh.serve.workers.processes import die_with, give_back

MESSAGE_BYTES: Final = 4096
_FILES: Final = 3
_DEAF_TO: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the template, first and once."""

    why_not: str
    """Why it cannot fork workers; "" when it can."""


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the template, for three files that it was sent: the worker that has them, with a descriptor of that process."""

    pid: int
    error: str = ""
    """Why there is none."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the template: a worker has ended, and was reaped. Negative codes are signals."""

    pid: int
    code: int


FromTemplate = Ready | Forked | Ended
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Files(NamedTuple):
    """What a worker starts with."""

    link: int
    listening: int
    board: int


def serve_forks(control: socket.socket) -> Files | None:
    """Fork until the supervisor closes its end: then None. In every worker that it forks it returns as well, with that worker's files."""
    for number in _DEAF_TO:  # they go to every process of a container or a service; this one ends with its supervisor
        signal.signal(number, signal.SIG_IGN)
    why_not = _prepare()
    control.send(_ENCODE(Ready(why_not=why_not)))
    if why_not:
        return None
    return _Forks(control).run()


def _prepare() -> str:
    """Make this process ready to be forked; why that cannot be, if so."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"this system does not know processes by descriptor: {error.strerror}"
    give_back()
    # OpenBLAS, numpy's, starts threads when it is imported, and ends them in its own handler before a process forks; they come back when needed
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return _threaded()


def _threaded() -> str:
    """Why this process may not fork now, if so."""
    count = len(list(Path("/proc/self/task").iterdir()))
    return f"it has {count} threads: something that is imported at the start of every interpreter begins them" if count != 1 else ""


class _Forks:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}
        """Process numbers by descriptor."""

    def run(self) -> Files | None:
        while True:
            watched = select.poll()
            for descriptor in (self._control.fileno(), *self._workers):
                watched.register(descriptor, select.POLLIN)
            for descriptor, _ in watched.poll():
                if descriptor != self._control.fileno():
                    self._reap(descriptor)
                    continue
                order, files, *_ = socket.recv_fds(self._control, MESSAGE_BYTES, _FILES, socket.MSG_CMSG_CLOEXEC)
                if not order:
                    self._end()
                    return None
                if self._fork(files):
                    return Files(*files)

    def _fork(self, files: list[int]) -> bool:
        """True in the worker."""
        template, error, pid = os.getpid(), _threaded(), 0
        if not error:
            try:
                pid = os.fork()
            except OSError as raised:
                error = raised.strerror or "it cannot fork"
            else:
                if pid == 0:
                    self._become_worker(template)
                    return True
        for descriptor in files:
            os.close(descriptor)
        if error:
            self._control.send(_ENCODE(Forked(pid=0, error=error)))
            return False
        descriptor = os.pidfd_open(pid)
        self._workers[descriptor] = pid
        socket.send_fds(self._control, [_ENCODE(Forked(pid=pid))], [descriptor])
        return False

    def _become_worker(self, template: int) -> None:
        die_with(template)
        os.setsid()
        for number in _DEAF_TO:
            signal.signal(number, signal.SIG_DFL)
        self._control.close()
        for descriptor in self._workers:
            os.close(descriptor)

    def _reap(self, descriptor: int) -> None:
        pid = self._workers.pop(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._control.send(_ENCODE(Ended(pid=pid, code=code)))

    def _end(self) -> None:
        """Nobody looks after the workers any more: none is left, and none of them as a process that was not reaped."""
        for descriptor, pid in self._workers.items():
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.waitpid(pid, 0)

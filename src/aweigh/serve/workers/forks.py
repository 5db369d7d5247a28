"""The supervisor's side of the template: starts it, has workers forked from it, and starts fresh interpreters where it cannot be used.

Called on the supervisor's thread, which must outlive the template: Linux kills it when that thread ends, and its workers with it.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from aweigh.core.errors import ChildDied
from aweigh.serve.workers.processes import FreshProcess, WorkerProcess, launch, told
from aweigh.serve.workers.template import MESSAGE_BYTES, Ended, Forked, FromTemplate, Ready

_LOG: Final = logging.getLogger("aweigh.supervisor")
_START_S: Final = 30.0
_FORK_S: Final = 2.0
_STATUS_S: Final = 0.2
_ORDER: Final = b"fork"
_DECODE: Final = msgspec.msgpack.Decoder(FromTemplate).decode


class Starter:
    """Starts workers. `template` is the program of the template and its words, `fresh` that of a worker which is not forked."""

    def __init__(self, fresh: str, template: str, words: Sequence[str]) -> None:
        self._fresh = fresh
        self._words = (template, *words)
        self._template: Template | None = None

    async def prepare(self) -> None:
        """Start the template, where this system can fork from one. Without it all works, and takes more memory."""
        if sys.platform != "linux" or not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
            return
        self._template = Template(*self._words)
        why_not = await self._template.ready()
        if why_not:
            _LOG.info("workers are fresh interpreters and share less memory", extra={"why": why_not})
            self.close()

    def start(self, listening: socket.socket, board: int) -> WorkerProcess:
        """Start a worker. Raises ChildDied."""
        if self._template is not None:
            try:
                return self._template.fork(listening, board)
            except ChildDied as error:
                _LOG.warning("a worker cannot be forked: it is a fresh interpreter", extra={"why": error.message})
        return FreshProcess(self._fresh, listening, board)

    def close(self) -> None:
        """End the template, and workers that it still has."""
        if self._template is not None:
            self._template.close()
            self._template = None


class Template:
    """The running template. Raises ChildDied where it cannot be started."""

    def __init__(self, module: str, *words: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = launch(module, (theirs.fileno(),), *words)
        except ChildDied:
            self._control.close()
            raise
        finally:
            theirs.close()
        self._control.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        self._codes: dict[int, int] = {}
        self._broken = ""

    async def ready(self) -> str:
        """Wait until it has imported everything; why it cannot be used, if so."""
        try:
            said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._control, MESSAGE_BYTES), _START_S)
        except (TimeoutError, OSError) as error:
            return f"the template does not say that it is ready: {type(error).__name__}"
        message = _DECODE(said) if said else None
        return message.why_not if isinstance(message, Ready) else "the template ended"

    def fork(self, listening: socket.socket, board: int) -> "ForkedProcess":
        """A new worker. Raises ChildDied; once it has not answered, it is not asked again."""
        if self._broken:
            raise ChildDied(self._broken)
        connection, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [_ORDER], [theirs.fileno(), listening.fileno(), board])
            forked, descriptor = self._forked()
        except (OSError, ChildDied) as error:
            connection.close()
            self._broken = error.message if isinstance(error, ChildDied) else f"the template is gone: {error.strerror}"
            raise ChildDied(self._broken) from error
        finally:
            theirs.close()
        if forked.error:
            connection.close()
            raise ChildDied(forked.error)
        return ForkedProcess(self, connection, forked.pid, descriptor)

    def code(self, pid: int) -> int | None:
        """The exit code of a worker that has ended, None where the template cannot tell it any more."""
        within = time.monotonic() + _STATUS_S
        with contextlib.suppress(OSError, ChildDied):
            while pid not in self._codes:
                self._next(within)
        return self._codes.pop(pid, None)

    def close(self) -> None:
        """End it; it reaps its workers first."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(_FORK_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()

    def _forked(self) -> tuple[Forked, int]:
        within = time.monotonic() + _FORK_S
        while True:
            message, descriptor = self._next(within)
            if isinstance(message, Forked):
                return message, descriptor

    def _next(self, within: float) -> tuple[FromTemplate, int]:
        """The next message, by then, with the descriptor that came along (-1: none). Raises ChildDied, OSError."""
        if not _readable(self._control.fileno(), within - time.monotonic()):
            raise ChildDied("the template does not answer")
        said, descriptors, *_ = socket.recv_fds(self._control, MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not said:
            raise ChildDied("the template ended")
        message = _DECODE(said)
        if isinstance(message, Ended):
            self._codes[message.pid] = message.code
        return message, descriptors[0] if descriptors else -1


class ForkedProcess:
    """A worker that was forked from the template, whose child it is. Known by a descriptor, which stays its own however long ago it ended."""

    def __init__(self, template: Template, connection: socket.socket, pid: int, descriptor: int) -> None:
        self.connection = connection
        self.pid = pid
        self.started = time.monotonic()
        self._template = template
        self._descriptor = descriptor
        self._how = "it runs"

    @property
    def ended(self) -> bool:
        if self._descriptor >= 0 and _readable(self._descriptor, 0):
            os.close(self._descriptor)
            self._descriptor = -1
            code = self._template.code(self.pid)
            self._how = "it ended together with the template" if code is None else told(code)
        return self._descriptor < 0

    @property
    def how(self) -> str:
        return self._how

    def kill(self) -> None:
        if not self.ended:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.reap(0.05)

    def reap(self, timeout_s: float = 2.0) -> None:
        if not self.ended:
            _readable(self._descriptor, timeout_s)
            _ = self.ended


def _readable(descriptor: int, timeout_s: float) -> bool:
    """Whether a descriptor has something to read, within that time. Not `select`, which knows no numbers beyond 1023."""
    watched = select.poll()
    watched.register(descriptor, select.POLLIN)
    return bool(watched.poll(max(0.0, timeout_s) * 1000))

"""What a worker's process is to the supervisor, and those that are fresh interpreters: they inherit the listening socket, the board and their link.

Called on the supervisor's thread, which must outlive its workers: Linux kills them when the thread that started them ends.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, Protocol

from aweigh.core.errors import ChildDied

_NAMES: Final = {int(number): number.name for number in signal.Signals}
_PR_SET_PDEATHSIG: Final = 1

_FEWER_ARENAS: Final = {"MALLOC_ARENA_MAX": "1"}
"""Measured: glibc keeps what the loading thread freed in an arena of that thread, some 25 MB in each worker of a 400 MB model."""


class WorkerProcess(Protocol):
    """One worker, as the supervisor holds it. `connection` is this side's end of its link, `started` the time on the monotonic clock."""

    connection: socket.socket
    pid: int
    started: float

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        ...

    @property
    def how(self) -> str:
        """How it ended."""
        ...

    def kill(self) -> None:
        """At once, and all that it started in its own process group."""
        ...

    def reap(self, timeout_s: float = 2.0) -> None:
        """Wait for its end, so that nothing of it is left."""
        ...


class FreshProcess:
    """A worker that is an interpreter of its own, `python -m module LINK LISTENING BOARD PARENT`."""

    def __init__(self, module: str, listening: socket.socket, board: int) -> None:
        self.connection, theirs = socket.socketpair()
        try:
            self._process = launch(module, (theirs.fileno(), listening.fileno(), board))
        except ChildDied:
            self.connection.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.started = time.monotonic()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def how(self) -> str:
        return "it runs" if self._process.returncode is None else told(self._process.returncode)

    def kill(self) -> None:
        if self._process.returncode is None:  # not reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.reap(0.05)

    def reap(self, timeout_s: float = 2.0) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)


def launch(module: str, descriptors: Sequence[int], *words: str) -> "subprocess.Popen[bytes]":
    """Start `python -m module DESCRIPTOR... PARENT WORD...`, which inherits the descriptors. Raises ChildDied."""
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, descriptors), str(os.getpid()), *words],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            env={**_FEWER_ARENAS, **os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # Ctrl-C at a terminal is for the supervisor, which drains
        )
    except OSError as error:
        raise ChildDied(f"a worker cannot be started: {error.strerror}", hint="the machine is out of processes or memory") from error


def told(code: int) -> str:
    """An exit code in words; negative ones are signals."""
    return f"killed by {_NAMES.get(-code, f'signal {-code}')}" if code < 0 else f"exit code {code}"


def die_with(parent: int) -> None:
    """Be killed when the parent's thread that started this process ends, however it ends. Elsewhere than on Linux the end of the link says it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def give_back() -> None:
    """Return memory that starting took and freed: the allocator (glibc's) keeps it otherwise. What is left stays, and is not walked any more."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    gc.freeze()

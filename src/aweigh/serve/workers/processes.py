"""Starts the processes of workers: fresh interpreters that inherit the listening socket, the board and one end of a socket pair, and nothing else.

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
from typing import Final

from aweigh.core.errors import ChildDied

_NAMES: Final = {int(number): number.name for number in signal.Signals}

_FEWER_ARENAS: Final = {"MALLOC_ARENA_MAX": "1"}
"""Measured: glibc keeps what the loading thread freed in an arena of that thread, some 25 MB in each worker of a 400 MB model."""


class WorkerProcess:
    """One running worker. `connection` is this side's end of the socket pair."""

    def __init__(self, module: str, listening: socket.socket, board: int) -> None:
        self.connection, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), listening.fileno(), board)
        words = [sys.executable, "-m", module, *map(str, descriptors), str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                words,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env={**_FEWER_ARENAS, **os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C at a terminal is for the supervisor, which drains
            )
        except OSError as error:
            self.connection.close()
            raise ChildDied(f"a worker cannot be started: {error.strerror}", hint="the machine is out of processes or memory") from error
        finally:
            theirs.close()
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone, and reaped."""
        return self._process.poll() is not None

    @property
    def how(self) -> str:
        """How it ended."""
        code = self._process.returncode
        if code is None:
            return "it runs"
        return f"killed by {_NAMES.get(-code, f'signal {-code}')}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """At once, and all that it started in its own process group."""
        if self._process.returncode is None:  # not reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self.reap(0.05)

    def reap(self, timeout_s: float = 2.0) -> None:
        """Wait for its end, so that nothing of it is left."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)


def give_back() -> None:
    """Return memory that starting took and freed: the allocator (glibc's) keeps it otherwise. What is left stays, and is not walked any more."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    gc.freeze()

"""A timer that wakes the event loop to some tens of microseconds where Linux has timerfd; event loops themselves count in milliseconds.

An open loop sends by it: a request sent a millisecond late would look like a server that is a millisecond slow.
"""

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Final, Protocol

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC


class Timer(Protocol):
    """Calls back once at a time of `time.monotonic`."""

    def at(self, when: float) -> None: ...

    def close(self) -> None: ...


def make_timer(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> Timer:
    """The most exact timer that this system has."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return _KernelTimer(loop, wake)
    return _LoopTimer(loop, wake)


class _KernelTimer:
    """timerfd, by ctypes: `os.timerfd_create` is there from Python 3.13 on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        self._wake = wake
        loop.add_reader(self._descriptor, self._ring)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._wake()

    def at(self, when: float) -> None:
        seconds = int(when)
        # zero would disarm it: a time that has passed rings at once
        nanoseconds = max(1, int((when - seconds) * 1e9))
        self._settime(self._descriptor, _ABSOLUTE, struct.pack("@llll", 0, 0, seconds, nanoseconds), None)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


class _LoopTimer:
    """The event loop's own, elsewhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._handle: asyncio.TimerHandle | None = None

    def at(self, when: float) -> None:
        self.close()
        self._handle = self._loop.call_at(when, self._wake)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

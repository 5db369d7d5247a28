"""The store's exclusive lock: one process changes names at a time, readers never wait. Used by `store` around every change of the index.

The kernel drops it when its holder dies, so it can never be left behind.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aweigh.core.errors import StoreUnavailable
from aweigh.store.files import store_errors

LOCK_FILE: Final = "lock"
_POLL_S: Final = 0.02


@contextlib.contextmanager
def exclusive_lock(folder: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock of the store in `folder`. Raises StoreUnavailable, naming the holder, when `timeout_s` passes first."""
    with store_errors(folder, "take the lock"):
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        _acquire(handle, folder, time.monotonic() + timeout_s, timeout_s)
        with store_errors(folder, "take the lock"):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, folder: Path, deadline: float, timeout_s: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
                raise StoreUnavailable(
                    f"the store {folder} is locked by process {holder or '(unknown)'} and stayed so for {timeout_s:g} s",
                    hint="wait until it is done, or see what that process is doing",
                    holder=holder,
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise StoreUnavailable(
                f"the store {folder} cannot be locked: {error.strerror}",
                hint="its file system must support flock: set AWEIGH_HOME to a local disk",
            ) from error

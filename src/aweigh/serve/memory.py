"""Freed memory, kept for the next request: large tensors come and go, and fresh pages from the system cost more than copying what they hold.

Called once by a process that does nothing but serve. Must never be called in a process that belongs to somebody else.
"""

import contextlib
import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1, 64 * 1024 * 1024
"""M_TRIM_THRESHOLD of glibc's malloc.h, and how much free memory at the heap's end stays with the process."""
_MMAP_THRESHOLD: Final = -3, 8 * 1024 * 1024
"""M_MMAP_THRESHOLD, and from which size on a block comes from the system and goes back to it."""


def keep_freed_memory() -> None:
    """Tell the C library's allocator. Where it is another one than glibc's, nothing changes."""
    with contextlib.suppress(OSError, AttributeError):  # no C library to open, or one without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(ctypes.c_int(parameter), ctypes.c_int(value))

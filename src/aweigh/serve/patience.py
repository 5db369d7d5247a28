"""Says beforehand that the event loop will stand still for a while: to read a large body, which a supervisor must not take for a hang.

Called by the wire and the codings where a body is large, never for small ones. One cell of shared memory a process, because a process has one event
loop that serves; without a supervisor there is no cell and nothing is written.
"""

from collections.abc import MutableSequence
from time import monotonic
from typing import Final

from aweigh.engine.slab import PATIENT_UNTIL

LARGE: Final = 1024 * 1024
_BYTES_PER_S: Final = 16 * 1024 * 1024
"""A slow machine reads so much of the least kind JSON in a second."""

_cells: MutableSequence[int] | None = None  # set once, when a worker begins


def watched(cells: MutableSequence[int]) -> None:
    """From now on this process is watched by who reads these cells."""
    global _cells
    _cells = cells


def expect(size_bytes: int) -> None:
    """A body of this size is about to be read."""
    if _cells is not None and size_bytes > LARGE:
        _cells[PATIENT_UNTIL] = int((monotonic() + size_bytes / _BYTES_PER_S) * 1000)

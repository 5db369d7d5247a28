"""Tells a serialized JAX program (`jax.export`) and Flax parameters by their bytes. Called by `recognise`; reads heads, bounded, and runs nothing."""

import struct
from typing import Final

_PORTABLE: Final = b"ML\xefR"
"""How MLIR bytecode begins, which holds the program's arithmetic."""
_MAX_FIELDS: Final = 64
_MAPS_AND_ARRAYS: Final = frozenset({0xDE, 0xDF, 0xC7, 0xC8, 0xC9, 0xD8})


def is_exported(head: bytes) -> bool:
    """Whether a flatbuffer begins here that has StableHLO in one of its fields. Its table comes first; the code may lie beyond `head`, where only its place is seen."""
    try:
        (root,) = struct.unpack_from("<I", head, 0)
        (back,) = struct.unpack_from("<i", head, root)
        table = root - back
        (size,) = struct.unpack_from("<H", head, table)
        if not 0 <= table < root <= len(head) or size % 2 or not 4 <= size <= 4 + 2 * _MAX_FIELDS:
            return False
        for at in range(table + 4, table + size, 2):
            (field,) = struct.unpack_from("<H", head, at)
            if field and _holds_program(head, root + field):
                return True
    except struct.error:
        return False
    return False


def _holds_program(head: bytes, place: int) -> bool:
    if place + 4 > len(head):
        return False
    start = place + int(struct.unpack_from("<I", head, place)[0])
    return head[start + 4 : start + 8] == _PORTABLE and b"StableHLO" in head[start + 8 : start + 32]


def is_flax(head: bytes) -> bool:
    """Whether msgpack begins here that maps a text to a further map or to an array, as Flax writes parameters."""
    skip = {0xDE: 3, 0xDF: 5}.get(head[0], 1) if head else 0
    if not head or not (0x81 <= head[0] <= 0x8F or head[0] in {0xDE, 0xDF}) or len(head) <= skip + 1:
        return False
    kind = head[skip]
    start, length = (skip + 1, kind & 0x1F) if 0xA1 <= kind <= 0xBF else (skip + 2, head[skip + 1]) if kind == 0xD9 else (0, 0)
    name, value = head[start : start + length], head[start + length : start + length + 1]
    return bool(name) and name.isascii() and bool(value) and (0x80 <= value[0] <= 0x8F or value[0] in _MAPS_AND_ARRAYS)

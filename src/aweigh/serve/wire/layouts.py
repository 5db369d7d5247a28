"""How the frames of a read lie. A client that repeats itself sends reads of one layout, and one call then cuts such a read into its frames.

Shared by the HTTP/2 connections of a listener. Judges nothing: what a frame means, and whether it may come now, the connection says.
"""

import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from aweigh.core import http2 as f
from aweigh.serve.wire.uploads import SMALL_DATA

_MAX_KNOWN: Final = 128
_MAX_FRAMES: Final = 256
_PRICE: Final = 8
"""Reads that must have been known for each that is learnt: reads that never come again must not cost more than they save."""
_OPENING: Final = bytes((f.HEADERS, f.END_HEADERS))
_ENDING: Final = bytes((f.DATA, f.END_STREAM))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Of whole small frames, each of which opens a stream by a whole header block, or ends one by DATA."""

    cut: Callable[[bytes], tuple[Any, ...]]
    """A read to head, stream and payload of each frame, one after the other."""
    heads: tuple[bytes, ...]
    """Length, kind and flags of each frame."""
    opening: tuple[bool, ...]


class Layouts:
    """Found by the length of the read. Bounded; forgets everything when full."""

    __slots__ = ("_credit", "_known")

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}
        self._credit = _MAX_KNOWN * _PRICE

    def cut(self, data: bytes) -> tuple[Sequence[bool], Sequence[int], Sequence[bytes]] | None:
        """The frames of a read of a layout that is known: which open a stream, their streams, their payloads. None for any other read."""
        layout = self._known.get(len(data))
        if layout is not None:
            parts = layout.cut(data)
            streams = parts[1::3]
            if parts[::3] == layout.heads and max(streams) <= f.MAX_WINDOW:
                self._credit += 1
                return layout.opening, streams, parts[2::3]
        if self._credit >= _PRICE:
            self._credit -= _PRICE
            self._learn(data)
        return None

    def _learn(self, data: bytes) -> None:
        heads: list[bytes] = []
        at = 0
        while at + 9 <= len(data) and len(heads) < _MAX_FRAMES:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > SMALL_DATA or data[at + 3 : at + 5] not in (_OPENING, _ENDING):
                return
            heads.append(data[at : at + 5])
            at += 9 + length
        if at != len(data) or not heads:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        form = "".join([f"5sL{int.from_bytes(head[:3], 'big')}s" for head in heads])
        opening = tuple([head[3:] == _OPENING for head in heads])
        self._known[at] = Layout(cut=struct.Struct(f">{form}").unpack, heads=tuple(heads), opening=opening)

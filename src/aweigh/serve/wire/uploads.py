"""DATA of large bodies over HTTP/2, from frames to the place of its body. Called by the connection for what needs no look but at the frame heads.

Takes nothing that could end a body or break a limit: that is left to the connection.
"""

import struct
from typing import Final

from aweigh.core import http2 as f
from aweigh.serve.wire.replies import STREAM_WINDOW, Replies, Stream

SMALL_DATA: Final = 4096
"""Frames up to this size are copied out of what was read."""
_FRAME_HEAD: Final = struct.Struct(">HBBBI")
"""Length in two parts, type, flags, stream."""


class Uploads:
    """Of one connection."""

    def __init__(self, replies: Replies) -> None:
        self.part = 0, 0, 0
        """Stream, flags and missing bytes of a DATA frame that is taken as it comes."""
        self._replies = replies

    def pour(self, data: bytes | memoryview, at: int) -> int:
        """DATA frames in a row that go to bodies with a place, none the last of its body: the loop of large uploads. Where what follows begins."""
        view, size, streams, taken = memoryview(data), len(data), self._replies.streams, 0
        while size - at >= 9:
            high, low, kind, flags, stream = _FRAME_HEAD.unpack_from(data, at)
            length = high << 8 | low
            found = streams.get(stream)
            if kind or flags or not SMALL_DATA < length <= f.DEFAULT_FRAME or found is None or found.body is None:
                break
            piece = view[at + 9 : at + 9 + length]
            missing = found.body.pour(piece)
            if missing < 0:
                break
            found.unacknowledged += len(piece)
            if found.unacknowledged > STREAM_WINDOW // 2 and missing > STREAM_WINDOW - found.unacknowledged:
                self._replies.write(f.window_frame(stream, found.unacknowledged))
                found.unacknowledged = 0
            taken += len(piece)
            at += 9 + len(piece)
            if len(piece) < length:
                self.part = stream, 0, length - len(piece)
                break
        if taken:
            self._replies.buffered += taken
            self._replies.acknowledge(taken)
        return at

    def pour_part(self, found: Stream, piece: memoryview) -> bool:
        """More of a frame whose beginning came before, if its body has a place."""
        if found.body is None or found.body.pour(piece) < 0:
            return False
        found.unacknowledged += len(piece)
        self._replies.buffered += len(piece)
        self._replies.acknowledge(len(piece))
        return True

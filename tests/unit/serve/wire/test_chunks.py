"""The chunked coding: whole however it is split, strict, and bounded."""

import itertools
import time

import pytest
from tests.serving.kit import rig

from aweigh.core.errors import AweighError, InvalidInput, TooLarge
from aweigh.serve.wire.chunks import ChunkedBody

LIMITS = rig(max_body_bytes=100_000).listener.limits
WHOLE = b"4\r\nwiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n"
TEXT = b"wikipedia in \r\n\r\nchunks."


def fed(*pieces: bytes) -> ChunkedBody:
    body = ChunkedBody(LIMITS)
    for piece in pieces:
        body.feed(piece)
    return body


def test_split_anywhere_the_body_is_the_same() -> None:
    for at in range(len(WHOLE) + 1):
        body = fed(WHOLE[:at], WHOLE[at:] + b"GET")
        assert (body.done, body.body(), body.rest) == (True, TEXT, b"GET")
    for first, second in itertools.combinations(range(0, len(WHOLE), 3), 2):
        assert fed(WHOLE[:first], WHOLE[first:second], WHOLE[second:]).body() == TEXT
    assert fed(*(bytes((byte,)) for byte in WHOLE)).done


def test_an_unfinished_body_is_not_done() -> None:
    for at in range(len(WHOLE)):
        assert not fed(WHOLE[:at]).done


@pytest.mark.parametrize(
    "raw",
    [
        b"4;name=value\r\nwiki\r\n", b"4 \r\nwiki\r\n", b" 4\r\nwiki\r\n", b"+4\r\nwiki\r\n", b"-4\r\nwiki\r\n", b"0x4\r\nwiki\r\n",
        b"4\nwiki\n", b"\r\n", b"G\r\n", b"4_0\r\n", b"\xb2\r\n", b"123456789\r\n", b"4\r\nwikip\r\n", b"4\r\nwiki\n\n", b"4\r\nwiki\rx",
        b"0\r\nTrailer: 1\r\n\r\n", b"0\r\n\n", b"4\r\r\nwiki",
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        fed(raw)
    with pytest.raises(InvalidInput):
        fed(*(bytes((byte,)) for byte in raw))


def test_sizes_and_counts_have_limits() -> None:
    with pytest.raises(TooLarge):
        fed(b"186A1\r\n")
    with pytest.raises(TooLarge):
        fed(b"FFFFFFFF\r\n")
    with pytest.raises(TooLarge):
        fed(b"C350\r\n" + b"x" * 50_000 + b"\r\nC351\r\n")
    with pytest.raises(TooLarge):
        fed(b"1\r\nx\r\n" * 70_000)
    assert len(fed(b"186A0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n").body()) == 100_000


def test_one_large_chunk_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    body = ChunkedBody(rig().listener.limits)
    size = 32 * 1024 * 1024
    piece = b"x" * 4096
    started = time.process_time()
    body.feed(b"%x\r\n" % size)
    for _ in range(size // len(piece)):
        body.feed(piece)
    body.feed(b"\r\n0\r\n\r\n")
    assert (len(body.body()), body.done) == (size, True)
    assert time.process_time() - started < 2.0


def test_errors_are_of_our_tree() -> None:
    with pytest.raises(AweighError, match="not a hexadecimal number"):
        fed(b"z\r\n")

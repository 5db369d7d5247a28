"""Reads of a known layout: cut as they would be frame by frame, and judged no less."""

import pytest
from tests.serving.kit import INFER, Rig, grpc_frame
from tests.serving.raw_http2 import CALL, FIELDS, Raw, alive, block, raw_frame

from aweigh.serve.wire.layouts import Layouts

HEAD = block()


def together(*streams: int, head: bytes = HEAD) -> bytes:
    """Calls whose heads come first, as h2load sends them."""
    heads = [raw_frame(1, 4, stream, head) for stream in streams]
    return b"".join(heads + [raw_frame(0, 1, stream, grpc_frame(CALL)) for stream in streams])


def test_a_layout_is_known_the_second_time() -> None:
    layouts = Layouts()
    assert layouts.cut(together(1, 3)) is None
    opening, streams, payloads = layouts.cut(together(5, 7)) or ((), (), ())
    assert (tuple(opening), tuple(streams)) == ((True, True, False, False), (5, 7, 5, 7))
    assert tuple(payloads) == (HEAD, HEAD, grpc_frame(CALL), grpc_frame(CALL))


@pytest.mark.parametrize(
    "read",
    [
        together(1)[:-1],
        together(1) + b"\0" * 8,
        raw_frame(1, 5, 1, HEAD),
        raw_frame(1, 4, 1, HEAD) + raw_frame(0, 0, 1, b"x"),
        raw_frame(6, 0, 0, b"x" * 8),
        raw_frame(0, 1, 1, b"x" * 5000),
        raw_frame(0, 9, 1, b"x" * 10),
        raw_frame(0, 1, 1) * 257,
        b"",
    ],
)
def test_only_whole_usual_small_frames_make_a_layout(read: bytes) -> None:
    layouts = Layouts()
    for _ in range(3):
        assert layouts.cut(read) is None


def test_reads_of_one_length_and_other_frames_are_other_reads() -> None:
    layouts = Layouts()
    one = raw_frame(1, 4, 1, b"x" * 20) + raw_frame(0, 1, 1, b"x" * 10)
    other = raw_frame(1, 4, 3, b"x" * 10) + raw_frame(0, 1, 3, b"x" * 20)
    assert [layouts.cut(read) is None for read in (one, one, other, other, one)] == [True, False, True, False, True]


def test_a_stream_with_the_reserved_bit_is_left_to_the_usual_way(server: Rig) -> None:
    raw = Raw(server)
    raw.pipe.send(together(1))
    raw.pipe.send(together(3))
    raw.pipe.send(together(5 | 1 << 31))
    assert raw.answered() == [1, 3, 5]


def test_reads_that_never_come_again_are_not_learnt_for_ever() -> None:
    layouts = Layouts()
    for size in range(1, 2000):
        layouts.cut(raw_frame(0, 1, 1, b"x" * size))
    read = raw_frame(0, 1, 1, b"x" * 2500)
    assert [layouts.cut(read), layouts.cut(read)] == [None, None]


def test_what_is_wrong_in_a_known_layout_is_said_as_ever(server: Rig) -> None:
    raw = Raw(server)
    raw.pipe.send(together(1, 3))
    raw.pipe.send(together(5, 7))
    assert raw.answered() == [1, 3, 5, 7]
    raw.pipe.send(together(9, 9))  # the second head is a trailer that does not end its stream
    assert raw.resets() == [(9, 1)]
    assert alive(server, raw, 11)
    raw.pipe.send(together(13, 14))
    assert raw.ends() == 1


def test_heads_that_are_not_known_are_read_in_a_known_layout(server: Rig) -> None:
    raw = Raw(server)
    raw.pipe.send(together(1))
    raw.pipe.send(together(3))
    other = block(fields=[(name, INFER[:-1] + "p" if name == ":path" else value) for name, value in FIELDS])
    assert len(other) == len(HEAD)
    raw.pipe.send(together(5, head=other))
    raw.pipe.send(together(7))
    assert raw.answered() == [1, 3, 7]


def test_a_header_block_that_goes_on_is_not_interrupted_by_a_known_read(server: Rig) -> None:
    raw = Raw(server)
    raw.pipe.send(together(1))
    raw.pipe.send(raw_frame(1, 0, 3, HEAD[:5]))
    raw.pipe.send(together(5))
    assert raw.ends() == 1

"""Shared memory: no name on disk, a size that nobody can change, bounded growth; the bell beside it; pauses between deaths."""

import fcntl
import os
import sys
from collections.abc import Iterator
from time import monotonic

import msgspec
import pytest

from aweigh.core.errors import InvalidFile, TooLarge
from aweigh.isolate import Backoff, Here
from aweigh.isolate.doorbell import Doorbell, Ring
from aweigh.isolate.segment import FIRST_BYTES, Segment, room_for

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory files and their seals are Linux's")


@linux
def test_a_segment_is_seen_by_both_sides_and_cannot_be_shrunk() -> None:
    ours = Segment.make(FIRST_BYTES)
    theirs = Segment.attach(os.dup(ours.fd))
    ours.view[:5] = b"hello"
    assert bytes(theirs.view[:5]) == b"hello"
    for size in (0, 1, 2 * FIRST_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(ours.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(ours.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    ours.discard()
    assert bytes(theirs.view[:5]) == bytes(5)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    for segment in (ours, theirs):
        segment.close()
    assert len(os.listdir("/proc/self/fd")) < before  # noqa: PTH208  # as above


def test_room_doubles_up_to_a_limit() -> None:
    limit = 1 << 30
    assert room_for(1, limit) == FIRST_BYTES
    assert room_for(FIRST_BYTES + 1, limit) == 2 * FIRST_BYTES
    assert room_for(limit, limit) == limit
    assert room_for(700 << 20, 800 << 20) == 800 << 20
    with pytest.raises(TooLarge, match="at most"):
        room_for(limit + 1, limit)


@pytest.fixture
def bells() -> Iterator[tuple[Doorbell, Doorbell]]:
    their_reads, our_writes = os.pipe()
    our_reads, their_writes = os.pipe()
    ours, theirs = Doorbell(our_reads, our_writes), Doorbell(their_reads, their_writes)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_bell_rings_across_and_tells_when_the_other_side_is_gone(bells: tuple[Doorbell, Doorbell]) -> None:
    ours, theirs = bells
    ours.ring(Ring.RUN, 10, 1 << 33)
    assert ours.untaken
    assert theirs.take() == (Ring.RUN, 10, 1 << 33)
    assert not ours.untaken
    with pytest.raises(TimeoutError):
        ours.wait(monotonic() + 0.01)
    theirs.close()
    ours.wait(monotonic() + 1)
    with pytest.raises(ConnectionError):
        ours.take()
    with pytest.raises(ConnectionError):
        ours.ring(Ring.RUN)


def test_pauses_grow_while_it_dies_and_are_forgotten() -> None:
    backoff = Backoff()
    pauses = []
    for at in range(14):
        backoff.died(f"death {at}", 1000.0 + at)
        pauses.append(round(backoff.wait_s(1000.0 + at), 2))
    assert pauses[:6] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == 30.0
    assert (backoff.looping, backoff.deaths, backoff.why) == (True, 14, "death 13")
    assert backoff.wait_s(1013.0 + 29) == 1.0
    backoff.died("later", 1013.0 + 91)
    assert (backoff.deaths, backoff.looping, backoff.wait_s(1104.0)) == (1, False, 0.0)
    backoff.answered()
    assert backoff.deaths == 0


class Doubling(msgspec.Struct):
    factor: float


def open_here(doubling: Doubling) -> object:
    if not doubling.factor:
        raise InvalidFile("no factor")
    return lambda said, tensors: (said, {name: tensor * doubling.factor for name, tensor in tensors.items()})


def test_a_target_can_be_opened_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opened_here", sys.modules[__name__])
    here = Here("opened_here:open_here", {"factor": 2.0})
    assert here.request({"a": 1}, {"x": 3.0}) == ({"a": 1}, {"x": 6.0})  # type: ignore[dict-item]  # any value that multiplies
    here.close()
    with pytest.raises(InvalidFile):
        Here("opened_here:open_here", {"factor": 0})

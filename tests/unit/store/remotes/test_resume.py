"""A broken transfer goes on where it stopped, and not for ever."""

import pytest

from aweigh.core.errors import Denied, InvalidFile, Unavailable
from aweigh.store.remotes.resume import ATTEMPTS, MAX_RESUMES, delay_s, resumed

DATA = bytes(range(256)) * 40


def parts(asked, step, fail_after):
    """Gives `fail_after` bytes in steps and breaks, each time."""

    def open_at(offset):
        asked.append(offset)
        end = min(offset + fail_after, len(DATA))
        for at in range(offset, end, step):
            yield DATA[at : min(at + step, end)]
        if end < len(DATA):
            raise Unavailable("broken")

    return open_at


def test_it_goes_on_where_it_stopped():
    asked, waited = [], []
    found = b"".join(resumed(parts(asked, 100, 3000), len(DATA), place="x", pause=waited.append))
    assert found == DATA
    assert asked == [0, 3000, 6000, 9000]
    assert len(waited) == 3


def test_without_any_progress_it_gives_up():
    waited = []
    with pytest.raises(Unavailable):
        list(resumed(parts([], 1, 0), len(DATA), place="x", pause=waited.append))
    assert len(waited) == ATTEMPTS - 1
    assert all(0 < wait <= 15 for wait in waited)


def test_a_peer_that_gives_a_byte_at_a_time_is_left():
    asked = []
    with pytest.raises(InvalidFile, match=f"{MAX_RESUMES} times"):
        list(resumed(parts(asked, 1, 1), len(DATA), place="x", pause=lambda _: None))
    assert len(asked) == MAX_RESUMES


def test_what_will_not_change_is_not_tried_again():
    def open_at(offset):
        yield b"x"
        raise Denied("no")

    with pytest.raises(Denied):
        list(resumed(open_at, 10, place="x", pause=lambda _: pytest.fail("waited")))


def test_an_end_too_early_without_an_error_is_a_break():
    asked = []

    def open_at(offset):
        asked.append(offset)
        yield DATA[offset : offset + 5000]

    assert b"".join(resumed(open_at, len(DATA), place="x", pause=lambda _: None)) == DATA
    assert asked == [0, 5000, 10000]
    assert list(resumed(open_at, 0, place="x", pause=lambda _: None)) == []


def test_waiting_grows_and_is_bounded():
    assert delay_s(1) <= 0.5
    assert 7 <= delay_s(30) <= 15

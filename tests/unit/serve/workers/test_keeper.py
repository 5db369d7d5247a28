"""What a dead worker owed a connection, judged by what it last wrote of it and by what the kernel tells of the bytes."""

import pytest

from aweigh.engine.slab import SENT, UNKNOWN, UNREAD
from aweigh.serve.workers.keeper import HELD, IDLE, LOST, Traffic, verdict


@pytest.mark.parametrize(
    ("said", "sent", "expected"),
    [
        (UNREAD, 0, IDLE),
        (UNREAD, 900, IDLE),  # adopted, and not asked since
        (SENT, 0, HELD),  # its first request
        (SENT + 900, 900, HELD),  # a later one, all answers before it sent
        (SENT + 900, 1100, IDLE),  # answered
        (SENT + 900, 900 + 8192, LOST),  # a large answer: whole or not
        (SENT + 900, 700, LOST),  # the answer before it was not sent either
        (UNKNOWN, 900, LOST),  # several at once, or a connection that was ending
    ],
)
def test_a_verdict_needs_proof(said: int, sent: int, expected: str) -> None:
    assert verdict(said, Traffic(sent, 0)) == expected


@pytest.mark.parametrize(("said", "expected"), [(UNREAD, IDLE), (SENT, LOST), (UNKNOWN, LOST)])
def test_without_the_kernels_word_nothing_is_answered_twice(said: int, expected: str) -> None:
    assert verdict(said, None) == expected

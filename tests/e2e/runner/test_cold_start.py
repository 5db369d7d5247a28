"""The stated budget of a cold start, with fivefold slack; the ratio itself is `make bench-cold-start`."""

from pathlib import Path

import pytest
from bench.cold_start import bare_ms, barest, first_answer_ms, runner_of

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.budget]

WITHIN = 5.0
"""Times of a bare `python -c pass`."""
SLACK = 5.0


def test_a_first_answer_within_the_budget(tmp_path: Path) -> None:
    folder = runner_of(tmp_path)
    python = barest()
    times = [(bare_ms(python), first_answer_ms(python, folder)) for _ in range(5)]
    bare, answer = (min(each) for each in zip(*times, strict=True))
    assert answer <= WITHIN * SLACK * bare, f"{answer:.1f} ms, a bare Python {bare:.1f} ms"

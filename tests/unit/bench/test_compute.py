"""Models whose compute rules: shares of the session's best by round, what an objective's control shows, and the page made of both."""

from pathlib import Path

import pytest
from bench import compute, held, page
from bench.loads.load import Sample


def samples(*speeds: float) -> tuple[Sample, ...]:
    return tuple(Sample(requests=int(10 * speed), seconds=10.0) for speed in speeds)


def share(*rest: float) -> compute.Share:
    return compute.Share(
        model="m",
        title="a model",
        best=compute.Shape(threads=1, callers=2, rows=16, per_second=400.0),
        swept=(),
        in_flight=64,
        decided={"batch_rows": "16"},
        in_process=samples(100, 300, 100, 100),
        doors={"rest": samples(*rest)},
    )


def outcome(p99_ms: float, in_time: float) -> held.Outcome:
    return held.Outcome(offered=100.0, answered=in_time, in_time=in_time, refused=0.0, p99_ms=p99_ms)


def test_a_share_is_of_the_rounds_before_and_after() -> None:
    made = share(200, 100, 100)
    assert made.ratios("rest") == [1.0, 0.5, 1.0]
    assert "1.000" in compute.share_text(made)
    assert "met" in compute.share_text(made)
    assert "MISSED" in compute.share_text(share(100, 100, 90))


@pytest.mark.parametrize(("rows", "in_flight"), [(1, 32), (16, 64), (32, 128), (64, 128)])
def test_there_are_enough_requests_to_run_and_to_wait(rows: int, in_flight: int) -> None:
    assert compute.Shape(threads=1, callers=2, rows=rows).in_flight == in_flight


def test_the_share_in_time_is_read_between_percentiles() -> None:
    known = {0.0: 10.0, 50.0: 20.0, 99.0: 69.0, 100.0: 100.0}
    assert held.share_within(known, 5.0) == 0.0
    assert held.share_within(known, 20.0) == 0.5
    assert held.share_within(known, 45.0) == pytest.approx(0.75)
    assert held.share_within(known, 1000.0) == 1.0


def test_an_objective_is_missed_by_latency_or_because_a_fixed_setting_does_as_well() -> None:
    def test(tuned: held.Outcome, fixed: held.Outcome) -> held.Test:
        outcomes = {held.TUNED: {"0.7": (tuned,)}, "64 rows": {"0.7": (fixed,)}}
        return held.Test(model="m", objective_ms=100, capacity=100.0, outcomes=outcomes, decided={held.TUNED: {}})

    assert held.missed(test(outcome(90, 95), outcome(300, 20))) == []
    assert "100 ms is the objective" in held.missed(test(outcome(120, 95), outcome(300, 20)))[0]
    assert "a fixed setting gives 95" in held.missed(test(outcome(90, 50), outcome(95, 95)))[0]


def test_the_page_shows_the_last_run(tmp_path: Path) -> None:
    assert compute.newest(tmp_path) is None
    (tmp_path / "compute-20260101T000000Z.json").write_text(
        '{"at": "2026-01-01T00:00:00", "rounds": 3, "seconds": 2, "text": ["in process"]}'
    )
    text = page.text([], None, compute.newest(tmp_path))
    assert "## Models whose compute rules" in text
    assert "```text\nin process\n```" in text
    assert "compute rules" not in page.text([])

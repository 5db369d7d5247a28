import pytest

from aweigh.core.errors import InvalidSetting
from aweigh.core.objective import Objective, duration_text, parse_objective

GOOD = [
    ("p99 <= 20ms", 99, 0.02),
    ("p99<=20ms", 99, 0.02),
    (" P99.9 <= 1.5 s ", 99.9, 1.5),
    ("p50 ≤ 250us", 50, 250e-6),
    ("p50 <= 250µs", 50, 250e-6),
    ("p50 <= 250μs", 50, 250e-6),
    ("p100 <= 1s", 100, 1.0),
    ("max <= 1s", 100, 1.0),
    ("p0.1 <= 1ms", 0.1, 1e-3),
    ("p99 <= 3600s", 99, 3600.0),
]

BAD = [
    ("", "is not a latency objective"),
    ("fast", "is not a latency objective"),
    ("p99", "is not a latency objective"),
    ("p99 < 20ms", "only '<=' is understood"),
    ("p99 = 20ms", "only '<=' is understood"),
    ("p99 == 20ms", "only '<=' is understood"),
    ("p99 >= 20ms", "only '<=' is understood"),
    ("p99 <= 20", "the time has no unit"),
    ("p99 <= 20%", "it has a '%'"),
    ("99 <= 20ms", "is not a latency objective"),
    ("p99 <= -20ms", "is not a latency objective"),
    ("p99 <= 20 minutes", "is not a latency objective"),
    ("p99 <= 1e3ms", "is not a latency objective"),
    ("p99 <= nan ms", "is not a latency objective"),
    ("p99 <= 20ms; rm", "is not a latency objective"),
    ("p٩٩ <= 20ms", "is not a latency objective"),
    ("p0 <= 20ms", "percentile 0"),
    ("p101 <= 20ms", "percentile 101"),
    ("p99 <= 0ms", "allows 0 s"),
    ("p99 <= 4000s", "allows 4000 s"),
    ("p99 <= 20ms" + " " * 200, "is not a latency objective"),
]


@pytest.mark.parametrize(("text", "percentile", "limit_s"), GOOD)
def test_objectives_are_read_and_written_back(text, percentile, limit_s):
    objective = parse_objective(text)
    assert objective.percentile == percentile
    assert objective.limit_s == pytest.approx(limit_s)
    assert parse_objective(str(objective)) == Objective(percentile=percentile, limit_s=objective.limit_s)


@pytest.mark.parametrize(("text", "message"), BAD)
def test_anything_else_is_refused_with_the_mistake_and_an_example(text, message):
    with pytest.raises(InvalidSetting, match=message) as caught:
        parse_objective(text)
    assert "p99 <= 20ms" in caught.value.hint
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.0, "1s"), (0.02, "20ms"), (0.0015, "1.5ms"), (250e-6, "250us"), (0.99999, "1s"), (0.9991, "999.1ms"), (0.0, "0us")],
)
def test_durations_in_the_unit_people_read(seconds, text):
    assert duration_text(seconds) == text

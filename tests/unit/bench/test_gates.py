"""Gates, and when a measurement is not to be believed."""

import msgspec
import numpy as np
import pytest

from aweigh.bench.gates import judge, parse_gate
from aweigh.bench.histogram import Histogram
from aweigh.bench.plan import TIMELINE_PARTS, Load
from aweigh.bench.recorder import Recorder, Tally
from aweigh.bench.report import CLOSED_METHOD, OPEN_METHOD, method
from aweigh.bench.result import TIMEOUTS, Measurement, document, measured
from aweigh.core.errors import InvalidSetting
from aweigh.core.objective import parse_objective

OPEN = Load(rate=100.0, duration_s=10.0)


def packed(values: np.ndarray) -> object:
    made = Histogram()
    made.add(values)
    return made.pack()


def run(latency_s: float = 0.01, *, load: Load = OPEN, late_s: float = 1e-5, cpu: float = 0.1, **changes: object) -> Measurement:
    values = np.full(1000, latency_s)
    tally = Tally(
        latency=packed(values), service=packed(values), lateness=packed(np.full(1000, late_s)), timeline=[packed(values[:0])] * TIMELINE_PARTS,
        timeline_errors=[0] * TIMELINE_PARTS, timeline_timeouts=[0] * TIMELINE_PARTS, scheduled=1000, answered_in_time=1000, queued=0,
        outstanding=0, errors={}, details={}, slowest=[],
        bytes_out=1, bytes_in=1, cpu_s=cpu * load.duration_s, reconnects=0, peak_connections=1, begin=0.0, end=load.duration_s,
    )  # fmt: skip
    return measured(load, [msgspec.structs.replace(tally, **changes)], corrected=True, server_cpu=0.5)


def with_errors(kind: str, failed: int) -> Measurement:
    """1000 requests, of which some failed fast and the others took 10 ms."""
    return run(latency=packed(np.full(1000 - failed, 0.01)), errors={kind: failed}, answered_in_time=1000 - failed)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("p99 <= 20ms", True),
        ("p99 <= 9ms", False),
        ("max <= 10.1ms", True),
        ("errors <= 0%", True),
        ("errors<=0.1%", True),
        ("throughput >= 100/s", True),
        ("throughput >= 100.1/s", False),
    ],
)
def test_gates_of_a_good_run(text: str, passed: bool) -> None:
    verdict = judge(parse_gate(text), run())
    assert verdict.passed is passed
    assert verdict.found


@pytest.mark.parametrize(
    "text",
    ["", "p99", "p99 >= 20ms", "errors <= 0.1", "errors >= 1%", "errors <= 101%", "throughput <= 5/s", "throughput >= 5", "latency <= 5ms"],
)
def test_gates_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse_gate(text)
    assert "throughput >= 1000/s" in caught.value.hint


def test_failed_requests_are_misses_of_a_latency_gate() -> None:
    """Shedding load fast must not look like answering fast."""
    shedding = with_errors("status 503", 20)
    assert shedding.latency.percentiles_ms["p99"] == pytest.approx(10, rel=0.01)
    assert not judge(parse_gate("p99 <= 20ms"), shedding).passed
    assert "more requests failed" in judge(parse_gate("p99 <= 20ms"), shedding).found
    assert judge(parse_gate("p97 <= 20ms"), shedding).passed
    assert judge(parse_gate("errors <= 2%"), shedding).passed
    assert not judge(parse_gate("errors <= 1.9%"), shedding).passed


def test_timeouts_count_once_and_as_misses() -> None:
    values = np.concatenate([np.full(980, 0.01), np.full(20, 10.0)])
    made = run(latency=packed(values), errors={"timeout": 20}, answered_in_time=980)
    assert made.latency.percentiles_ms["p99"] == pytest.approx(10_000, rel=0.01)
    assert not made.holds(parse_objective("p99 <= 30s"))
    assert made.holds(parse_objective("p98 <= 20ms"))
    assert made.share_within(0.02) == pytest.approx(0.98)


def test_a_late_generator_makes_a_measurement_invalid() -> None:
    late = run(latency_s=0.03, late_s=0.02)
    assert not late.valid
    assert any("the generator was late" in problem for problem in late.problems)
    failed = judge(parse_gate("p99 <= 20ms"), late)
    assert (failed.passed, failed.why) == (False, "the measurement cannot be believed")
    passed = judge(parse_gate("p99 <= 50ms"), late)
    assert (passed.passed, passed.why) == (True, "in spite of the generator's lateness")


def test_a_busy_generator_passes_no_gate_of_a_closed_loop() -> None:
    busy = run(load=Load(concurrency=32, duration_s=10.0), cpu=0.97)
    assert not busy.valid
    assert "used 97% of a core" in busy.problems[0]
    assert not judge(parse_gate("p99 <= 1s"), busy).passed


def test_a_late_generator_does_not_matter_where_the_server_is_far_slower() -> None:
    assert run(latency_s=5.0, late_s=0.05).valid


def test_a_server_that_does_not_keep_up_is_said_to() -> None:
    behind = run(answered_in_time=600, outstanding=400)
    assert behind.valid
    assert not behind.kept_up
    assert any("did not keep up" in problem for problem in behind.problems)


@pytest.mark.parametrize("kind", TIMEOUTS)
def test_a_server_that_lets_requests_time_out_does_not_keep_up(kind: str) -> None:
    recorder = Recorder(0.0, 10.0)
    for number in range(1000):
        due = number / 100
        recorder.turned_to(due, due)
        if number % 2:
            recorder.answered(due, due, min(due + 0.9, 9.99))
        else:
            recorder.timed_out(due, due + 1, kind, "")
    behind = measured(OPEN, [recorder.tally(1)], corrected=False, server_cpu=None)
    assert not behind.kept_up
    assert any("did not keep up" in problem for problem in behind.problems)
    assert sum(part.answered for part in behind.timeline) == sum(part.errors for part in behind.timeline) == 500
    assert with_errors("status 500", 500).kept_up


def test_nothing_due_is_no_measurement() -> None:
    empty = run(scheduled=0, answered_in_time=0, latency=packed(np.empty(0)))
    assert not empty.valid
    assert not judge(parse_gate("p99 <= 1h".replace("1h", "3600s")), empty).passed
    assert not judge(parse_gate("errors <= 100%"), empty).passed


def test_few_answers_are_said_to_be_few() -> None:
    few = run(latency=packed(np.full(60, 0.01)), scheduled=60, answered_in_time=60)
    assert any("percentiles above p90 rest on less than 5" in problem for problem in few.problems)


def test_several_processes_add_up() -> None:
    one = run()
    tally = Tally(
        latency=packed(np.full(10, 1.0)), service=packed(np.full(10, 1.0)), lateness=packed(np.full(10, 1e-5)),
        timeline=[packed(np.empty(0))] * TIMELINE_PARTS, timeline_errors=[0] * TIMELINE_PARTS, timeline_timeouts=[0] * TIMELINE_PARTS, scheduled=11, answered_in_time=10, queued=0,
        outstanding=0, errors={"timeout": 1}, details={"timeout": "x"}, slowest=[], bytes_out=5, bytes_in=6, cpu_s=1.0, reconnects=0,
        peak_connections=2, begin=0.0, end=10.0,
    )  # fmt: skip
    both = measured(OPEN, [tally, tally], corrected=False, server_cpu=None)
    assert (both.scheduled, both.errors, both.connections, both.bytes_in) == (22, {"timeout": 2}, 4, 12)
    assert both.generator_cpu == pytest.approx(0.1)
    assert one.corrected is None  # of an open loop there is nothing to correct


def test_the_document_is_json_and_says_how_it_was_measured() -> None:
    found = msgspec.json.decode(msgspec.json.encode(document(run())))
    assert found["latency"]["percentiles_ms"]["p99"] == pytest.approx(10, rel=0.01)
    assert found["histogram_relative_error"] == 0.005
    assert "histogram" not in found
    assert method(OPEN) == OPEN_METHOD
    assert method(Load(concurrency=1)) == CLOSED_METHOD

"""What a search decides: what is worth going on from, what beats what, what is surely better. And the words for it."""

from typing import Any

import msgspec
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Machine
from aweigh.optimization.budget import Figure, Judged
from aweigh.optimization.charts import lost_of, on_front, optimization_page, pareto_lines, pareto_svg
from aweigh.optimization.report import Optimization, Outcome, Result
from aweigh.optimization.search import _dominates, _final, _surely, check_goal
from aweigh.optimization.summary import summarised
from aweigh.optimization.timing import Speed, Timed
from aweigh.optimization.trying import Tried, slower_words, worthwhile


def timed(one: float, many: float, size: int = 1000, *, spread: float = 0.01) -> Timed:
    """So many times as fast as the baseline, at one row and at many."""
    speeds = tuple(
        Speed(
            rows=rows,
            p50_us=100 * rows / times,
            p99_us=120 * rows / times,
            rows_per_s=1e6,
            cpu_s_per_1000=0.1,
            times=times,
            low=times - spread,
            high=times + spread,
        )
        for rows, times in ((1, one), (64, many))
    )
    return Timed(speeds=speeds, load_ms=1.0, memory_bytes=10**6, size_bytes=size)


def result(name: str, outcome: Outcome, found: Timed | None, lost: float = 0.0, **more: Any) -> Result:
    judged = (
        Judged(condition="accuracy >= 99%", metric="accuracy", passed=True, source=0.98, found=Figure(value=0.98 - lost), limit=0.97),
    )
    return Result(name=name, passes=(name,), base="onnx", outcome=outcome, timed=found, unseen=judged, **more)


def report(*results: Result) -> Optimization:
    machine = Machine(system="Linux", architecture="x86_64", processor="a processor", cores=2)
    return Optimization(
        model="m:1", digest="sha256:0", keep="accuracy >= 99%", goal="cpu", data="rows.csv", rows=100, threads=1, machine=machine, baseline="onnx",
        metrics={"accuracy": Figure(value=0.98)}, results=results,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("goal", "found", "expected"),
    [
        ("cpu", timed(1.2, 0.5), True),
        ("cpu", timed(1.005, 1.005), False),
        ("cpu", timed(1.02, 1.02), False),
        ("latency", timed(0.9, 3.0), False),
        ("throughput", timed(0.9, 3.0), True),
        ("size", timed(5.0, 5.0, 1000), False),
        ("size", timed(0.5, 0.5, 999), True),
        ("edge", timed(0.5, 0.5, 999), True),
        ("edge", timed(1.5, 0.5, 2000), True),
    ],
)
def test_what_is_worth_keeping(goal: str, found: Timed, *, expected: bool) -> None:
    assert worthwhile(found, goal, 1000) is expected


def test_what_beats_what() -> None:
    quick, small, both = (
        Tried(result=result(name, "beaten", each)) for name, each in (("a", timed(3, 3)), ("b", timed(2, 2, 10)), ("c", timed(4, 4, 5)))
    )
    assert not _dominates(quick, small)
    assert _dominates(both, quick)
    assert _dominates(both, small)
    assert not _dominates(both, both)


def test_surely_means_beyond_the_interval() -> None:
    base = timed(1, 1)
    assert not _surely("latency", timed(1.1, 9, spread=0.2), base)
    assert _surely("throughput", timed(1.1, 9, spread=0.2), base)
    assert _surely("size", timed(0.1, 0.1, 1), base)


@pytest.mark.parametrize(
    ("goal", "found", "outcome"),
    [
        ("edge", timed(0.8, 0.8, 500), "beaten"),
        ("mobile", timed(0.8, 0.8, 2000), "slower"),
        ("size", timed(0.8, 0.8, 500), "beaten"),
        ("latency", timed(0.8, 3.0), "slower"),
        ("throughput", timed(0.8, 3.0), "beaten"),
    ],
)
def test_the_last_comparison_calls_slower_what_is_worth_nothing_for_this_goal(goal: str, found: Timed, outcome: Outcome) -> None:
    said = _final(result("x", "beaten", timed(2, 2, 10)), {"x": found}, {}, {}, goal, 1000)
    assert (said.outcome, said.timed) == (outcome, found)
    assert bool(said.why) == (outcome == "slower")


def test_the_front() -> None:
    results = [
        result("slow", "slower", timed(1, 1)),
        result("quick", "kept", timed(2, 2), 0.005),
        result("worse", "beaten", timed(1.5, 1.5), 0.006),
    ]
    assert on_front(results) == {"slow", "quick"}


def test_the_summary_tells_what_was_kept_and_what_became_of_the_rest() -> None:
    said = summarised(
        report(
            result("quick", "kept", timed(2, 3)), result("a", "refused", None), result("b", "refused", None), result("c", "untried", None)
        )
    )
    assert said[0] == "kept 'quick': 2.00 times as fast at 1 row, 3.00 times as fast at 64 rows; accuracy 0.98"
    assert "2 do not apply" in said[1]
    assert "give it more --time" in said[2]
    assert "nothing is kept" in summarised(report(result("a", "slower", timed(0.5, 0.5))))[0]


def test_names_are_escaped_on_the_page() -> None:
    found = report(result("<script>", "kept", timed(2, 2)), result("b", "slower", timed(1, 1), why="<b>"))
    for text in (optimization_page(found), pareto_svg(found)):
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_the_chart_of_a_terminal_shows_the_front_in_capitals() -> None:
    lines = pareto_lines(
        report(
            result("base", "own", timed(1, 1)), result("quick", "kept", timed(2, 2), 0.01), result("bad", "beaten", timed(0.9, 0.9), 0.01)
        )
    )
    assert any(line.startswith("A base") for line in lines)
    assert any(line.startswith("B quick") for line in lines)
    assert any(line.startswith("c bad") for line in lines)
    assert pareto_lines(report(result("base", "own", timed(1, 1)))) == []


def test_words_for_what_is_not_faster() -> None:
    assert slower_words(timed(0.5, 0.25), "cpu") == "not faster than the baseline: 0.50 times at 1 row, 0.25 times at 64 rows"


def test_goals() -> None:
    assert check_goal("edge") == "edge"
    with pytest.raises(InvalidInput, match="--for 'speed'"):
        check_goal("speed")


def test_a_gain_is_no_loss_on_the_chart() -> None:
    """An error that shrinks, or labels that are right more often, would otherwise stand below what is only as good."""
    better = result("better", "kept", timed(1, 1), -0.01)
    assert lost_of(better) == 0
    error = Judged(condition="rmse <= 101%", metric="rmse", passed=True, source=2.0, found=Figure(value=1.5), limit=2.02, side="most")
    assert lost_of(msgspec.structs.replace(better, unseen=(error,))) == 0
    assert lost_of(msgspec.structs.replace(better, unseen=(msgspec.structs.replace(error, found=Figure(value=2.25)),))) == 0.25
    assert on_front([better, result("as it was", "own", timed(0.9, 0.9))]) == {"better"}


def test_few_rows_are_told_of() -> None:
    kept = report(result("quick", "kept", timed(2, 2)))
    assert not any("weak" in line for line in summarised(kept))
    for rows, said in ((1, "1 row judged"), (99, "99 rows judged")):
        assert any(line.startswith(f"the proof is weak: {said}") for line in summarised(msgspec.structs.replace(kept, rows=rows)))

"""What `make bench-optimize` promises is held against what the engine takes, and "never slower" against the whole interval."""

from bench.optimize.results import Bar, Line, judged

from aweigh.engine.variants import Purpose
from aweigh.optimization.timing import Speed


def speed(rows: int, times: float, spread: float = 0.02) -> Speed:
    return Speed(
        rows=rows, p50_us=1, p99_us=1, rows_per_s=1, cpu_s_per_1000=0.1, times=times, low=times - spread, high=times + spread
    )  # fmt: skip


def line(purposes: tuple[Purpose, ...], single: float, many: float, *, within: bool = True, own: bool = False) -> Line:
    return Line(who="aweigh", what="", purposes=purposes, own=own, within=within, speeds=(speed(1, single), speed(16, many)))


def bar(rows: int, least: float) -> Bar:
    return Bar(what="", who="aweigh", rows=rows, least=least)


def test_the_form_that_the_engine_takes_for_these_rows_counts() -> None:
    lines = [line(("online",), 0.8, 5.0), line(("batch",), 4.0, 3.0), line((), 9.0, 9.0)]
    single, many = judged([bar(1, 2.0), bar(16, 2.0)], lines)
    assert (single.measured, single.met) == (0.8, False)
    assert (many.measured, many.met) == (3.0, True)


def test_never_slower_is_met_by_the_whole_interval_or_the_baseline_itself() -> None:
    one, other = judged([bar(1, 1.0), bar(16, 1.0)], [line(("online", "batch"), 1.01, 1.03)])
    assert not one.met
    assert other.met
    assert judged([bar(1, 1.0)], [line(("online",), 0.99, 1.0, own=True)])[0].met
    assert judged([bar(1, 1.5)], [line(("online",), 1.51, 1.0)])[0].met


def test_what_misses_the_budget_reaches_nothing() -> None:
    (found,) = judged([bar(1, 1.5)], [line(("online",), 4.0, 4.0, within=False)])
    assert not found.met
    assert not found.measured

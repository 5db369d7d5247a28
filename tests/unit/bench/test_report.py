from bench import report
from bench.loads.load import Sample
from bench.rounds import Line, Table, line
from bench.startup import Budget


def samples(*speeds: float) -> list[Sample]:
    return [Sample(requests=int(speed), seconds=1.0, p50_ms=1.0, p99_ms=2.0, cpu_s=0.5) for speed in speeds]


def made(server: str, *speeds: float) -> Line:
    return line(server, samples(*speeds), samples(100, 200, 400), None, 50.0)


def test_ratios_are_pairwise_by_round() -> None:
    found = made("aweigh", 150, 200, 200)
    assert found.ratios == (1.5, 1.0, 0.5)
    assert found.ratio == 1.0
    assert (found.slowest, found.per_second, found.fastest) == (150, 200, 200)
    assert found.cpu_ms_per_thousand == 2500.0


def test_targets_are_judged_by_the_median_ratio() -> None:
    tables = [
        Table(load="rest", title="REST", lines=(made("bare-loop", 100, 200, 400), made("aweigh", 99, 198, 800)), targets={"aweigh": 1.0}),
        Table(load="grpc", title="gRPC", lines=(made("aweigh", 81, 162, 1),), targets={"aweigh": 0.8}),
    ]
    (missed,) = report.missed(tables, [Budget(name="quick", value=1.0, unit="s", limit=2.0)])
    assert "rest: aweigh at 0.99" in missed
    assert "MISSED" in report.table_text(tables[0])
    assert "met" in report.table_text(tables[1])


def test_budgets() -> None:
    late = Budget(name="ready", value=1.5, unit="s", limit=1.0)
    assert report.missed([], [late, Budget(name="only for comparison", value=9.0, unit="s")]) == ["ready: 1.5 s, 1 is the budget"]
    assert "MISSED" in report.budgets_text([late])

"""What the evidence of a published variant says."""

import pytest

from aweigh.app.optimize_publish import _with_times
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.package import Variant
from aweigh.optimization.timing import Speed, Timed


def speed(rows: int, p50_us: float, border_us: float) -> Speed:
    return Speed(rows=rows, p50_us=p50_us, p99_us=2 * p50_us, rows_per_s=rows / p50_us * 1e6, cpu_s_per_1000=0.1, border_us=border_us)


def test_times_are_those_that_were_decided_by_and_the_border_is_crossed_once_a_call() -> None:
    machine = Machine(system="", architecture="", processor="", cores=1)
    evidence = Evidence(
        strength=Strength.FULL, data="", checks=(), passed=True, made_at="", machine=machine, figures={"latency_us_b64": 1.0}
    )
    variant = Variant(name="openvino", runtime="openvino", precision="fp32", evidence=evidence)
    timed = Timed(speeds=(speed(1, 140, 120), speed(250, 1120, 120)), load_ms=1, memory_bytes=2, size_bytes=3)
    found = _with_times(variant, timed).evidence
    assert found is not None
    figures = found.figures
    assert "latency_us_b64" not in figures
    assert (figures["latency_us_b1"], figures["latency_us_b250"], figures["latency_us_b1000"]) == pytest.approx((140, 1120, 4120))
    assert (figures["latency_p99_us_b1"], figures["rows_per_s"]) == pytest.approx((280, 250 / 1120 * 1e6))

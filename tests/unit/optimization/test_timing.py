"""Turns: the ratio of two contestants, whatever else the machine does to both."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.isolate import Caps
from aweigh.optimization.roofline import _product_model
from aweigh.optimization.timing import Contestant, Speed, Timed, _in_turns, merged
from aweigh.optimization.timing_process import _peak_bytes


class Clock:
    """A machine that is now quick, now slow, for whoever runs; each contestant's calls take so many microseconds on it."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(4)
        self.slowness = 1.0

    def contestant(self, call_us: float):  # type: ignore[no-untyped-def]  # a function of calls
        def run(calls: int) -> tuple[float, np.ndarray]:  # type: ignore[type-arg]
            self.slowness = max(0.5, min(8.0, self.slowness * float(self.random.lognormal(0, 0.1))))
            times = call_us / 1e6 * self.slowness * self.random.lognormal(0, 0.05, calls)
            return float(times.sum()), times

        return run


def test_a_ratio_on_a_machine_that_changes() -> None:
    clock = Clock()
    base, quick, same = _in_turns([clock.contestant(300), clock.contestant(100), clock.contestant(300)], 8, 0.0, [0.0] * 3)
    assert quick.times == pytest.approx(3, rel=0.25)
    assert quick.low > 1.5
    assert same.low <= 1.15
    assert same.high >= 0.87
    assert (base.times, base.low, base.high, base.rows) == (1, 1, 1, 8)


def test_figures_of_calls() -> None:
    def steady(calls: int) -> tuple[float, np.ndarray]:  # type: ignore[type-arg]
        return calls * 0.002, np.full(calls, 0.001)

    speed = _in_turns([steady], 10, 0.0, [0.0])[0]
    assert (speed.p50_us, speed.p99_us) == pytest.approx((1000, 1000))
    assert speed.rows_per_s == pytest.approx(10_000)
    assert speed.cpu_s_per_1000 == pytest.approx(0.2)


def test_the_way_to_a_process_counts_in_all_that_is_decided_and_told() -> None:
    """Twice as fast inside, and slower as it is served: a form that needs no process is the quickest."""

    def contestant(call_us: float):  # type: ignore[no-untyped-def]  # a function of calls
        return lambda calls: (calls * call_us / 1e6, np.full(calls, call_us / 1e6))

    base, apart, here = _in_turns([contestant(40), contestant(20), contestant(27)], 1, 0.0, [0.0, 120e-6, 0.0])
    assert (apart.p50_us, apart.border_us) == pytest.approx((140, 120))
    assert (apart.times, apart.high) == pytest.approx((40 / 140, 40 / 140))
    assert apart.rows_per_s == pytest.approx(1e6 / 140)
    assert not apart.better
    assert here.better
    assert base.border_us == here.border_us == 0


def test_rows_and_answers_cross_the_border_where_a_library_is_in_an_environment(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_product_model())
    names = ("a", "b", "c")
    first, second, product = (TensorSpec(name=name, datatype=Datatype.FP32, shape=(768, 768)) for name in names)
    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("m.onnx",))
    contestant = Contestant(
        variant,
        Signature(inputs=(first, second), outputs=(product,)),
        {"m.onnx": tmp_path / "m.onnx"},
        caps=Caps(timeout_s=60),
        environments=None,
    )
    rows = {name: np.ones((768, 768), dtype=np.float32) for name in names[:2]}
    try:
        contestant.keep("rows", rows)
        assert contestant.border_s("rows", rows) == 0
        contestant._apart = True
        border_s = contestant.border_s("rows", rows)
        said, answers = contestant._worker.request({"do": "cross", "rows": "rows"}, rows)
        assert contestant.run("rows", 2)[1].shape == (2,)
    finally:
        contestant.close()
    assert 100e-6 < border_s < 1, "7 MB are copied on the way"
    assert said == {}
    assert [(output.shape, output[0, 0]) for output in answers.values()] == [((768, 768), 768)]


def test_several_processes_of_one_variant_are_as_sure_as_all_of_them() -> None:
    """One of three happened to be quick: surely faster is what was so in each."""

    def timed(times: float, load_ms: float) -> Timed:
        speed = Speed(
            rows=1, p50_us=100 / times, p99_us=200, rows_per_s=1e4, cpu_s_per_1000=0.1, times=times, low=times - 0.01, high=times + 0.01
        )
        return Timed(speeds=(speed,), load_ms=load_ms, memory_bytes=int(load_ms), size_bytes=10)

    found = merged([timed(1.2, 3), timed(0.96, 1), timed(1.05, 2)])
    assert (found.speeds[0].times, found.speeds[0].low, found.speeds[0].high) == pytest.approx((1.05, 0.95, 1.21))
    assert not found.speeds[0].better
    assert (found.load_ms, found.memory_bytes, found.size_bytes) == (2, 3, 10)


_PEAK = "from aweigh.optimization.timing_process import _peak_bytes as peak; a = peak(); b = bytearray({more}); print(a, peak() - a)"


def test_the_memory_of_a_process_is_its_own_however_large_its_starter_was() -> None:
    more = 150 * 2**20
    large = np.ones(500 * 2**17)
    done = subprocess.run([sys.executable, "-c", _PEAK.format(more=more)], capture_output=True, text=True, check=True, timeout=60)
    peak, grown = map(int, done.stdout.split())
    assert peak < large.nbytes
    assert grown == pytest.approx(more, rel=0.2)


def test_where_the_system_keeps_no_such_account_its_other_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmRSS:\t4 kB\n")
    unit = 1 if sys.platform == "darwin" else 1024
    for status in (tmp_path / "status", tmp_path / "absent"):
        assert _peak_bytes(status) == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

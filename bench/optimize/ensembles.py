"""Trees, as `trees.py` measures them in a process of its own, beside the own call of each library: what it found as a document of the page."""

import datetime as dt
import json
import subprocess
import sys
import time
from typing import Any, Final

from aweigh.optimization.timing import Speed
from bench.environments import ROOT
from bench.optimize.results import BASE, Bar, Document, Line
from bench.processes import BenchError

LIMIT_S: Final = 600.0


def measure() -> Document:
    """Raises BenchError with what the process said."""
    began = time.monotonic()
    command = [sys.executable, "-m", "bench.optimize.trees", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if not done.stdout.startswith("{"):
        raise BenchError(f"trees: {done.stderr.strip()[-400:]}")
    found = json.loads(done.stdout)
    lines = found["lines"]
    return Document(
        scenario="trees",
        title="Trees: against the fastest call of each library itself",
        budget="the same answers",
        data="digits, 30% held out; single rows and batches of 1,000",
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        machine={name: value for name, value in found.items() if name not in {"lines", "versions"}},
        versions=found["versions"],
        lines=(Line(who=BASE, what="each library's own call", speeds=_base(lines)), *(_line(each) for each in lines)),
        bars=tuple(_bar(each) for each in lines if each["bar"]),
        told=tuple(_told(each) for each in lines),
    )


def _told(each: Any) -> str:
    times = ", ".join(f"`{name}` {taken:,.0f} us" for name, taken in each["variants_us"].items())
    return (
        f"{each['library']}, {each['purpose']}: the library's own call {each['native_us']:,.0f} us; {times}; `{each['variant']}` is chosen"
    )


def _base(lines: list[Any]) -> tuple[Speed, ...]:
    return tuple(_speed(rows, 0.0, (1.0, 1.0, 1.0)) for rows in dict.fromkeys(each["rows"] for each in lines))


def _line(each: Any) -> Line:
    return Line(
        who=f"aweigh, {each['library']}",
        what=f"`{each['variant']}`, for {'single rows' if each['rows'] == 1 else 'batches'}",
        figures={"agreement": each["agreement"]},
        speeds=(_speed(each["rows"], each["aweigh_us"], (each["ratio"], each["low"], each["high"])),),
    )


def _speed(rows: int, p50_us: float, ratio: tuple[float, float, float]) -> Speed:
    times, low, high = ratio
    return Speed(
        rows=rows, p50_us=p50_us, p99_us=p50_us, rows_per_s=rows / p50_us * 1e6 if p50_us else 0.0, cpu_s_per_1000=0.0, times=times, low=low, high=high
    )  # fmt: skip


def _bar(each: Any) -> Bar:
    return Bar(
        what=f"{each['library']}, {'single rows' if each['rows'] == 1 else 'batches of 1,000'}",
        who=f"aweigh, {each['library']}", rows=each["rows"], least=each["bar"], measured=each["ratio"], low=each["low"], high=each["high"],
        met=each["ratio"] >= each["bar"],
    )  # fmt: skip

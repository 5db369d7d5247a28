"""Plots of whatever a test may have found: well-formed, and never an error of their own."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from aweigh.app.bench import check_plot
from aweigh.bench.drawings import drawing, summary
from aweigh.bench.histogram import Histogram
from aweigh.bench.pictures import Picture, write_html, write_svg
from aweigh.bench.plan import TIMELINE_PARTS, Load
from aweigh.bench.png import write_png
from aweigh.bench.recorder import Tally
from aweigh.bench.result import Measurement, measured
from aweigh.core.errors import FileMissing, MissingLibrary, Unsupported


def run(values: list[float], load: Load, *, errors: int = 0) -> Measurement:
    made, empty = Histogram(), Histogram()
    made.add(np.array(values))
    parts = [made.pack() if at in {0, 7} else empty.pack() for at in range(TIMELINE_PARTS)]
    tally = Tally(
        latency=made.pack(), service=made.pack(), lateness=empty.pack(), timeline=parts, timeline_errors=[errors] + [0] * (TIMELINE_PARTS - 1), timeline_timeouts=[0] * TIMELINE_PARTS,
        scheduled=len(values) + errors, answered_in_time=len(values), queued=0, outstanding=0, errors={"timeout": errors} if errors else {},
        details={}, slowest=[], bytes_out=0, bytes_in=0, cpu_s=0.0, reconnects=0, peak_connections=1, begin=0.0, end=load.duration_s,
    )  # fmt: skip
    return measured(load, [tally], corrected=False, server_cpu=None)


OPEN, CLOSED = Load(rate=100.0), Load(concurrency=4)
RUNS = {
    "nothing answered": [run([], OPEN, errors=3)],
    "one answer": [run([0.005], OPEN)],
    "all the same": [run([0.005] * 100, CLOSED)],
    "very far apart": [run([1e-6, 1e-3, 3000.0], OPEN, errors=2)],
    "a sweep": [run([0.001, 0.002], CLOSED), run([0.002, 0.004], OPEN), run([], OPEN, errors=1)],
}


@pytest.mark.parametrize("name", RUNS)
def test_every_form(name: str, tmp_path: Path) -> None:
    picture = Picture(title="<iris> & co", subtitle="http://h/?a=1&b=2", runs=RUNS[name], lines=["a < b"])
    write_svg(tmp_path / "a.svg", picture)
    write_html(tmp_path / "a.html", picture)
    drawn = ET.parse(tmp_path / "a.svg").getroot()
    numbers = [float(value) for element in drawn.iter() for key, value in element.items() if key in {"x", "y", "cx", "cy", "x1", "y1"}]
    assert all(math.isfinite(number) and -100 < number < 3000 for number in numbers)
    assert "a &lt; b" in (tmp_path / "a.html").read_text()
    for measurement in RUNS[name]:
        assert bool(drawing(measurement)) is bool(measurement.latency.count)
    assert len(summary(RUNS[name])) == len(RUNS[name])


@pytest.mark.parametrize("name", ["nothing answered", "a sweep"])
def test_png(name: str, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Picture(title="t", subtitle="s", runs=RUNS[name]))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_written_is_told_before_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="is not a format") as caught:
        check_plot(tmp_path / "a.gif")
    assert caught.value.hint == "use one of .svg, .html, .png"
    with pytest.raises(FileMissing, match="no folder"):
        check_plot(tmp_path / "nowhere" / "a.svg")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match="needs matplotlib") as missing:
        check_plot(tmp_path / "a.png")
    assert missing.value.hint == "pip install 'aweigh[plot]'"

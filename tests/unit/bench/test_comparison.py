"""The report of a comparison with peers: ratios, bars, the page, the picture, what a server that was not measured looks like."""

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from bench import comparison, document, page, plot
from bench.bars import judged
from bench.document import Cell, Document, Sample, Server
from bench.side_by_side import Matrix, reason

AT = "2026-11-21T12:00:00+00:00"


def cell(server: str, *speeds: int, door: str = "rest", concurrency: int = 32) -> Cell:
    samples = tuple(Sample(requests=speed, seconds=1.0, cpu_s=0.5, p50_ms=1.0, p99_ms=2.0) for speed in speeds)
    return Cell(server=server, door=door, concurrency=concurrency, samples=samples, memory_mb=50.0)


def silent(server: str, why: str, door: str = "rest") -> Cell:
    return Cell(server=server, door=door, concurrency=32, silence=why)


def made(*cells: Cell, scenario: str = "iris") -> Document:
    settings = ({"name": "workers", "url": "https://docs.example/page", "quote": "use more"},)
    servers = {
        each.server: Server(
            about="a server", versions={"peer": "1.0"}, settings=settings, cores=2 if each.server.endswith("-2-cores") else 1
        )
        for each in cells
        if each.door != "session"
    }
    machine = {"processor": "any", "versions": {"aweigh": "0.1.0"}, "bias": ["closed loop"]}
    return Document(
        scenario=scenario,
        title="a model",
        form="json",
        whole=True,
        at=AT,
        rounds=3,
        seconds=1,
        machine=machine,
        servers=servers,
        cells=cells,
    )


def test_ratios_are_taken_round_by_round() -> None:
    document = made(cell("aweigh", 3000, 2000, 400), cell("fastapi", 100, 200, 400))
    found = comparison.times(document, document.cells[1])
    assert found == [30.0, 10.0, 1.0]


def test_nothing_is_held_against_itself_or_against_what_was_not_measured() -> None:
    document = made(cell("aweigh", 100), silent("ray", "could not be started: why"), cell("fastapi", 10, concurrency=8))
    assert [comparison.times(document, each) for each in document.cells] == [[], [], []]


def test_two_cores_are_held_against_two_cores() -> None:
    document = made(cell("aweigh", 100), cell("aweigh-2-cores", 200), cell("fastapi-2-cores", 50))
    assert comparison.times(document, document.cells[2]) == [4.0]


def test_bars_are_judged_by_the_median_ratio() -> None:
    verdicts = {
        (v.bar.over, v.bar.server, v.bar.door): v
        for v in judged([made(cell("aweigh", 2600, 900, 2700), cell("fastapi", 100, 100, 270), cell("mlserver", 100, 100, 100))])
    }
    fastapi, mlserver = verdicts["fastapi", "aweigh", "rest"], verdicts["mlserver", "aweigh", "rest"]
    assert (fastapi.ratio, fastapi.lowest, fastapi.highest, fastapi.word) == (10.0, 9.0, 26.0, "met")
    assert mlserver.met
    assert verdicts["litserve", "aweigh", "rest"].word == "not measured"
    assert not verdicts["litserve", "aweigh", "rest"].met


def test_a_bar_just_missed_is_missed() -> None:
    (fastapi,) = [v for v in judged([made(cell("aweigh", 999), cell("fastapi", 100))]) if v.bar.over == "fastapi"]
    assert fastapi.word == "MISSED"
    assert "MISSED" in comparison.bars_text([made(cell("aweigh", 999), cell("fastapi", 100))])


def test_bars_hold_for_their_scenario_alone() -> None:
    text = made(cell("aweigh", 1), cell("fastapi", 1), scenario="text")
    assert judged([text]) == []
    assert comparison.bars_text([text]) == ""


def test_the_table_has_the_quickest_first_and_leaves_no_server_out() -> None:
    document = made(silent("ray", "could not be started: no room\nmore"), cell("fastapi", 10), cell("aweigh", 100))
    text = comparison.text(document)
    assert text.index("aweigh  ") < text.index("fastapi  ") < text.index("ray  ")
    assert "could not be started: no room" in text
    assert "more" not in text
    assert "REST JSON, 32 in flight" in text


def test_the_page_holds_every_figure_reason_setting_and_the_machine() -> None:
    document = made(
        cell("session", 9000, door="session", concurrency=1),
        cell("aweigh", 1000),
        cell("fastapi", 100),
        silent("litserve", "LitServe speaks no gRPC", door="grpc"),
    )
    text = page.text([document])
    for part in ("1,000", "9,000", "10.0 (10.0 to 10.0)", "LitServe speaks no gRPC", "use more", "docs.example", "closed loop", "peer 1.0"):
        assert part in text
    assert "| 32 | `fastapi` | 100 |" in text


def test_the_picture_is_xml_with_a_bar_for_each_figure() -> None:
    document = made(cell("aweigh", 1000), cell("bare-loop", 400), silent("ray", "x"), cell("grpcio", 7, door="grpc"))
    root = ET.fromstring(plot.picture([document], 32))  # made here
    bars = [each for each in root.iter() if each.tag.endswith("rect")][1:]
    assert len(bars) == 3
    assert all(float(bar.attrib["width"]) > 0 for bar in bars)


def test_documents_come_back_as_they_were_written_and_the_newest_counts(tmp_path: Path) -> None:
    old, new = made(cell("aweigh", 1)), made(cell("aweigh", 2), silent("ray", "why"))
    document.write(old, tmp_path)
    document.write(msgspec.structs.replace(new, at="2026-11-22T12:00:00+00:00"), tmp_path)
    document.write(msgspec.structs.replace(old, at="2026-11-23T12:00:00+00:00", whole=False), tmp_path)
    (found,) = document.newest(tmp_path, ["text", "iris"])
    assert found.cells == new.cells
    assert found.cells[0].per_second == 2.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ray ended with status 1: python\n  Traceback\n  ValueError: no room\n  by", "ValueError: no room"),
        ("one line", "one line"),
        ("ended with status 1\n  something", "ended with status 1"),
        ("ended: /usr/bin/aweigh serve", "ended: aweigh serve"),
        ("", "no reason given"),
    ],
)
def test_a_failure_is_told_in_one_line(text: str, wanted: str) -> None:
    assert reason(text) == wanted


def test_the_matrix_measures_two_cores_at_their_own_concurrency() -> None:
    matrix = Matrix(plan=None, concurrency=(1, 32))  # type: ignore[arg-type]  # not measured here
    (one, all_of_them, _), (two, its_own, cores) = matrix.groups()
    assert (all_of_them, its_own, cores) == ((1, 32), (32,), 2)
    assert {"aweigh", "grpcio"} <= {peer.name for peer in one}
    assert all(peer.name.endswith("-2-cores") for peer in two)
    assert not matrix.whole
    assert Matrix(plan=None).whole  # type: ignore[arg-type]
    assert [len(peers) for peers, _, _ in Matrix(plan=None, only=("ray",)).groups()] == [1]  # type: ignore[arg-type]

"""What is published of a search: the evidence of a variant, and a version beside those that others publish meanwhile."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.stores.drafts import small_draft

from aweigh.app.optimize_publish import _with_times, newest_version, publish
from aweigh.app.packages import open_store
from aweigh.core.errors import Conflict
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.names import model_name, parse_reference
from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.earlier import Settled
from aweigh.optimization.report import Optimization, Result
from aweigh.optimization.search import Found
from aweigh.optimization.timing import Speed, Timed
from aweigh.store import StoredPackage

MACHINE = Machine(system="", architecture="", processor="", cores=1)
NAME = model_name("fraud")


def speed(rows: int, p50_us: float, border_us: float) -> Speed:
    return Speed(rows=rows, p50_us=p50_us, p99_us=2 * p50_us, rows_per_s=rows / p50_us * 1e6, cpu_s_per_1000=0.1, border_us=border_us)


def proven(**figures: float) -> Evidence:
    return Evidence(strength=Strength.FULL, data="", checks=(), passed=True, made_at="", machine=MACHINE, figures=figures)


TIMED = Timed(speeds=(speed(1, 140, 120), speed(250, 1120, 120)), load_ms=1, memory_bytes=2, size_bytes=3)


def test_times_are_those_that_were_decided_by_and_the_border_is_crossed_once_a_call() -> None:
    variant = Variant(name="openvino", runtime="openvino", precision="fp32", evidence=proven(latency_us_b64=1.0))
    found = _with_times(variant, TIMED).evidence
    assert found is not None
    figures = found.figures
    assert "latency_us_b64" not in figures
    assert (figures["latency_us_b1"], figures["latency_us_b250"], figures["latency_us_b1000"]) == pytest.approx((140, 1120, 4120))
    assert (figures["latency_p99_us_b1"], figures["rows_per_s"]) == pytest.approx((280, 250 / 1120 * 1e6))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path / "home"))


def packed(settings: Settings, weights: bytes = b"weights", **changes: Any) -> StoredPackage:
    return open_store(settings).publish(NAME, small_draft(weights, **changes))


def searched(settings: Settings, handle: StoredPackage, name: str, *, newest: int, goes: tuple[str, ...] = ()) -> Optimization:
    """A search that began with `handle`, kept a variant of that name and lets others go, is published."""
    own = handle.manifest.variants[0]
    place = settings.home_folder / f"{name}.onnx"
    place.write_bytes(name.encode())
    file = f"variants/{name}/model.onnx"
    kept = Variant(name=name, runtime="onnxruntime", precision="int8", files=(file,), evidence=proven())
    timed = {own.name: TIMED, name: TIMED}
    results = tuple(Result(name=each, passes=(), base=own.name, outcome="own", timed=found) for each, found in timed.items())
    gone = tuple(Result(name=each, passes=(each,), base=own.name, outcome="beaten", why="it is beaten") for each in goes)
    found = Found(
        results=results,
        kept=(Candidate(variant=kept, files={file: place}, base=own.name, chain=(name,)),),
        own=((Candidate(variant=own, files={}, base=own.name), TIMED),),
        earlier=Settled(goes=gone),
    )
    report = Optimization(
        model=str(handle.reference), digest=handle.digest, keep="exact", goal="cpu", data="", rows=1, threads=1, machine=MACHINE, baseline=own.name, metrics={},
        results=results, summary=(f"kept '{name}'",),
    )  # fmt: skip
    return publish(settings, handle, report, SimpleNamespace(), found, newest=newest)  # type: ignore[arg-type]  # a search is asked nothing of variants that keep their answers


def names(settings: Settings, reference: str = "fraud") -> list[str]:
    return [variant.name for variant in open_store(settings).open(parse_reference(reference)).manifest.variants]


def test_of_two_searches_at_once_the_last_to_publish_drops_nothing(settings: Settings) -> None:
    handle = packed(settings)
    before = [variant.name for variant in handle.manifest.variants]
    first, second = (searched(settings, handle, name, newest=1) for name in ("quick", "small"))
    assert (first.published, second.published) == ("fraud:2", "fraud:3")
    assert names(settings, "fraud:2") == [*before, "quick"]
    assert names(settings, "fraud:3") == [*before, "quick", "small"]
    assert first.summary == ("kept 'quick'",)
    assert second.summary[1:] == ("fraud:2 was published while this search ran: what it has is in the new version too",)
    package = open_store(settings).open(parse_reference("fraud"))
    assert package.path("variants/quick/model.onnx").read_bytes() == b"quick"
    made = {variant.name: (variant.base, variant.passes) for variant in package.manifest.variants}
    assert made == {**dict.fromkeys(before, ("", ())), "quick": (before[0], ("quick",)), "small": (before[0], ("small",))}
    assert b"was published while" in package.path("optimization.json").read_bytes()


def test_what_goes_is_what_the_search_looked_at(settings: Settings) -> None:
    """Another search made a form of that name anew meanwhile: nothing is known against this one."""
    handle = open_store(settings).open(parse_reference(searched(settings, packed(settings), "old", newest=1).published))
    third = searched(settings, handle, "new", newest=2, goes=("old",))
    assert "old" not in names(settings, third.published)
    other = searched(settings, handle, "other", newest=2)
    assert other.published == "fraud:4"
    assert "old" not in names(settings), "a search that ran beside this one let it go"
    again = searched(settings, handle, "last", newest=3, goes=("other",))
    assert again.published == "fraud:5"
    assert {"new", "other", "last"} <= set(names(settings))


@pytest.mark.parametrize("changes", [{"weights": b"others"}, {"description": "packed anew"}])
def test_above_a_model_that_was_packed_anew_nothing_is_published(settings: Settings, changes: dict[str, Any]) -> None:
    handle = packed(settings)
    packed(settings, **changes)
    found = searched(settings, handle, "quick", newest=1, goes=("sklearn",))
    assert found.published == ""
    assert [each.version for each in open_store(settings).list()] == [1, 2]
    assert "'sklearn', which an earlier search kept, would not be in a new version" in found.summary[1]
    assert found.summary[2].startswith("nothing is published: fraud:2, which came while this search ran, was packed anew")
    assert "'aweigh optimize fraud:1'" in found.summary[2]
    assert searched(settings, handle, "quick", newest=newest_version(settings, "fraud:1", handle)).published == "fraud:3"


def test_what_is_the_newest_as_a_search_begins(settings: Settings) -> None:
    handle = packed(settings)
    packed(settings)
    assert newest_version(settings, "fraud", handle) == 1, "fraud:2 came after it was opened"
    assert newest_version(settings, "fraud:1", handle) == 2


def test_a_store_that_is_never_left_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = packed(settings)
    store = open_store(settings)
    last = iter(range(2, 100))

    def busy(*_: object, **__: object) -> StoredPackage:
        raise Conflict("another came")

    opened = SimpleNamespace(publish=busy, open=lambda _: _later(handle, next(last)))
    monkeypatch.setattr("aweigh.app.optimize_publish.open_store", lambda _: opened)
    with pytest.raises(Conflict, match="as fast as this search"):
        searched(settings, handle, "quick", newest=1)
    assert len(store.list()) == 1


def _later(handle: StoredPackage, version: int) -> SimpleNamespace:
    return SimpleNamespace(reference=dataclasses.replace(handle.reference, version=version), manifest=handle.manifest, path=handle.path)

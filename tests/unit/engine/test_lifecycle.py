"""Loading: which variant, where it runs, and that a model which answers wrongly never gets to answer."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aweigh.core import plugins
from aweigh.core.errors import GoldenMismatch, InvalidFile, MissingLibrary, NotFound, ProofFailed, Unsupported
from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.machine import machine
from aweigh.core.package import FORMAT_VERSION, GoldenCase, PackageManifest, Provenance, Variant
from aweigh.core.plugins import Plugin
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine import lifecycle
from aweigh.engine.lifecycle import load_model
from aweigh.engine.placement import Cost, choose_executor
from aweigh.engine.variants import choose_variant, environment_to_make
from aweigh.isolate import Environments
from aweigh.testing import FakeHandle, FakeSession

FP32 = Datatype.FP32
SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=FP32, shape=(BATCH, 2)),), outputs=(TensorSpec(name="Y", datatype=FP32, shape=(BATCH, 2)),)
)
SETTINGS = Settings()


def evidence(*, passed: bool, where: Machine | None = None, **figures: float) -> Evidence:
    return Evidence(
        passed=passed,
        strength=Strength.FULL,
        data="test",
        made_at="2026-01-01T00:00:00Z",
        machine=where or Machine(system="Linux", architecture="x", processor="p", cores=1),
        checks=(Check(name="golden", passed=passed),),
        figures=figures,
    )


def variant(name: str, *, proven: bool | None = True, runtime: str = "null") -> Variant:
    return Variant(name=name, runtime=runtime, precision="fp32", evidence=None if proven is None else evidence(passed=proven))


def manifest(*variants: Variant, golden: tuple[GoldenCase, ...] = ()) -> PackageManifest:
    return PackageManifest(
        format_version=FORMAT_VERSION, signature=SIGNATURE, variants=variants, golden=golden, provenance=Provenance(framework="test")
    )


def handle(folder: Path, answers: np.ndarray, *variants: Variant) -> FakeHandle:
    """A package whose golden set says `answers` to two rows."""
    inputs = np.array([[1, 2], [3, 4]], dtype=np.float32)
    cases, files = golden_files(SIGNATURE, [GoldenAnswers(name="sample", why="", inputs={"X": inputs}, outputs=[answers])])
    (folder / "golden").mkdir()
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return FakeHandle(manifest(*(variants or (variant("null"),)), golden=cases), folder)


def test_the_first_proven_variant_is_chosen_or_the_named_one() -> None:
    made = manifest(variant("a", proven=None), variant("b", proven=False), variant("c"), variant("d"))
    assert choose_variant(made).name == "c"
    assert choose_variant(made, "d").name == "d"
    with pytest.raises(NotFound) as caught:
        choose_variant(made, "e")
    assert "a, b, c, d" in caught.value.hint
    with pytest.raises(ProofFailed):
        choose_variant(manifest(variant("a", proven=None), variant("b", proven=False)))


def test_what_needs_a_library_that_is_not_there_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Plugin(kind="runtime", name="null", target="a:b"),
        Plugin(kind="runtime", name="native", target="a:b", libraries=("no_such_library",), extra="xgboost"),
    )
    plugins._table.cache_clear()
    monkeypatch.setattr(plugins, "_BUILT_IN", rows)
    try:
        quick = Variant(name="quick", runtime="native", precision="fp32", evidence=evidence(passed=True, latency_us_b1=1.0))
        slow = Variant(name="slow", runtime="null", precision="fp32", evidence=evidence(passed=True, latency_us_b1=9.0))
        assert choose_variant(manifest(quick, slow)).name == "slow"
        assert choose_variant(manifest(quick, slow), "quick").name == "quick"
        with pytest.raises(MissingLibrary) as caught:
            choose_variant(manifest(quick, variant("unproven", proven=None)))
        assert "variant 'quick': the runtime 'native' needs no_such_library, which is not installed" in caught.value.message
        assert caught.value.hint == "pip install 'aweigh[xgboost]'"
    finally:
        plugins._table.cache_clear()


def test_what_is_for_another_system_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = "darwin" if sys.platform != "darwin" else "linux"
    row = Plugin(kind="runtime", name="apple", target="a:b", libraries=("no_such_library",), environment="coreml", system=system)
    table = {**plugins._table(), ("runtime", "apple"): row}
    monkeypatch.setattr(plugins, "_table", lambda: table)
    quick = Variant(name="quick", runtime="apple", precision="fp16", evidence=evidence(passed=True, latency_us_b1=1.0))
    assert choose_variant(manifest(quick, variant("slow"))).name == "slow"
    assert environment_to_make(manifest(quick), "", Environments(tmp_path)) == ""
    with pytest.raises(MissingLibrary, match=r"no proven variant of this package can run here: variant 'quick': .* alone can run"):
        choose_variant(manifest(quick))


def test_the_quickest_proven_variant_of_each_purpose_is_chosen() -> None:
    def timed(name: str, *, passed: bool = True, **figures: float) -> Variant:
        return Variant(name=name, runtime="null", precision="fp32", evidence=evidence(passed=passed, **figures))

    made = manifest(
        timed("unmeasured"),
        timed("single", latency_us_b1=20.0, latency_us_b1000=9000.0),
        timed("many", latency_us_b1=300.0, latency_us_b1000=2000.0),
        timed("wrong", passed=False, latency_us_b1=1.0, latency_us_b1000=1.0),
    )
    assert choose_variant(made).name == "single"
    assert choose_variant(made, purpose="batch").name == "many"
    assert choose_variant(made, "unmeasured", purpose="batch").name == "unmeasured"
    assert choose_variant(manifest(timed("a"), timed("b")), purpose="batch").name == "a"


def place(cost: Cost, *, isolated: bool = False, concurrent: bool = True, **settings: Any) -> tuple[str, int]:
    session = FakeSession(lambda _: [], isolated=isolated, concurrent=concurrent)
    chosen = choose_executor(session, cost, msgspec.structs.replace(SETTINGS, **settings))
    assert chosen.why
    return chosen.executor, chosen.inline_rows


def test_where_a_model_runs_follows_from_what_a_call_costs() -> None:
    cheap, dear, batchy = Cost(call_us=5, row_us=0), Cost(call_us=1001, row_us=0), Cost(call_us=100, row_us=10)
    everything = SETTINGS.max_rows
    assert place(cheap) == ("inline", everything)
    assert place(dear) == ("thread", -1)
    assert place(dear, inline_limit_us=2000) == ("inline", everything)
    assert place(batchy) == ("inline", 91)
    assert place(batchy, concurrent=False) == ("thread", -1)
    assert place(cheap, executor="thread") == ("thread", -1)
    assert place(dear, executor="inline") == ("inline", everything)
    assert place(cheap, isolated=True) == ("thread", -1)
    assert place(cheap, isolated=True, executor="inline") == ("thread", -1)


def test_a_model_that_answers_as_its_golden_set_is_loaded(tmp_path: Path) -> None:
    loaded = load_model(handle(tmp_path, np.zeros((2, 2), dtype=np.float32)), SETTINGS)
    assert (loaded.name, loaded.version, loaded.variant.name, loaded.report.golden_cases) == ("fake", "1", "null", 1)
    assert loaded.report.call_us > 0
    assert loaded.run({"X": np.ones((3, 2), dtype=np.float32)})[0].shape == (3, 2)
    loaded.close()


def test_a_model_that_answers_otherwise_is_kept_away_and_its_session_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(lambda inputs: [np.asarray(inputs["X"]) + 1])
    monkeypatch.setattr(lifecycle, "load_variant", lambda *_, **__: session)
    with pytest.raises(GoldenMismatch, match="sample"):
        load_model(handle(tmp_path, np.zeros((2, 2), dtype=np.float32)), SETTINGS)
    assert session.closed == 1


def test_a_session_that_fails_while_it_is_measured_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(inputs: Any) -> list[np.ndarray]:
        if len(session.calls) > 1:
            raise MemoryError
        return [np.zeros((2, 2), dtype=np.float32)]

    session = FakeSession(once)
    monkeypatch.setattr(lifecycle, "load_variant", lambda *_, **__: session)
    with pytest.raises(MemoryError):
        load_model(handle(tmp_path, np.zeros((2, 2), dtype=np.float32)), SETTINGS)
    assert session.closed == 1


def test_a_golden_set_that_cannot_be_read_keeps_the_model_away(tmp_path: Path) -> None:
    made = handle(tmp_path, np.zeros((2, 2), dtype=np.float32))
    (tmp_path / "golden/sample.tensors").write_bytes(b"AWTENS1\nrubbish")
    with pytest.raises(InvalidFile):
        load_model(made, SETTINGS)


def test_a_runtime_that_is_not_known_says_so(tmp_path: Path) -> None:
    with pytest.raises((NotFound, Unsupported, MissingLibrary), match="abacus"):
        load_model(handle(tmp_path, np.zeros((2, 2), dtype=np.float32), variant("a", runtime="abacus")), SETTINGS)


def test_a_variant_that_cannot_run_here_gives_way_to_the_next(tmp_path: Path) -> None:
    """For want of a device, which shows at load alone; asked for by name it is refused."""
    answers = np.zeros((2, 2), dtype=np.float32)
    quick = Variant(name="quick", runtime="onnxruntime", precision="fp32", files=("x",), options={"providers": "cuda"}, evidence=evidence(passed=True, where=machine(), latency_us_b1=1.0))  # fmt: skip
    slow = Variant(name="slow", runtime="null", precision="fp32", evidence=evidence(passed=True, where=machine(), latency_us_b1=2.0))
    package = handle(tmp_path, answers, quick, slow)
    loaded = load_model(package, SETTINGS)
    try:
        assert loaded.variant.name == "slow"
        why = loaded.report.variant_why
        chosen_by = f"slow 2 us, quick 1 us for one row, measured on {machine().processor}"
        assert why.startswith(f"the quickest of the proven that can run here: {chosen_by}; 'quick' cannot run here: ")
        assert "the execution provider 'cuda'" in why
    finally:
        loaded.close()
    with pytest.raises(MissingLibrary, match="the execution provider 'cuda'"):
        load_model(package, SETTINGS, variant="quick")

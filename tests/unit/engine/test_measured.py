"""The choice among variants whose times another machine took: measured here once, kept, and told."""

from pathlib import Path

import msgspec
import pytest
from tests.contract.test_runtimes import numbers

from aweigh.core.errors import ProofFailed
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.machine import machine
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.settings import Settings
from aweigh.engine.lifecycle import load_model
from aweigh.engine.measured import Measured, measured_before, measured_here
from aweigh.engine.variants import Purpose
from aweigh.testing import FakeHandle

ELSEWHERE = Machine(system="Linux", architecture="x", processor="another", cores=64)


def evidence(where: Machine, **figures: float) -> Evidence:
    return Evidence(
        passed=True, strength=Strength.FULL, data="test", made_at="2026-01-01T00:00:00Z", machine=where, checks=(), figures=figures
    )


def variant(name: str, runtime: str, where: Machine, one_us: float, many_us: float, **options: str) -> Variant:
    proof = evidence(where, latency_us_b1=one_us, latency_us_b1000=many_us)
    return Variant(name=name, runtime=runtime, precision="fp32", files=("numbers.onnx",), options=options, evidence=proof)  # type: ignore[arg-type]


def package(folder: Path, *variants: Variant) -> FakeHandle:
    sample = numbers("onnxruntime", folder)
    cases, files = golden_files(sample.signature, [GoldenAnswers(name="sample", why="", inputs=sample.inputs, outputs=sample.expected)])
    (folder / "golden").mkdir()
    for path, data in files.items():
        (folder / path).write_bytes(data)
    manifest = PackageManifest(
        format_version=FORMAT_VERSION, signature=sample.signature, variants=variants, golden=cases, provenance=Provenance(framework="test")
    )
    return FakeHandle(manifest, folder)


def slow_and_quick(where: Machine) -> tuple[Variant, Variant]:
    """By their evidence the slower of two is the quicker one."""
    return variant("slow", "reference", where, 1.0, 2.0), variant("quick", "onnxruntime", where, 500.0, 900.0)


@pytest.mark.parametrize("purpose", ["online", "batch"])
def test_times_of_another_machine_are_taken_again_here(purpose: Purpose, tmp_path: Path) -> None:
    made, settings = package(tmp_path, *slow_and_quick(ELSEWHERE)), Settings(home=str(tmp_path / "home"))
    loaded = load_model(made, settings, purpose=purpose)
    try:
        assert loaded.variant.name == "quick"
        why = loaded.report.variant_why
        assert why.startswith("the quickest that is proven: quick ")
        assert why.endswith(f"measured here ({machine().processor}), because the evidence is of another")
    finally:
        loaded.close()


def test_times_of_this_machine_decide_as_they_are(tmp_path: Path) -> None:
    made, settings = package(tmp_path, *slow_and_quick(machine())), Settings(home=str(tmp_path / "home"))
    loaded = load_model(made, settings)
    try:
        assert loaded.variant.name == "slow"
        assert f"slow 1 us, quick 500 us for one row, measured on {machine().processor}" in loaded.report.variant_why
        assert not (tmp_path / "home").exists()
    finally:
        loaded.close()


def test_measured_once_and_kept(tmp_path: Path) -> None:
    made, settings = package(tmp_path, *slow_and_quick(ELSEWHERE)), Settings(home=str(tmp_path / "home"))
    load_model(made, settings).close()
    kept = measured_before(made.digest, made.manifest.variants, settings)
    assert kept is not None
    (place,) = (tmp_path / "home" / "cache" / "variants").glob("*.json")
    turned = {"slow": kept.figures["quick"], "quick": kept.figures["slow"]}
    place.write_bytes(msgspec.json.encode(msgspec.structs.replace(kept, figures=turned)))
    loaded = load_model(made, settings)
    loaded.close()
    assert loaded.variant.name == "slow", "what was kept decides"
    other = variant("third", "onnxruntime", ELSEWHERE, 1.0, 1.0)
    assert measured_before(made.digest, (*made.manifest.variants, other), settings) is None, "another set of variants is measured anew"
    moved = msgspec.structs.replace(kept, machine=ELSEWHERE)
    place.write_bytes(msgspec.json.encode(moved))
    assert measured_before(made.digest, made.manifest.variants, settings) is None, "a home that came from another machine says nothing"
    place.write_bytes(b"{}")
    assert measured_before(made.digest, made.manifest.variants, settings) is None


def test_what_cannot_run_here_is_told_and_the_named_one_is_taken_as_it_is(tmp_path: Path) -> None:
    absent = variant("cuda", "onnxruntime", ELSEWHERE, 0.1, 0.1, providers="cuda")
    made, settings = package(tmp_path, absent, *slow_and_quick(ELSEWHERE)), Settings(home=str(tmp_path / "home"))
    loaded = load_model(made, settings)
    try:
        assert loaded.variant.name == "quick"
        assert loaded.report.variant_why.startswith("the quickest of the proven that can run here: quick ")
        assert "'cuda' cannot run here: variant 'cuda' is for the execution provider 'cuda'" in loaded.report.variant_why
    finally:
        loaded.close()
    loaded = load_model(made, settings, variant="slow")
    try:
        assert (loaded.variant.name, loaded.report.variant_why) == ("slow", "asked for by name")
    finally:
        loaded.close()


def test_a_variant_without_proof_is_not_served_by_its_name_either(tmp_path: Path) -> None:
    unproven = msgspec.structs.replace(variant("new", "reference", ELSEWHERE, 1.0, 1.0), evidence=None)
    made = package(tmp_path, *slow_and_quick(ELSEWHERE), unproven)
    with pytest.raises(ProofFailed, match="variant 'new' has no evidence"):
        load_model(made, Settings(home=str(tmp_path / "home")), variant="new")


def test_a_home_that_nobody_can_write_costs_a_measurement(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(home=str(tmp_path / "file"))
    found = measured_here("sha256:0", slow_and_quick(ELSEWHERE), settings, lambda each: {"latency_us_b1": float(len(each.name))})
    assert found == Measured(machine=machine(), figures={"slow": {"latency_us_b1": 4.0}, "quick": {"latency_us_b1": 5.0}})


def test_the_version_of_python_is_no_other_machine(tmp_path: Path) -> None:
    older = msgspec.structs.replace(machine(), python="3.0.0")
    made, settings = package(tmp_path, *slow_and_quick(older)), Settings(home=str(tmp_path / "home"))
    load_model(made, settings).close()
    assert not (tmp_path / "home").exists()

"""A package of several proven variants: which one answers is told by the model's config, `/status` and `aweigh status`; evidence of another machine is measured anew."""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.serving.served import AWEIGH, Served
from tests.trees.models import fitted, rows

import aweigh
from aweigh.core.evidence import Machine
from aweigh.core.names import model_name
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.protocols import Draft
from aweigh.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ELSEWHERE = Machine(system="Linux", architecture="x86_64", processor="another", cores=64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`trees` as it was packed here, and `moved` as though it had been packed elsewhere, where the slower one was the quicker."""
    folder = tmp_path_factory.mktemp("variants")
    sample = rows(120, 1, "lightgbm")
    package = aweigh.pack(fitted("lightgbm", "Regressor", 4, sample), "trees", sample=sample, home=str(folder))
    figures = [each.evidence.figures["latency_us_b1"] for each in package.manifest.variants if each.evidence is not None]
    turned = dict(zip(sorted(figures), sorted(figures, reverse=True), strict=True))
    moved: PackageManifest = msgspec.structs.replace(
        package.manifest, files=(), variants=tuple(_moved(each, turned) for each in package.manifest.variants)
    )
    files = {file.path: package.path(file.path) for file in package.manifest.files}
    Store(folder / "store").publish(model_name("moved"), Draft(manifest=moved, files=files))
    return folder


def _moved(variant: Variant, turned: dict[float, float]) -> Variant:
    assert variant.evidence is not None
    figures = {**variant.evidence.figures, "latency_us_b1": turned[variant.evidence.figures["latency_us_b1"]]}
    return msgspec.structs.replace(variant, evidence=msgspec.structs.replace(variant.evidence, machine=ELSEWHERE, figures=figures))


def told(server: Served, name: str) -> tuple[str, str]:
    """Variant and reason, which config, status and the command say alike."""
    facts: dict[str, Any] = json.loads(server.get(f"/v2/models/{name}/config"))["parameters"]
    variant, reason = facts["variant"]["string_value"], facts["variant_reason"]["string_value"]
    (seen,) = [each["facts"] for each in json.loads(server.get("/status"))["models"] if each["facts"]["name"] == name]
    assert (seen["variant"], seen["variant_why"]) == (variant, reason)
    done = subprocess.run([AWEIGH, "status", "--url", server.url], capture_output=True, text=True, timeout=60, check=True)
    assert f"variant {variant}: {reason}" in " ".join(done.stdout.split())
    return variant, reason


def test_the_quickest_by_evidence_of_this_machine_answers(home: Path) -> None:
    server = Served(home, "trees", "moved")
    try:
        chosen, why = told(server, "trees")
        assert why.startswith(f"the quickest that is proven: {chosen} ")
        assert "measured on" in why
        again, why = told(server, "moved")
        assert again in {"onnx", "lightgbm"}
        assert "measured here" in why
        assert why.endswith("because the evidence is of another")
        (kept,) = (home / "cache" / "variants").glob("*.json")
        assert set(json.loads(kept.read_bytes())["figures"]) == {"onnx", "lightgbm"}
    finally:
        server.end()


@pytest.mark.parametrize("variant", ["onnx", "lightgbm"])
def test_a_variant_that_is_asked_for_overrides(variant: str, home: Path) -> None:
    server = Served(home, "moved", "--variant", variant)
    try:
        assert told(server, "moved") == (variant, "asked for by name")
    finally:
        server.end()

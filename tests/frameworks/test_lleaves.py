"""LightGBM compiled by lleaves: categories, missing values and edges proven, compiled once, chosen by the times of its evidence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frameworks.kit import environments
from tests.trees.models import fitted, rows

import aweigh
from aweigh.core.golden import read_golden
from aweigh.core.settings import Settings
from aweigh.engine.lifecycle import load_model
from aweigh.store import StoredPackage

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(600)]
SAMPLE = rows(200, 1, "lightgbm")


@pytest.fixture(scope="module")
def model() -> Any:
    return fitted("lightgbm", "Classifier", 12, SAMPLE)


@pytest.fixture(scope="module")
def package(model: Any, tmp_path_factory: pytest.TempPathFactory) -> StoredPackage:
    home = tmp_path_factory.mktemp("home")
    return aweigh.pack(model, "trees", sample=SAMPLE, also=["lleaves", "openvino"], home=str(home))


def compiled() -> set[Path]:
    return set((Path(environments().home("lleaves").python).parents[1] / "aweigh-compiled").glob("*.o"))


def test_it_is_proven_beside_the_others_on_the_same_file_and_cases(package: StoredPackage) -> None:
    first, native, other = package.manifest.variants
    assert [each.name for each in package.manifest.variants] == ["onnx", "lightgbm", "lleaves"]
    assert other.files == native.files, "the package holds the text, no code of this processor"
    assert other.evidence is not None
    assert other.evidence.passed
    assert other.evidence.repairs == ("lleaves: passed",)
    assert {"lleaves==1.3.0"} <= set(other.environment)
    assert first.evidence is not None
    assert any(said.startswith("openvino: ") for said in first.evidence.repairs), "trees have no way through OpenVINO, which is told"
    ages = np.concatenate([case.inputs["age"].ravel() for case in read_golden(package.manifest, package.path)])
    assert np.isnan(ages).any()
    assert np.isinf(ages).any()


def test_rows_that_packing_has_not_seen_are_answered_as_the_library_does(model: Any, package: StoredPackage) -> None:
    """Missing numbers, missing and unseen categories, and infinities among them."""
    fresh = rows(300, 7, "lightgbm")
    fresh.loc[:9, "age"] = np.inf
    fresh.loc[10:19, "income"] = -np.inf
    home, before = str(package.blobs.store.parent), compiled()
    with aweigh.load("trees", variant="lleaves", home=home) as loaded:
        answers = loaded.predict(fresh)
    np.testing.assert_array_equal(answers.label, model.predict(fresh))
    named = answers[["probability_high", "probability_low"]].to_numpy()
    np.testing.assert_allclose(named, model.predict_proba(fresh), rtol=0, atol=1e-12)
    assert compiled() == before, "it was compiled when it was packed"


@pytest.mark.parametrize(("purpose", "figure"), [("online", "latency_us_b1"), ("batch", "latency_us_b1000")])
def test_the_quickest_of_three_answers_and_says_why(purpose: Any, figure: str, package: StoredPackage) -> None:
    settings = Settings(home=str(package.blobs.store.parent))
    times = {each.name: each.evidence.figures[figure] for each in package.manifest.variants if each.evidence is not None}
    assert set(times) == {"onnx", "lightgbm", "lleaves"}
    loaded = load_model(package, settings, purpose=purpose)
    try:
        assert loaded.variant.name == min(times, key=times.__getitem__)
        why = loaded.report.variant_why
        assert why.startswith("the quickest that is proven: ")
        assert all(f"{name} {time:.0f} us" in why for name, time in times.items()), why
    finally:
        loaded.close()


def test_a_model_of_another_library_has_nothing_to_compile(tmp_path: Path) -> None:
    sample = rows(60, 1, "xgboost")
    package = aweigh.pack(fitted("xgboost", "Regressor", 3, sample), "other", sample=sample, also=["lleaves"], home=str(tmp_path))
    first, *others = package.manifest.variants
    assert [each.runtime for each in others] == ["xgboost"]
    assert first.evidence is not None
    assert "lleaves: the package has no LightGBM model that it could run" in first.evidence.repairs

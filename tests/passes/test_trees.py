"""Trees: LightGBM compiled by lleaves, and the library's own file beside a package that has ONNX alone. Both answer exactly as before."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_digits
from tests.passes.kit import answers, make_pass

import aweigh
from aweigh.core.errors import Unsupported
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import PassJob
from aweigh.store import StoredPackage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROWS, LABELS = (each.astype(np.float32) for each in load_digits(return_X_y=True))
TRAINED = 1200


def job(package: StoredPackage, name: str, folder: Path, source: str = "") -> PassJob:
    variant = package.manifest.variant(name)
    assert variant is not None
    files = {file: str(package.path(file)) for file in variant.files}
    (folder / "made").mkdir()
    return PassJob(variant=variant, files=files, signature=package.manifest.signature, folder=str(folder / "made"), source=source)


def held(package: StoredPackage) -> dict[str, Any]:
    spec = package.manifest.signature.inputs[0]
    return {spec.name: ROWS[TRAINED:].astype(spec.datatype.dtype)}


def test_lightgbm_is_compiled_and_answers_as_before(tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=15, n_jobs=1, verbose=-1).fit(ROWS[:TRAINED], LABELS[:TRAINED])
    package = aweigh.pack(model, "trees", sample=ROWS[:100], home=str(tmp_path / "home"))
    made = make_pass("lleaves", job(package, "lightgbm", tmp_path))
    assert made.runtime == "lleaves"
    assert "lleaves==1.3.0" in made.environment
    found = dict(
        zip(
            (spec.role for spec in package.manifest.signature.outputs),
            answers(made, package.manifest.signature, held(package)),
            strict=True,
        )
    )
    np.testing.assert_allclose(found["probability"], model.predict_proba(ROWS[TRAINED:]), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found["label"], model.predict(ROWS[TRAINED:]))


def test_what_lleaves_cannot_compile_is_said(tmp_path: Path) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=5, n_jobs=1, verbose=-1, linear_tree=True).fit(
        ROWS[:TRAINED], LABELS[:TRAINED]
    )
    package = aweigh.pack(model, "linear", sample=ROWS[:100], home=str(tmp_path / "home"))
    with pytest.raises(Unsupported, match="cannot be compiled by lleaves"):
        make_pass("lleaves", job(package, "lightgbm", tmp_path))


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, StoredPackage, Path]:
    folder = tmp_path_factory.mktemp("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=4, n_jobs=1).fit(ROWS[:TRAINED], LABELS[:TRAINED])
    model.save_model(folder / "model.json")
    return model, aweigh.pack(model, "trees", sample=ROWS[:100], home=str(folder / "home")), folder / "model.json"


def test_the_librarys_own_file_runs_beside_onnx(boosted: tuple[Any, StoredPackage, Path], tmp_path: Path) -> None:
    model, package, file = boosted
    made = make_pass("native-trees", job(package, "onnx", tmp_path, str(file)))
    assert (made.runtime, made.precision, list(made.files)) == ("xgboost", "native", ["model.ubj"])
    found = dict(
        zip(
            (spec.role for spec in package.manifest.signature.outputs),
            answers(made, package.manifest.signature, held(package)),
            strict=True,
        )
    )
    np.testing.assert_allclose(found["probability"], model.predict_proba(ROWS[TRAINED:]), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found["label"], model.predict(ROWS[TRAINED:]))


def test_a_source_that_is_no_tree_library_is_refused(boosted: tuple[Any, StoredPackage, Path], tmp_path: Path) -> None:
    _, package, _ = boosted
    with pytest.raises(Unsupported, match="none was given"):
        ways_of("native-trees", job(package, "onnx", tmp_path))
    onnx = package.manifest.variants[0]
    (tmp_path / "again").mkdir()
    with pytest.raises(Unsupported, match="begins with a model file of XGBoost, LightGBM or CatBoost"):
        ways_of("native-trees", job(package, "onnx", tmp_path / "again", str(package.path(onnx.files[0]))))

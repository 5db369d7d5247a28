"""Objectives, boosters and shapes of trees: each is converted exactly, or runs in its own library with the reason told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trees.models import LIBRARIES, estimator, grades, rows, target

from aweigh.core.package import PackageManifest
from aweigh.packing import PackRequest, pack
from aweigh.packing.frameworks.sklearn_signature import sample_tensors
from aweigh.packing.sample import read_sample
from aweigh.runtimes import load_session
from aweigh.verify import prove

pytestmark = pytest.mark.slow
NUMBERS = ["age", "income", "visits"]
CONVERTED = [
    ("xgboost", "Regressor", {"objective": "count:poisson"}),
    ("xgboost", "Regressor", {"objective": "reg:tweedie"}),
    ("xgboost", "Regressor", {"objective": "reg:absoluteerror", "num_parallel_tree": 3}),
    ("xgboost", "Regressor", {"booster": "dart", "rate_drop": 0.3}),
    ("xgboost", "Regressor", {"missing": 0.0}),
    ("lightgbm", "Regressor", {"objective": "poisson"}),
    ("lightgbm", "Regressor", {"objective": "tweedie"}),
    ("lightgbm", "Regressor", {"reg_sqrt": True}),
    ("lightgbm", "Regressor", {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}),
    ("lightgbm", "Regressor", {"boosting_type": "dart"}),
    ("lightgbm", "Regressor", {"objective": "quantile", "use_missing": False}),
    ("catboost", "Regressor", {"loss_function": "Poisson"}),
    ("catboost", "Regressor", {"grow_policy": "Lossguide"}),
    ("catboost", "Regressor", {"grow_policy": "Depthwise", "nan_mode": "Max"}),
]
NATIVE = [
    ("xgboost", "Regressor", {"booster": "gblinear"}, "gblinear"),
    ("xgboost", "Regressor", {"multi_strategy": "multi_output_tree"}, "several outputs"),
    ("lightgbm", "Regressor", {"linear_tree": True}, "linear leaves"),
    ("catboost", "Regressor", {"loss_function": "RMSEWithUncertainty"}, "RMSEWithUncertainty"),
]
THREE = [
    *((library, {}) for library in LIBRARIES),
    ("lightgbm", {"objective": "multiclassova"}),
    ("catboost", {"loss_function": "MultiClassOneVsAll"}),
]


def packed(model: Any, sample: Any, work: Path) -> tuple[PackageManifest, list[Any]]:
    draft = pack(model, PackRequest(prove=prove, sample=sample, work=work))
    sessions = [
        load_session(variant, draft.manifest.signature, lambda name: Path(str(draft.files[name]))) for variant in draft.manifest.variants
    ]
    return draft.manifest, sessions


def plain(library: str, kind: str, trees: int, **options: Any) -> Any:
    return estimator(library, kind, trees, **(options | ({"cat_features": None} if library == "catboost" else {})))


@pytest.mark.parametrize(("library", "kind", "options"), CONVERTED)
def test_converted_to_the_last_place(tmp_path: Path, library: str, kind: str, options: dict[str, Any]) -> None:
    frame = rows(300, 1, "catboost")
    sample = frame[NUMBERS]
    model = plain(library, kind, 10, **options).fit(sample, np.abs(target(frame)))
    manifest, sessions = packed(model, sample, tmp_path)
    assert [variant.runtime for variant in manifest.variants] == ["onnxruntime", library]
    further = rows(2_000, 9, "catboost")[NUMBERS]
    expected = np.asarray(model.predict(further), dtype=np.float64)
    for session in sessions:
        given = session.run(sample_tensors(read_sample(further)))[0]
        assert float((np.abs(given - expected) / np.spacing(np.abs(expected).astype(np.float32))).max()) <= 1.0
        session.close()


@pytest.mark.filterwarnings("ignore:.*gblinear.*:UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the same, raised where XGBoost calls back
@pytest.mark.parametrize(("library", "kind", "options", "words"), NATIVE)
def test_what_has_no_form_in_onnx_runs_in_the_library(tmp_path: Path, library: str, kind: str, options: dict[str, Any], words: str) -> None:
    frame = rows(300, 1, "catboost")
    sample = frame[["visits"]].assign(income=frame["income"].fillna(0.0))
    wanted = np.column_stack([target(frame), -target(frame)]) if words == "several outputs" else target(frame)
    model = plain(library, kind, 10, **options).fit(sample, wanted)
    manifest, sessions = packed(model, sample, tmp_path)
    assert [variant.runtime for variant in manifest.variants] == [library]
    evidence = manifest.variants[0].evidence
    assert evidence is not None
    assert words in " ".join(evidence.repairs)
    np.testing.assert_allclose(sessions[0].run(sample_tensors(read_sample(sample)))[0], model.predict(sample), rtol=1e-6)
    sessions[0].close()


@pytest.mark.parametrize(("library", "options"), THREE)
def test_three_classes(tmp_path: Path, library: str, options: dict[str, Any]) -> None:
    sample = rows(400, 1, library)
    model = estimator(library, "Classifier", 8, **options).fit(sample, grades(sample))
    manifest, sessions = packed(model, sample, tmp_path)
    assert [variant.runtime for variant in manifest.variants] == ["onnxruntime", library]
    assert manifest.signature.labels == (0, 1, 2)
    further = rows(3_000, 9, library)
    for session in sessions:
        label, chances = session.run(sample_tensors(read_sample(further)))
        assert int((label != np.asarray(model.predict(further)).reshape(-1)).sum()) == 0
        np.testing.assert_allclose(chances, model.predict_proba(further), rtol=1e-5, atol=2e-7)
        session.close()

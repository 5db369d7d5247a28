"""Tree libraries: label flips 0, regressors within one unit in the last place, rankers in order, for ONNX and the library's own runtime alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.trees.models import LIBRARIES, estimator, fitted, labels, rows, save, target

from aweigh.core.errors import NotTrusted
from aweigh.core.protocols import Draft, Session
from aweigh.core.signature import Task
from aweigh.engine.variants import choose_variant
from aweigh.packing import PackRequest, pack
from aweigh.packing.frameworks.boosted import library as library_file
from aweigh.packing.frameworks.sklearn_signature import sample_tensors
from aweigh.packing.sample import read_sample
from aweigh.runtimes import load_session
from aweigh.verify import prove

BATCH = 5_000


def packed(source: Any, sample: Any, work: Path, **options: Any) -> Draft:
    return pack(source, PackRequest(prove=prove, sample=sample, work=work, **options))


def sessions(draft: Draft) -> Iterator[tuple[str, Session]]:
    for variant in draft.manifest.variants:
        assert variant.evidence is not None
        assert variant.evidence.passed
        session = load_session(variant, draft.manifest.signature, lambda name: Path(str(draft.files[name])))
        yield variant.runtime, session
        session.close()


def runtimes(draft: Draft) -> list[str]:
    return [variant.runtime for variant in draft.manifest.variants]


def further_rows(model: Any, library: str, count: int) -> pd.DataFrame:
    """Rows like the sample's, a tenth of them with a number on a threshold of the trees or one unit in the last place beside it."""
    frame = rows(count, 99, library)
    random = np.random.default_rng(1)
    names = list(frame.columns)
    found = [(at, value) for at, value in library_file(library).read(model, frame).thresholds() if names[at] in {"age", "income"}]
    for name in ("age", "income"):
        values = np.array([value for at, value in found if names[at] == name])
        place = random.choice(count, count // 20, replace=False)
        column = frame[name].to_numpy(dtype=np.float64, copy=True)
        chosen = random.choice(values, len(place))
        nudged = [
            chosen,
            np.nextafter(chosen, -np.inf),
            np.nextafter(chosen, np.inf),
            np.nextafter(chosen.astype(np.float32), np.float32(np.inf)),
        ]
        column[place] = np.choose(random.integers(0, 4, len(place)), nudged)
        frame[name] = column
    return frame


def compare(draft: Draft, model: Any, frame: pd.DataFrame) -> None:
    """Every variant answers every row as the model does."""
    for start in range(0, len(frame), BATCH):
        part = frame.iloc[start : start + BATCH]
        tensors = sample_tensors(read_sample(part))
        expected = np.asarray(model.predict(part)).reshape(-1)
        for runtime, session in sessions(draft):
            given = session.run(tensors)
            if draft.manifest.signature.task is Task.CLASSIFICATION:
                assert int((np.asarray(given[0]) != expected).sum()) == 0, runtime
                np.testing.assert_allclose(given[1], model.predict_proba(part), rtol=1e-5, atol=2e-7)
            else:
                size = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
                assert float((np.abs(given[0].astype(np.float64) - expected) / size).max()) <= 1.0, runtime
                if draft.manifest.signature.task is Task.RANKING:
                    np.testing.assert_array_equal(np.argsort(given[0], kind="stable"), np.argsort(expected, kind="stable"))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["Classifier", "Regressor", "Ranker"])
def test_small_models(tmp_path: Path, library: str, kind: str) -> None:
    sample = rows(400, 1, library)
    model = fitted(library, kind, 12, sample)
    draft = packed(model, sample, tmp_path)
    assert runtimes(draft) == ["onnxruntime", library]
    assert not draft.manifest.contains_pickle
    compare(draft, model, further_rows(model, library, 3_000))


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["Classifier", "Regressor", "Ranker"])
def test_500_trees_on_100_000_further_rows(tmp_path: Path, library: str, kind: str) -> None:
    sample = rows(3_000, 1, library)
    model = fitted(library, kind, 500, sample)
    draft = packed(model, sample, tmp_path)
    assert library in runtimes(draft)
    assert "onnxruntime" in runtimes(draft)
    compare(draft, model, further_rows(model, library, 100_000))


@pytest.mark.slow
@pytest.mark.parametrize(("library", "form"), [("xgboost", "json"), ("xgboost", "ubj"), ("lightgbm", "txt"), ("catboost", "cbm")])
def test_files_are_told_by_their_content(tmp_path: Path, library: str, form: str) -> None:
    sample = rows(300, 1, library)
    model = fitted(library, "Regressor", 8, sample)
    save(model, library, form, tmp_path / f"model.{form}")
    (tmp_path / f"model.{form}").rename(tmp_path / "model.bin")
    sample.to_csv(tmp_path / "rows.csv", index=False)  # a CSV file knows no categories: the model does
    draft = packed(tmp_path / "model.bin", tmp_path / "rows.csv", tmp_path / "work")
    assert runtimes(draft) == ["onnxruntime", library]
    assert draft.manifest.provenance.framework == library
    assert not draft.manifest.contains_pickle
    compare(draft, model, rows(500, 7, library))


@pytest.mark.slow
def test_a_classifier_file_answers_classes_by_number(tmp_path: Path) -> None:
    sample = rows(300, 1, "lightgbm")
    model = fitted("lightgbm", "Classifier", 8, sample)
    save(model, "lightgbm", "txt", tmp_path / "model.txt")
    draft = packed(tmp_path / "model.txt", sample, tmp_path / "work", trust=True)
    assert draft.manifest.signature.labels == (0, 1)
    assert not draft.manifest.provenance.trusted  # there was no pickle to trust
    assert draft.manifest.signature.task is Task.CLASSIFICATION


def test_a_file_needs_no_sample_where_it_keeps_its_categories(tmp_path: Path) -> None:
    model = fitted("xgboost", "Regressor", 8, rows(300, 1, "xgboost"))
    save(model, "xgboost", "ubj", tmp_path / "model.ubj")
    draft = packed(tmp_path / "model.ubj", None, tmp_path / "work")
    assert runtimes(draft) == ["onnxruntime", "xgboost"]
    assert draft.manifest.variants[0].evidence is not None
    assert draft.manifest.variants[0].evidence.strength == "weak"


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_pickled_estimators_need_trust_and_leave_no_pickle(tmp_path: Path, library: str) -> None:
    sample = rows(300, 1, library)
    model = fitted(library, "Classifier", 8, sample)
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(NotTrusted):
        packed(tmp_path / "model.joblib", sample, tmp_path / "work")
    draft = packed(tmp_path / "model.joblib", sample, tmp_path / "work", trust=True)
    assert runtimes(draft) == ["onnxruntime", library]
    assert not draft.manifest.contains_pickle
    compare(draft, model, rows(500, 7, library))


@pytest.mark.parametrize("sparse", [0.0, 1.0])
@pytest.mark.parametrize("library", ["xgboost", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lightgbm", "catboost"))])
def test_pipelines(tmp_path: Path, library: str, sparse: float) -> None:
    sample = rows(400, 1, "catboost")
    options: dict[str, Any] = {"cat_features": None} if library == "catboost" else {}
    columns = [
        ("number", StandardScaler(), ["age", "income", "visits"]),
        ("text", OneHotEncoder(handle_unknown="ignore"), ["city", "size"]),
    ]
    for kind, wanted in (("Classifier", labels(sample, library)), ("Regressor", target(sample))):
        front = ColumnTransformer(columns, sparse_threshold=sparse)
        pipeline = make_pipeline(front, estimator(library, kind, 12, **options)).fit(sample, wanted)
        draft = packed(pipeline, sample, tmp_path / kind)
        assert runtimes(draft) == ["onnxruntime", library]
        assert not draft.manifest.contains_pickle
        compare(draft, pipeline, rows(2_000, 7, "catboost"))


def test_statistics_of_categories_are_served_by_catboost_alone(tmp_path: Path) -> None:
    sample = rows(400, 1, "catboost")
    model = fitted("catboost", "Classifier", 8, sample, one_hot_max_size=2)
    draft = packed(model, sample, tmp_path)
    assert runtimes(draft) == ["catboost"]
    evidence = draft.manifest.variants[0].evidence
    assert evidence is not None
    assert "statistics of categories" in " ".join(evidence.repairs)
    compare(draft, model, rows(500, 7, "catboost"))


def test_the_best_variant_of_each_purpose_is_chosen(tmp_path: Path) -> None:
    sample = rows(300, 1, "lightgbm")
    draft = packed(fitted("lightgbm", "Regressor", 20, sample), sample, tmp_path)
    for purpose, figure in (("online", "latency_us_b1"), ("batch", "latency_us_b1000")):
        figures = {variant.name: variant.evidence.figures[figure] for variant in draft.manifest.variants if variant.evidence}
        assert len(figures) == 2
        assert choose_variant(draft.manifest, purpose=purpose).name == min(figures, key=figures.__getitem__)  # type: ignore[arg-type]


def test_zeros_that_count_as_missing(tmp_path: Path) -> None:
    frame = rows(400, 1, "catboost")
    sample = frame[["age", "income", "visits"]].fillna(0.0)
    model = lightgbm.LGBMRegressor(n_estimators=12, zero_as_missing=True, verbose=-1).fit(sample, target(frame))
    draft = packed(model, sample, tmp_path)
    assert runtimes(draft) == ["onnxruntime", "lightgbm"]
    tiny = sample.assign(age=np.resize([0.0, 1e-35, -1e-35, 1e-30, -0.0, np.nan], len(sample)))
    compare(draft, model, tiny)


def test_training_that_stopped_early_answers_with_its_best_rounds(tmp_path: Path) -> None:
    frame = rows(400, 1, "catboost")
    sample, wanted = frame[["age", "income", "visits"]], target(frame)
    model = xgboost.XGBRegressor(n_estimators=80, early_stopping_rounds=2)
    model.fit(sample[:300], wanted[:300], eval_set=[(sample[300:], wanted[300:])], verbose=False)
    assert model.best_iteration < 79
    draft = packed(model, sample, tmp_path)
    assert runtimes(draft) == ["onnxruntime", "xgboost"]
    compare(draft, model, sample)


def test_what_onnx_cannot_say_runs_in_the_library(tmp_path: Path) -> None:
    frame = rows(400, 1, "catboost")
    sample = frame[["income", "visits"]].fillna(0.0)
    model = lightgbm.LGBMRegressor(n_estimators=8, linear_tree=True, verbose=-1).fit(sample, target(frame))
    draft = packed(model, sample, tmp_path)
    assert runtimes(draft) == ["lightgbm"]
    evidence = draft.manifest.variants[0].evidence
    assert evidence is not None
    assert "linear leaves" in evidence.repairs[0]

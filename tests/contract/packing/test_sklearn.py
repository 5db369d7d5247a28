"""Label flips 0 on the golden set and on 100,000 further rows, for every sort of pipeline, and right answers for the known wrong conversions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Strength
from aweigh.core.signature import ColumnKind, Task
from aweigh.core.tensors import Datatype

MANY = 100_000
Make = Callable[..., Any]


def mixed_frame(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 12, rows),
            "visits": random.integers(0, 9, rows),
            "city": random.choice(["Rome", "Paris", "Oslo", "İzmir"], rows),
            "plan": random.choice(["free", "paid"], rows),
            "member": random.random(rows) < 0.5,
        }
    )
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.1, "city"] = np.nan
    frame.loc[random.random(rows) < 0.1, "plan"] = np.nan
    return frame


def mixed_labels(frame: pd.DataFrame) -> Any:
    noise = np.random.default_rng(5).normal(0, 5, len(frame))
    score = frame["age"].fillna(40) + frame["visits"] * 3 + (frame["city"] == "Rome") * 9 + noise
    return np.where(score > 52, "yes", "no")


def mixed_pipeline(model: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    cities = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = [
        ("numbers", numbers, ["age", "visits"]),
        ("cities", cities, ["city"]),
        ("others", OneHotEncoder(handle_unknown="ignore"), ["plan", "member"]),
    ]
    return Pipeline([("columns", ColumnTransformer(columns)), ("model", model)])


def fitted(model: Any, rows: Any, labels: Any) -> Any:
    return model.fit(rows, labels)


def at_thresholds(forest: Any, rows: int, width: int, dtype: Any) -> Any:
    """Rows whose every value is a threshold of the forest or one unit in the last place beside it."""
    random = np.random.default_rng(3)
    values = np.zeros((rows, width), dtype=dtype)
    for column in range(width):
        found = np.concatenate([tree.tree_.threshold[tree.tree_.feature == column] for tree in forest.estimators_] + [np.zeros(1)])
        near = np.concatenate([found, np.nextafter(found, np.inf), np.nextafter(found, -np.inf)])
        single = found.astype(np.float32)
        near = np.concatenate([near, single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))])
        values[:, column] = random.choice(near, rows)
    return values


@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(30, random_state=0)], ids=["logistic", "forest"])
def test_a_mixed_frame_pipeline_keeps_every_label(proven: Make, model: Any) -> None:
    frame = mixed_frame(2000, 0)
    found = proven(fitted(mixed_pipeline(model), frame, mixed_labels(frame)), frame, labels=mixed_labels(frame))
    assert found.runtime == "onnxruntime", found.repairs
    signature = found.draft.manifest.signature
    assert signature.task is Task.CLASSIFICATION
    assert signature.labels == ("no", "yes")
    assert [(spec.name, spec.datatype) for spec in signature.inputs] == [
        ("age", Datatype.FP64),
        ("visits", Datatype.INT64),
        ("city", Datatype.BYTES),
        ("plan", Datatype.BYTES),
        ("member", Datatype.BOOL),
    ]
    city = signature.columns[2]
    assert (city.kind, city.categories, city.nullable) == (ColumnKind.CATEGORY, ("Oslo", "Paris", "Rome", "İzmir"), True)
    assert found.draft.manifest.metrics["accuracy"] > 0.8
    assert found.flips(mixed_frame(MANY, 1)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_forest_keeps_every_label_at_its_thresholds(proven: Make, dtype: Any) -> None:
    rows, labels = load_iris(return_X_y=True)
    rows = (rows + np.random.default_rng(0).normal(0, 0.3, rows.shape)).astype(dtype)
    forest = fitted(RandomForestClassifier(40, min_samples_leaf=3, random_state=0), rows, labels)
    found = proven(forest, rows)
    assert found.runtime == "onnxruntime", found.repairs
    assert "thresholds" in {case.name for case in found.draft.manifest.golden}
    assert found.flips(at_thresholds(forest, MANY, rows.shape[1], dtype)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(20, random_state=0), GradientBoostingClassifier(n_estimators=20, random_state=0)],
    ids=["forest", "boosting"],
)
def test_a_scaler_before_trees_keeps_every_label(proven: Make, model: Any, dtype: Any) -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = rows.astype(dtype)
    found = proven(fitted(make_pipeline(StandardScaler(), model), rows, labels), rows)
    assert found.runtime == "onnxruntime", found.repairs
    random = np.random.default_rng(1)
    more = rows[random.integers(0, len(rows), MANY)] * random.normal(1, 0.02, (MANY, rows.shape[1]))
    assert found.flips(more.astype(dtype)) == 0


def test_columns_of_a_frame_are_joined_without_losing_digits(proven: Make) -> None:
    """skl2onnx joins columns by an operator that answers in float32: with a scaler behind it, trees took the wrong branch."""
    frame, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    found = proven(fitted(make_pipeline(StandardScaler(), GradientBoostingClassifier(random_state=7)), frame, labels), frame)
    assert found.runtime == "onnxruntime", found.repairs
    assert found.repairs == "float64 graph with exact trees: passed"
    assert [spec.name for spec in found.draft.manifest.signature.inputs] == list(frame.columns)
    random = np.random.default_rng(2)
    assert found.flips(frame.iloc[random.integers(0, len(frame), MANY)] * random.normal(1, 0.02, (MANY, 1))) == 0


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(max_iter=2000), RandomForestClassifier(20, random_state=0), make_pipeline(SimpleImputer(), SVC())],
    ids=["logistic", "forest", "imputer-svc"],
)
def test_an_estimator_that_takes_a_whole_frame_of_numbers_is_converted(proven: Make, model: Any) -> None:
    """Nothing in it picks columns by name, and the converters of most estimators take one input alone. Names that graphs use inside are names of columns too."""
    frame, labels = load_iris(return_X_y=True, as_frame=True)
    frame["variable"] = (frame.iloc[:, 0] * 10).astype(int)
    frame["scores"] = frame.iloc[:, 1] > 3
    found = proven(fitted(model, frame, labels), frame)
    assert found.runtime == "onnxruntime", found.repairs
    signature = found.draft.manifest.signature
    assert [(spec.name, spec.datatype) for spec in signature.inputs][4:] == [("variable", Datatype.INT64), ("scores", Datatype.BOOL)]
    random = np.random.default_rng(2)
    more = frame.iloc[random.integers(0, len(frame), MANY // 10)].reset_index(drop=True)
    more.iloc[:, :4] += random.normal(0, 0.2, (len(more), 4))
    assert found.flips(more) == 0


WORDS = [
    "good",
    "bad",
    "awful",
    "great",
    "nice",
    "terrible",
    "film",
    "plot",
    "actor",
    "É",
    "İstanbul",
    "naïve",
    "Σίσυφος",
    "日本",
    "the",
    "a",
    "of",
    "it's",
    "not",
    "x1",
    "re-do",
]


def some_texts(rows: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(0, 12))) for _ in range(rows)]
    return [text.upper() if random.random() < 0.2 else text for text in texts]


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"ngram_range": (1, 2), "sublinear_tf": True}, marks=pytest.mark.slow),
        pytest.param({"norm": "l1", "use_idf": False}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_text_pipeline_keeps_every_label(proven: Make, options: dict[str, Any]) -> None:
    texts = some_texts(1500, 0)
    labels = [int("good" in text.lower() or "great" in text.lower()) for text in texts]
    found = proven(fitted(make_pipeline(TfidfVectorizer(**options), LogisticRegression()), texts, labels), texts)
    assert found.runtime == "onnxruntime", found.repairs
    spec = found.draft.manifest.signature.inputs[0]
    assert (spec.name, spec.datatype, spec.shape, spec.takes_missing) == ("text", Datatype.BYTES, ("batch",), False)
    assert found.flips(some_texts(MANY, 1)) == 0


@pytest.mark.parametrize(
    "model", [LinearRegression(), RandomForestRegressor(15, random_state=0), GradientBoostingRegressor(n_estimators=30)], ids=str
)
def test_regressors_answer_as_themselves(proven: Make, model: Any) -> None:
    rows, targets = load_diabetes(return_X_y=True)
    found = proven(fitted(model, rows, targets), rows, labels=targets)
    assert found.runtime == "onnxruntime", found.repairs
    assert found.draft.manifest.signature.task is Task.REGRESSION
    assert set(found.draft.manifest.metrics) == {"r2", "mean_absolute_error"}
    more = rows[np.random.default_rng(0).integers(0, len(rows), MANY)] * 1.01
    np.testing.assert_allclose(found.ask({"X": more})[0], model.predict(more), rtol=1e-9)


def test_histogram_boosting_of_numbers_with_nan_is_exact(proven: Make) -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    random = np.random.default_rng(0)
    rows[random.random(rows.shape) < 0.05] = np.nan
    found = proven(fitted(HistGradientBoostingClassifier(max_iter=20), rows, labels), rows)
    assert found.runtime == "onnxruntime", found.repairs
    assert found.draft.manifest.signature.inputs[0].takes_missing
    assert found.flips(rows[random.integers(0, len(rows), MANY)] * random.normal(1, 0.02, (MANY, 30))) == 0


@pytest.mark.parametrize("model", [KNeighborsClassifier(3), SVC(), LinearSVC()], ids=["neighbours", "svc", "linear-svc"])
def test_others_are_proven_one_way_or_another(proven: Make, model: Any) -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    found = proven(fitted(model, rows, labels), rows)
    assert found.flips(rows + np.random.default_rng(0).normal(0, 0.01, rows.shape)) == 0


def test_a_vote_is_converted(proven: Make) -> None:
    rows, labels = load_iris(return_X_y=True)
    vote = VotingClassifier([("a", RandomForestClassifier(5, random_state=0)), ("b", LogisticRegression(max_iter=500))], voting="soft")
    found = proven(fitted(vote, rows, labels), rows)
    assert found.runtime == "onnxruntime", found.repairs
    assert found.flips(rows + 0.05) == 0


def test_without_a_sample_the_proof_is_weak_and_says_so(proven: Make) -> None:
    frame = mixed_frame(500, 0)
    found = proven(fitted(mixed_pipeline(LogisticRegression()), frame, mixed_labels(frame)))
    evidence = found.draft.manifest.variants[0].evidence
    assert evidence.strength is Strength.WEAK
    assert "no sample was given" in evidence.data
    assert [spec.name for spec in found.draft.manifest.signature.inputs] == list(frame.columns)


def test_what_the_source_refuses_is_refused_by_the_signature(proven: Make) -> None:
    rows, labels = load_iris(return_X_y=True)
    signature = proven(fitted(LogisticRegression(max_iter=500), rows, labels), rows).draft.manifest.signature
    with pytest.raises(InvalidInput, match="NaN"):
        signature.check_finite({"X": np.full((1, 4), np.nan)})
    with pytest.raises(InvalidInput, match="infinity"):
        signature.check_finite({"X": np.full((1, 4), np.inf)})


def test_mistakes_are_named(proven: Make) -> None:
    rows, labels = load_iris(return_X_y=True)
    model = fitted(LogisticRegression(max_iter=500), rows, labels)
    with pytest.raises(InvalidInput, match="3 columns, the model was fitted with 4"):
        proven(model, rows[:, :3])
    with pytest.raises(InvalidInput, match="not fitted"):
        proven(LogisticRegression(), rows)
    frame = mixed_frame(200, 0)
    pipeline = fitted(mixed_pipeline(LogisticRegression()), frame, mixed_labels(frame))
    with pytest.raises(InvalidInput, match="no column 'city'"):
        proven(pipeline, frame.drop(columns="city"))

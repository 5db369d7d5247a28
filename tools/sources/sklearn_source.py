"""Makes a scikit-learn or tree model for `make frameworks`: `sklearn_source.py KIND-LIBRARY FOLDER`."""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

kind, library = sys.argv[1].split("-")
folder = Path(sys.argv[2])
random = np.random.default_rng(0)
digits, digit = load_digits(return_X_y=True)
frame = load_breast_cancer(as_frame=True).data.iloc[:, :6].astype(np.float32)
frame.columns = [f"f{at}" for at in range(6)]
target = load_breast_cancer().target


def missing(given: pd.DataFrame) -> pd.DataFrame:
    """A tenth of the values gone."""
    holed = given.copy()
    holed[random.random(holed.shape) < 0.1] = np.nan
    return holed


def categories(given: pd.DataFrame) -> pd.DataFrame:
    """One column more, of colours that have to do with the first."""
    made = given.copy()
    made["colour"] = pd.Categorical(
        np.array(["red", "green", "blue"])[(given["f0"].rank().astype(int) + random.integers(0, 2, len(given))) % 3]
    )
    return made


def boosted() -> object:
    """The library's own classifier."""
    if library == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=60, max_depth=5, enable_categorical=True, n_jobs=1)
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1)
    if library == "catboost":
        from catboost import CatBoostClassifier

        return CatBoostClassifier(iterations=60, depth=5, verbose=False, thread_count=1, allow_writing_files=False)
    return HistGradientBoostingClassifier(max_iter=60, categorical_features="from_dtype" if kind == "categories" else None)


texts = [f"{'cheap pills now' if at % 2 else 'meeting at noon'} number {at % 17} {'today' if at % 3 else 'tomorrow'}" for at in range(300)]
x, y = {
    "trees": (frame, target), "missing": (missing(frame), target), "categories": (categories(frame), target),
    "text": (texts, [at % 2 for at in range(300)]), "mixed": (categories(frame).astype({"colour": str}), target),
}.get(kind, (digits.astype(np.float32), digit))  # fmt: skip
model = {
    "linear": lambda: LogisticRegression(max_iter=300),
    "mlp": lambda: MLPClassifier((32,), max_iter=80),
    "svm": SVC,
    "neighbours": KNeighborsClassifier,
    "forest": lambda: RandomForestClassifier(30),
    "boosting": lambda: make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=10, max_depth=2)),
    "text": lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()),
    "mixed": lambda: make_pipeline(
        ColumnTransformer([("words", OneHotEncoder(handle_unknown="ignore"), ["colour"])], remainder=StandardScaler()), LogisticRegression()
    ),
}.get(kind, boosted)()
if library == "catboost" and kind == "categories":
    model.set_params(cat_features=["colour"], one_hot_max_size=10)
model.fit(x, y)
file, sample = folder / "model.joblib", folder / "sample.npz"
words = ["--trust"]
if library == "xgboost":
    file, words = folder / "model.ubj", []
    model.save_model(file)
elif library == "lightgbm":
    file, words = folder / "model.txt", []
    model.booster_.save_model(file)
elif library == "catboost":
    file, words = folder / "model.cbm", []
    model.save_model(file)
else:
    joblib.dump(model, file)
if isinstance(x, pd.DataFrame):
    sample = folder / "sample.csv"
    x.to_csv(sample, index=False)
elif kind == "text":
    sample = folder / "sample.jsonl"
    sample.write_text("\n".join(json.dumps(text) for text in x))
else:
    np.savez(sample, x[:400])
print(json.dumps({"file": str(file), "sample": str(sample), "words": words}))

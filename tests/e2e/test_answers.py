"""Packed, proven, served: answers over the wire equal the source's own, on 100,000 rows that packing has not seen."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from aweigh.client import Client

AWEIGH = Path(sys.executable).parent / "aweigh"
MANY = 100_000
CHUNK = 20_000


class Home:
    """A home folder of its own, and the installed command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(folder / "home")}

    def aweigh(self, *words: str) -> Any:
        """Run a command; its JSON document."""
        done = subprocess.run([AWEIGH, *words, "--json"], capture_output=True, text=True, timeout=110, env=self.env, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def serving(self, *names: str) -> Iterator[str]:
        """The URL of a server of these models, ended by SIGTERM."""
        command = [AWEIGH, "serve", *names, "--port", "0", "--json", "--max-body-bytes", str(256 * 1024 * 1024)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line == "}\n":
                    break
            yield json.loads(text)["url"]
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def mixed_frame(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 12, rows).round(2),
            "visits": random.integers(0, 9, rows),
            "city": random.choice(["Rome", "Paris", "Oslo", "İzmir", "elsewhere"], rows),
            "member": random.random(rows) < 0.5,
        }
    )
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.1, "city"] = None
    return frame


def mixed_model(frame: pd.DataFrame) -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "visits"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city", "member"]),
        ]
    )
    known = frame["city"] != "elsewhere"
    labels = np.where(frame["age"].fillna(40) + 3 * frame["visits"] + 9 * (frame["city"] == "Rome") > 52, "yes", "no")
    return Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=300))]).fit(frame[known], labels[known])


def served_labels(url: str, name: str, frame: pd.DataFrame) -> list[Any]:
    labels: list[Any] = []
    with Client(url, timeout_s=100) as client:
        for at in range(0, len(frame), CHUNK):
            labels += client.predict(name, frame.iloc[at : at + CHUNK])["label"].tolist()
    return labels


def test_a_mixed_frame_with_strings_and_missing_values(home: Home) -> None:
    frame = mixed_frame(2000, 0)
    model = mixed_model(frame)
    joblib.dump(model, home.folder / "model.joblib")
    frame.to_parquet(home.folder / "sample.parquet")
    home.aweigh("pack", str(home.folder / "model.joblib"), "--trust", "--name", "mixed", "--sample", str(home.folder / "sample.parquet"))
    more = mixed_frame(MANY, 1)
    with home.serving("mixed") as url:
        assert served_labels(url, "mixed", more) == model.predict(more).tolist()
        with Client(url) as client:
            answered = client.predict("mixed", more.head(50))
    np.testing.assert_allclose(answered["probability_yes"], model.predict_proba(more.head(50))[:, 1], rtol=1e-6)


def matrix_rows(rows: Any, count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return rows[random.integers(0, len(rows), count)] * random.normal(1, 0.05, (count, rows.shape[1]))


def at_thresholds(forest: Any, rows: Any) -> Any:
    """Every value moved onto the nearest threshold of its column, or one unit in the last place beside it."""
    random = np.random.default_rng(4)
    moved = rows.copy()
    for column in range(rows.shape[1]):
        found = np.concatenate([tree.tree_.threshold[tree.tree_.feature == column] for tree in forest.estimators_])
        if len(found):
            picked = random.choice(found, len(rows))
            moved[:, column] = np.choose(
                random.integers(0, 3, len(rows)), [picked, np.nextafter(picked, np.inf), np.nextafter(picked, -np.inf)]
            )
    return moved


def grpc_outputs(url: str, name: str, rows: Any) -> list[dict[str, Any]]:
    with Client(url.replace("http", "grpc"), timeout_s=100) as client:
        return [dict(client.infer(name, {"X": rows[at : at + CHUNK]})) for at in range(0, len(rows), CHUNK)]


def test_a_forest_with_rows_at_its_thresholds(home: Home) -> None:
    rows, labels = load_wine(return_X_y=True)
    forest = RandomForestClassifier(60, random_state=0).fit(rows, labels)
    skops.io.dump(forest, home.folder / "model.skops")
    np.save(home.folder / "sample.npy", rows)
    home.aweigh("pack", str(home.folder / "model.skops"), "--trust", "--name", "forest", "--sample", str(home.folder / "sample.npy"))
    more = np.concatenate([matrix_rows(rows, MANY // 2, 1), at_thresholds(forest, matrix_rows(rows, MANY // 2, 2))])
    with home.serving("forest") as url:
        answered = grpc_outputs(url, "forest", more)
    assert np.array_equal(np.concatenate([answer["label"] for answer in answered]), forest.predict(more))
    np.testing.assert_allclose(np.concatenate([answer["probabilities"] for answer in answered]), forest.predict_proba(more), atol=1e-6)


@pytest.mark.slow
def test_a_text_pipeline(home: Home) -> None:
    random = np.random.default_rng(0)
    words = np.array(["good", "bad", "awful", "great", "nice", "poor", "Straße", "naïve", "not", "very", "42", "don't"])

    def texts(count: int) -> list[str]:
        return [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(count)]

    sample = texts(600)
    labels = ["up" if text.count("good") + text.count("great") > text.count("bad") else "down" for text in sample]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()).fit(sample, labels)
    joblib.dump(model, home.folder / "text.pkl")
    pd.DataFrame({"text": sample}).to_csv(home.folder / "sample.csv", index=False)
    home.aweigh("pack", str(home.folder / "text.pkl"), "--trust", "--name", "mood", "--sample", str(home.folder / "sample.csv"))
    more = texts(MANY)
    with home.serving("mood") as url:
        assert served_labels(url, "mood", pd.DataFrame({"text": more})) == model.predict(more).tolist()


def test_a_regressor(home: Home) -> None:
    rows, target = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestRegressor(40, random_state=0)).fit(rows, target)
    joblib.dump(model, home.folder / "model.joblib")
    np.save(home.folder / "sample.npy", rows)
    home.aweigh("pack", str(home.folder / "model.joblib"), "--trust", "--name", "risk", "--sample", str(home.folder / "sample.npy"))
    more = matrix_rows(rows, MANY, 1)
    with home.serving("risk") as url:
        answered = np.concatenate([answer["prediction"].ravel() for answer in grpc_outputs(url, "risk", more)])
    np.testing.assert_allclose(answered, model.predict(more), rtol=1e-6)


@pytest.mark.slow
def test_histogram_boosting_with_categories(home: Home) -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=3000), random.integers(0, 12, 3000), random.normal(size=3000)])
    rows[random.random(3000) < 0.1, 0] = np.nan
    labels = (np.isin(rows[:, 1], [1, 4, 7, 9]) ^ (np.nan_to_num(rows[:, 0]) > 0.3)).astype(int)
    model = HistGradientBoostingClassifier(categorical_features=[1], max_iter=60, random_state=0).fit(rows, labels)
    joblib.dump(model, home.folder / "model.joblib")
    np.save(home.folder / "sample.npy", rows)
    packed = home.aweigh(
        "pack", str(home.folder / "model.joblib"), "--trust", "--name", "boost", "--sample", str(home.folder / "sample.npy")
    )
    assert packed["manifest"]["variants"][0]["runtime"] == "sklearn"  # its conversion is known to answer wrongly
    more = np.column_stack([random.normal(size=MANY), random.integers(0, 12, MANY), random.normal(size=MANY)])
    more[random.random(MANY) < 0.1, 0] = np.nan
    with home.serving("boost") as url:
        answered = np.concatenate([answer["label"] for answer in grpc_outputs(url, "boost", more)])
    assert np.array_equal(answered, model.predict(more))


def dynamic_onnx() -> onnx.ModelProto:
    """Mean over a dynamic axis, then a small matrix: [batch, steps, 3] -> [batch, 2]."""
    weights = helper.make_tensor("W", TensorProto.FLOAT, [3, 2], [0.5, -1.0, 2.0, 0.25, -0.75, 1.5])
    nodes = [
        helper.make_node("ReduceMean", ["X"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "W"], ["Y"]),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", "steps", 3])]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 2])]
    graph = helper.make_graph(nodes, "dynamic", inputs, outputs, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("ask", [lambda url: url, lambda url: url.replace("http", "grpc")], ids=["rest", "grpc"])
def test_an_onnx_model_with_dynamic_axes(home: Home, ask: Callable[[str], str]) -> None:
    model = dynamic_onnx()
    onnx.save(model, home.folder / "dynamic.onnx")
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    random = np.random.default_rng(0)
    with home.serving(str(home.folder / "dynamic.onnx")) as url, Client(ask(url)) as client:
        for batch, steps in ((1, 1), (3, 7), (16, 2), (1, 40)):
            rows = random.normal(size=(batch, steps, 3)).astype(np.float32)
            answered = client.infer("dynamic", {"X": rows})["Y"]
            np.testing.assert_allclose(answered, rows.mean(axis=1) @ weights, rtol=1e-5, atol=1e-6)

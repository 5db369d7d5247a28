"""`aweigh evaluate` over real packages: figures equal scikit-learn's on the source's own answers; gates, files of every kind, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import aweigh
from aweigh.core.errors import InvalidInput

AWEIGH = Path(sys.executable).parent / "aweigh"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a classifier and a regressor, and their test files beside it."""
    folder = tmp_path_factory.mktemp("evaluate")
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    even = np.arange(len(X)) % 2 == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X[even], y[even])
    aweigh.pack(model, "tumour", sample=X[even], home=str(folder / "home"))
    part = X[~even].assign(benign=y[~even], site=np.where(np.arange((~even).sum()) % 3, "north", "south"))
    part.to_csv(folder / "test.csv", index=False)
    chances = model.predict_proba(X[~even])
    expected = {
        "accuracy": metrics.accuracy_score(y[~even], chances.argmax(axis=1)),
        "log_loss": metrics.log_loss(y[~even], chances),
        "roc_auc": metrics.roc_auc_score(y[~even], chances[:, 1]),
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    D, d = load_diabetes(return_X_y=True)
    aweigh.pack(LinearRegression().fit(D, d), "sugar", sample=D, home=str(folder / "home"))
    np.savez(folder / "sugar.npz", X=D, right=d)
    np.save(folder / "right.npy", d)
    return folder


def run(home: Path, *words: str) -> tuple[int, Any]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home / "home")}
    done = subprocess.run(
        [AWEIGH, "evaluate", *words, "--resamples", "50", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        env=env,
        cwd=home,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_figures_are_those_of_the_source(home: Path) -> None:
    code, found = run(home, "tumour", "test.csv", "--labels", "benign", "--slice", "site", "--html", "page.html")
    assert code == 0
    figures = found["candidates"][0]["metrics"]
    for name, value in json.loads((home / "expected.json").read_text()).items():
        assert figures[name]["value"] == pytest.approx(value, rel=1e-5)
        assert figures[name]["low"] <= value <= figures[name]["high"]
    frame = pd.read_csv(home / "test.csv")
    assert {one["value"]: one["rows"] for one in found["candidates"][0]["slices"]} == frame.groupby("site").size().to_dict()
    page = (home / "page.html").read_text()
    assert "<svg" in page
    assert "tumour:1" in page


def test_a_requirement_that_fails_is_exit_code_1(home: Path) -> None:
    code, found = run(home, "tumour", "test.csv", "--labels", "benign", "--require", "accuracy >= 0.5", "--require", "f1[1] >= 0.999")
    assert code == 1
    assert [one["passed"] for one in found["verdicts"]] == [True, False]


@pytest.mark.parametrize("labels", ["right", "right.npy"])
def test_arrays(home: Path, labels: str) -> None:
    code, found = run(home, "sugar", "sugar.npz", "--labels", labels)
    assert (code, found["task"], found["by"]) == (0, "regression", "rmse")
    assert found["candidates"][0]["metrics"]["r2"]["value"] == pytest.approx(0.5177, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("tumour", "test.csv", "--labels", "benin"), "did you mean|its columns|neither a file nor a column", 2),
        (("tumour", "test.csv", "--labels", "benign", "--slice", "sight"), "no such column", 2),
        (("tumour", "test.csv", "--labels", "benign", "--require", "f1 > 1"), "not a requirement", 2),
        (("tumour", "test.csv", "--labels", "right.npy"), "have labels", 2),
        (("tumour", "test.csv", "--labels", "site"), "none of the labels", 2),
        (("tumour", "test.csv", "--labels", "benign", "--html", "nowhere/page.html"), "no folder", 3),
        (("nobody", "test.csv", "--labels", "benign"), "nobody", 3),
    ],
)
def test_mistakes_are_named(home: Path, words: tuple[str, ...], says: str, code: int) -> None:
    found_code, found = run(home, *words)
    assert found_code == code
    assert any(part in found["error"]["message"] + found["error"]["hint"] for part in says.split("|"))


def test_python_takes_frames(home: Path) -> None:
    frame = pd.read_csv(home / "test.csv")
    found = aweigh.evaluate("tumour", frame, labels=frame["benign"], slices=["site"], resamples=20, home=str(home / "home"))
    assert found.passed
    assert found.rows == len(frame)
    with pytest.raises(InvalidInput, match="resamples"):
        aweigh.evaluate("tumour", frame, labels="benign", resamples=1, home=str(home / "home"))

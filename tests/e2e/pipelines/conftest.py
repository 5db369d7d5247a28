"""A store with three models of one data set, and a pipeline of all three with a Python step, a branch and two combinations."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from tests.serving.served import Served

import aweigh

FUNCTIONS = '''
import time

import numpy as np


def scale(tensors):
    """Hundredths become units; a row that begins with -7 is one that nobody expected, one with -8 takes its time."""
    raw = tensors["raw"]
    if (raw[:, 0] == -7).any():
        raise ValueError("a row of minus seven")
    if (raw[:, 0] == -8).any():
        time.sleep(0.6)
    return {"X": (raw / np.float32(100)).astype(np.float32)}
'''
CHECKOUT = """
description = "Two models, and a third for those that they find suspicious"

[[step]]
name = "scale"
function = "features.py:scale"
inputs = ["raw"]

[[step]]
name = "linear"
model = "linear"
inputs = "scale"

[[step]]
name = "tree"
model = "tree"
inputs = "scale.X"

[[step]]
name = "both"
combine = "mean"
inputs = ["linear.probabilities", "tree.probabilities"]

[[step]]
name = "deep"
model = "deep:1"
when = "both[1] > 0.5"
inputs = { X = "scale.X" }

[[step]]
name = "answer"
combine = "join"
inputs = ["deep.label", "tree.label"]

[outputs]
label = "answer"
probabilities = "both"
"""
VOTES = """
[[step]]
name = "linear"
model = "linear"

[[step]]
name = "tree"
model = "tree"

[[step]]
name = "deep"
model = "deep"

[[step]]
name = "vote"
combine = "vote"
inputs = ["linear.label", "tree.label", "deep.label"]
"""
Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def data() -> np.ndarray:
    features, _ = load_breast_cancer(return_X_y=True)
    return features[:, :6].astype(np.float32)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, data: np.ndarray) -> Path:
    """Where the files of the pipelines lie; its `home` is the store."""
    made = tmp_path_factory.mktemp("pipelines")
    _, labels = load_breast_cancer(return_X_y=True)
    models = {
        "linear": LogisticRegression(max_iter=5000),
        "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
        "deep": DecisionTreeClassifier(max_depth=8, random_state=1),
    }
    for name, estimator in models.items():
        aweigh.pack(estimator.fit(data, labels), name, sample=data, labels=labels, home=str(made / "home"))
    (made / "features.py").write_text(FUNCTIONS)
    (made / "checkout.toml").write_text(CHECKOUT)
    (made / "votes.toml").write_text(VOTES)
    np.save(made / "raw.npy", data * np.float32(100))
    aweigh.pack(str(made / "checkout.toml"), "checkout", sample=str(made / "raw.npy"), trust=True, home=str(made / "home"))
    aweigh.pack(str(made / "votes.toml"), "votes", home=str(made / "home"))
    return made


@pytest.fixture(scope="session")
def home(folder: Path) -> Path:
    return folder / "home"


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A store of its own, to change."""
    return shutil.copytree(home, tmp_path / "home")


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    """Starts servers, on the store that is shared if no other is named, that end with the test."""
    started: list[Served] = []

    def start(*words: str, store: Path = home) -> Served:
        started.append(Served(store, *words))
        return started[-1]

    yield start
    for server in started:
        assert server.end() == 0, server.log


@pytest.fixture(scope="session")
def expected(home: Path, data: np.ndarray) -> dict[str, np.ndarray]:
    """What the parts answer, composed by hand."""
    scaled = ((data * np.float32(100)) / np.float32(100)).astype(np.float32)
    found = {}
    for name in ("linear", "tree", "deep"):
        with aweigh.load(name, home=str(home)) as model:
            found[name] = model.infer({"X": scaled})
    linear, tree = (found[name]["probabilities"].astype(np.float64) for name in ("linear", "tree"))
    both = (linear + tree) / np.float64(2)
    suspicious = both[:, 1] > 0.5
    assert suspicious.any()
    assert not suspicious.all()
    label = np.where(suspicious, found["deep"]["label"], found["tree"]["label"])
    said = np.stack([found[name]["label"] for name in found])
    votes = (said.sum(axis=0) > 1).astype(np.int64)
    return {"label": label, "probabilities": both, "votes": votes}

"""`aweigh diff` over real packages: on golden sets, on data, bounds, a page; and two that have nothing in common."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.models import WEIGHTS, linear, words

import aweigh

AWEIGH = Path(sys.executable).parent / "aweigh"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of `linear`, the second with one weight turned round, and `words`; rows beside them."""
    folder = tmp_path_factory.mktemp("diff")
    sample = np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)
    other = WEIGHTS.copy()
    other[0, 0] = -1
    for weights in (WEIGHTS, other):
        aweigh.pack(str(linear(folder, weights)), "linear", sample=sample, home=str(folder / "home"), tolerances={"scores": (1e-3, 1e-4)})
    aweigh.pack(str(words(folder)), "words", home=str(folder / "home"))
    np.save(folder / "rows.npy", sample)
    return folder


def run(home: Path, *words: str) -> tuple[int, Any]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home / "home")}
    done = subprocess.run([AWEIGH, "diff", *words, "--json"], capture_output=True, text=True, timeout=60, env=env, cwd=home, check=False)
    return done.returncode, json.loads(done.stdout)


def test_on_data(home: Path) -> None:
    rows = np.load(home / "rows.npy")
    code, found = run(home, "linear:1", "linear:2", "rows.npy", "--html", "page.html", "--max-flips", "100%")
    assert (code, found["rows"]) == (0, 50)
    outputs = {one["name"]: one for one in found["outputs"]}
    assert outputs["scores"]["max_abs"] == pytest.approx(2 * np.abs(rows[:, 0]).max(), rel=1e-4)
    assert found["worst"][0]["output"] in {"scores", "best"}
    assert 0 < found["flips"] < 50
    assert set(found["latency_us"]) == {"linear:1", "linear:2"}
    assert "linear:2" in (home / "page.html").read_text()


def test_on_golden_sets_and_bounds(home: Path) -> None:
    code, found = run(home, "linear:1", "linear:1", "--max-difference", "0", "--max-flips", "0%")
    assert (code, found["flips"], found["outputs"][0]["rows_changed"]) == (0, 0, 0)
    code, found = run(home, "linear:1", "linear:2", "--max-difference", "0.01")
    assert code == 1
    assert not found["bounds"][0]["passed"]


def test_nothing_in_common(home: Path) -> None:
    code, found = run(home, "linear", "words")
    assert code == 2
    assert "no output in common" in found["error"]["message"]


def test_bounds_given_when_packed_stand_in_signature_and_evidence(home: Path) -> None:
    package = aweigh.load("linear:1", home=str(home / "home"))
    spec = package.signature.with_role("") or package.signature.outputs[1]
    package.close()
    tolerances = {one.name: one.tolerance for one in package.signature.outputs}
    assert spec is not None
    assert tolerances["best"] is None
    assert tolerances["scores"] is not None
    assert tolerances["scores"].rtol == 1e-3
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home / "home")}
    shown = subprocess.run([AWEIGH, "show", "linear:1", "--json"], capture_output=True, text=True, timeout=60, env=env, check=True).stdout
    assert '"scores.rtol": 0.001' in shown
    assert "bounds given when packed: scores" in shown

"""`aweigh profile` over real packages: what it tells, the trace it writes, and the mistakes a person makes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.models import linear

import aweigh

AWEIGH = Path(sys.executable).parent / "aweigh"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    sample = np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)
    aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    np.save(folder / "rows.npy", sample)
    np.save(folder / "empty.npy", sample[:0])
    return folder


def run(home: Path, *words: str, as_json: bool = True) -> tuple[int, Any]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home / "home")}
    command = [AWEIGH, "profile", *words, "--time", "0.1", *(["--json"] if as_json else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd=home, check=False)
    return done.returncode, json.loads(done.stdout) if as_json else done.stdout


def test_of_golden_rows_and_of_data(home: Path) -> None:
    code, found = run(home, "linear", "--rows", "7", "--trace", "events.json")
    assert (code, found["model"], found["profile"]["rows"]) == (0, "linear:1", 7)
    assert found["data"] == "golden case 'sample'"
    assert {"MatMul", "Gemm"} & {kind["kind"] for kind in found["profile"]["kinds"]}
    assert json.loads((home / "events.json").read_text())
    code, found = run(home, "linear", "rows.npy")
    assert (code, found["profile"]["rows"]) == (0, 1)
    assert "rows.npy" in found["data"]


def test_as_a_person_reads_it(home: Path) -> None:
    code, text = run(home, "linear:1", as_json=False)
    assert code == 0
    assert "a call takes" in text
    assert "billion float32 operations" in text


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nothing",), "model-not-found"),
        (("linear", "--rows", "0"), "invalid-input"),
        (("linear", "--variant", "fast"), "not-found"),
        (("linear", "absent.npy"), "file-not-found"),
        (("linear", "empty.npy"), "invalid-input"),
        (("linear", "--trace", "absent/events.json"), "file-not-found"),
    ],
    ids=["no model", "no rows", "no variant", "no data", "data of no rows", "no folder for the trace"],
)
def test_mistakes(home: Path, words: tuple[str, ...], error: str) -> None:
    code, found = run(home, *words)
    assert code != 0
    assert found["error"]["code"] == error

"""A model folder for MLflow: read as YAML, packed again by what aweigh reads of such folders, and loaded and asked by MLflow itself."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.deploying.packages import ROWS, deploy
from tests.installs import run

import aweigh
from aweigh.core.errors import Unsupported

SIDE = """
import json
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd

folder, cases, out = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
asked = json.loads(Path(cases).read_text(encoding="utf-8"))
answers = []
for each in asked:
    if "columns" in each:
        frame = pd.DataFrame(each["data"], columns=each["columns"])
        answers.append({name: values.tolist() for name, values in model.predict(frame).items()})
    else:
        given = model.predict({name: np.asarray(value, dtype=each["dtype"]) for name, value in each["inputs"].items()})
        answers.append({name: np.asarray(value).tolist() for name, value in given.items()})
example = model.input_example
Path(out).write_text(json.dumps({"answers": answers, "example": example is not None}), encoding="utf-8")
"""
"""Asks a folder through MLflow itself: argument 1 the folder, 2 a file of cases, 3 where the answers go."""


def test_the_folder_says_what_mlflow_reads(home: Path, tmp_path: Path) -> None:
    done = deploy(home, "linear", "mlflow", tmp_path / "out")
    assert not done.findings
    folder = tmp_path / "out" / "linear"
    said = yaml.safe_load((folder / "MLmodel").read_text())
    assert said["flavors"]["onnx"]["data"] == said["flavors"]["python_function"]["data"] == "model.onnx"
    assert [each["name"] for each in json.loads(said["signature"]["inputs"])] == ["x_0", "x_1", "x_2", "x_3"]
    assert json.loads(said["signature"]["outputs"]) == [{"type": "array", "items": {"type": "double"}, "name": "y", "required": True}]
    example = json.loads((folder / "input_example.json").read_text())
    assert len(example["data"]) == 5
    assert yaml.safe_load((folder / "conda.yaml").read_text())["variables"] == {"ORT_DISABLE_TELEMETRY": "1"}
    assert "onnxruntime==" in (folder / "requirements.txt").read_text()


def test_a_model_without_rows_is_asked_with_tensors(home: Path, tmp_path: Path) -> None:
    deploy(home, "fixed", "mlflow", tmp_path / "out", set=("python=3.11.9",))
    said = yaml.safe_load((tmp_path / "out" / "fixed" / "MLmodel").read_text())
    kind: dict[str, Any] = json.loads(said["signature"]["inputs"])[0]
    assert kind == {"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [2, 4]}}
    assert said["flavors"]["python_function"]["python_version"] == "3.11.9"


@pytest.mark.parametrize("python", ["3.12; id", "3", "3.x", "$(id)", "3.12\n"])
def test_a_python_that_is_none_is_refused(home: Path, tmp_path: Path, python: str) -> None:
    with pytest.raises(Unsupported, match="no version of Python"):
        deploy(home, "linear", "mlflow", tmp_path / "out", set=(f"python={python}",))


def test_what_mlflow_could_not_load_is_found(home: Path, tmp_path: Path) -> None:
    from aweigh.app.deploy import DeployOptions, _job, _target
    from aweigh.app.models import open_model
    from aweigh.core.protocols import quiet
    from aweigh.core.settings import Settings

    deploy(home, "linear", "mlflow", tmp_path / "out")
    settings, target = Settings(home=str(home)), _target("mlflow")
    job = _job(settings, open_model(settings, "linear"), target, DeployOptions(target="mlflow"), quiet)
    place = tmp_path / "out" / "linear" / "MLmodel"
    before = place.read_text()
    for change, said in (
        ("data: model.onnx", "not in the folder"),
        ("flavors:", "must hold onnx"),
        ('signature:\n  inputs: "[', "is no JSON"),
    ):
        place.write_text(before.replace(change, {"data: model.onnx": "data: ../x", "flavors:": "tastes:"}.get(change, change + "{"), 1))
        assert any(said in finding.message for finding in target.check(tmp_path / "out", job)), change
    place.unlink()
    place.symlink_to("/etc/hostname")
    assert any("a link" in finding.message for finding in target.check(tmp_path / "out", job))


@pytest.mark.slow
@pytest.mark.index
@pytest.mark.timeout(600)
def test_mlflow_itself_loads_it_and_answers_as_the_package(home: Path, tmp_path: Path) -> None:
    for name in ("linear", "fixed"):
        deploy(home, name, "mlflow", tmp_path / "out" / name)
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv")
    run(uv, "pip", "install", "-q", "--python", python, "mlflow-skinny==3.17.2", "onnxruntime", "onnx", "pandas")
    columns = [f"x_{at}" for at in range(4)]
    cases: dict[str, list[dict[str, Any]]] = {
        "linear": [{"columns": columns, "data": ROWS.astype(float).tolist()}],
        "fixed": [{"inputs": {"x": ROWS[:2].tolist()}, "dtype": "float32"}],
    }
    (tmp_path / "side.py").write_text(SIDE)
    for name, asked in cases.items():
        (tmp_path / "asked.json").write_text(json.dumps(asked))
        run(python, tmp_path / "side.py", tmp_path / "out" / name / name, tmp_path / "asked.json", tmp_path / "answers.json")
        said = json.loads((tmp_path / "answers.json").read_text())
        rows = ROWS if name == "linear" else ROWS[:2]
        with aweigh.load(name, home=str(home)) as model:
            expected = model.infer({"x": rows})["y"]
        np.testing.assert_allclose(said["answers"][0]["y"], expected, rtol=1e-6)
        assert said["example"]
    package = aweigh.pack(tmp_path / "out" / "linear" / "linear", "back", home=str(tmp_path / "home"))
    assert package.manifest.provenance.source_layout == "MLflow model, flavour onnx: model.onnx"
    with aweigh.load("back", home=str(tmp_path / "home")) as model:
        answered = next(iter(model.infer({model.signature.inputs[0].name: ROWS}).values()))
    with aweigh.load("linear", home=str(home)) as model:
        np.testing.assert_array_equal(answered, model.infer({"x": ROWS})["y"])

"""Folders of other tools packed whole: what they say of the model is held against it, and kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from aweigh.core.errors import InvalidFile, ProofFailed
from aweigh.core.evidence import Strength
from aweigh.core.package import PackageManifest
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

ROWS, LABELS = load_iris(return_X_y=True)
NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
value = helper.make_tensor_value_info


def packed(path: Path, **said: Any) -> PackageManifest:
    manifest = pack(path, PackRequest(prove=prove, **said)).manifest
    assert manifest.variants[0].evidence is not None
    assert manifest.variants[0].evidence.passed
    return manifest


def linear() -> Any:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "linear",
        [value("x", TensorProto.FLOAT, ["N", 4])],
        [value("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def schema(names: list[str]) -> str:
    return json.dumps([{"type": "double", "name": name, "required": True} for name in names])


def mlflow(root: Path, flavour: str, key: str, file: str, names: list[str] = NAMES) -> None:
    (root / "MLmodel").write_text(
        f"artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.{flavour}\n  {flavour}:\n    {key}: {file}\n"
        f"saved_input_example_info:\n  artifact_path: input_example.json\n  pandas_orient: split\n  type: dataframe\n"
        f"signature:\n  inputs: '{schema(names)}'\n"
    )
    (root / "input_example.json").write_text(json.dumps({"columns": names, "data": ROWS[::10].tolist()}))


def test_mlflow_sklearn_gets_its_columns_and_its_example(tmp_path: Path) -> None:
    joblib.dump(LogisticRegression(max_iter=500).fit(ROWS, LABELS), tmp_path / "model.pkl")
    mlflow(tmp_path, "sklearn", "pickled_model", "model.pkl")
    manifest = packed(tmp_path, trust=True)
    assert [column.name for column in manifest.signature.columns] == NAMES
    assert manifest.provenance.source_layout == "MLflow model, flavour sklearn: model.pkl"
    assert manifest.provenance.source_file == "model.pkl"
    evidence = manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.strength is Strength.FULL
    assert "15 rows of input_example" in evidence.data


def test_mlflow_xgboost_and_a_signature_of_another_model(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=5, max_depth=2).fit(ROWS, LABELS)
    model.save_model(tmp_path / "model.ubj")
    mlflow(tmp_path, "xgboost", "data", "model.ubj")
    assert [column.name for column in packed(tmp_path).signature.columns] == NAMES
    mlflow(tmp_path, "xgboost", "data", "model.ubj", names=[*NAMES, "more"])
    (tmp_path / "input_example.json").write_text("{}")
    with pytest.raises(InvalidFile, match="MLmodel names 5 columns, and the model takes 4"):
        packed(tmp_path)


CONFIG = 'platform: "onnxruntime_onnx" max_batch_size: 4 input [ {{ name: "{name}" data_type: {kind} dims: [ {dims} ] }} ] output {{ name: "y" data_type: TYPE_FP32 dims: 3 }}'
WRONG = {
    "name": ("z", "TYPE_FP32", "4", "names the input 'z'"),
    "type": ("x", "TYPE_FP64", "4", "is FP64"),
    "dims": ("x", "TYPE_FP32", "5", r"has dims \[5\]"),
}


def triton(root: Path, name: str, kind: str, dims: str) -> Path:
    (root / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(linear(), root / "1" / "model.onnx")
    (root / "config.pbtxt").write_text(CONFIG.format(name=name, kind=kind, dims=dims))
    return root


def test_triton_configuration_agrees_with_its_model(tmp_path: Path) -> None:
    assert packed(triton(tmp_path, "x", "TYPE_FP32", "4")).provenance.source_layout == "Triton model, version 1: model.onnx"


@pytest.mark.parametrize("what", WRONG)
def test_triton_configuration_of_another_model(tmp_path: Path, what: str) -> None:
    *said, words = WRONG[what]
    with pytest.raises(InvalidFile, match=words):
        packed(triton(tmp_path, *said))


def model_zoo(root: Path, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda answers: answers) -> Path:
    onnx.save(linear(), root / "model.onnx")
    for number in range(2):
        folder = root / f"test_data_set_{number}"
        folder.mkdir()
        rows = np.random.default_rng(number).normal(size=(5, 4)).astype(np.float32)
        (folder / "input_0.pb").write_bytes(numpy_helper.from_array(rows, "x").SerializeToString())
        (folder / "output_0.pb").write_bytes(numpy_helper.from_array(change(rows @ WEIGHTS), "y").SerializeToString())
    return root


def test_model_zoo_data_become_golden_cases_and_the_sample(tmp_path: Path) -> None:
    manifest = packed(model_zoo(tmp_path))
    assert [case.name for case in manifest.golden if case.name.startswith("test_data")] == ["test_data_set_0", "test_data_set_1"]
    evidence = manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.strength is Strength.FULL


def test_model_zoo_outputs_that_the_model_does_not_give(tmp_path: Path) -> None:
    def swapped(answers: Any) -> Any:
        return answers[:, ::-1].copy()

    with pytest.raises(ProofFailed, match="output 'y' that test_data_set_0 states"):
        packed(model_zoo(tmp_path, swapped))


def test_model_zoo_data_behind_a_link(tmp_path: Path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    model_zoo(root)
    (root / "test_data_set_0" / "output_0.pb").unlink()
    (root / "test_data_set_0" / "output_0.pb").symlink_to("/etc/hostname")
    with pytest.raises(InvalidFile, match="a link"):
        packed(root)


def test_a_plain_folder_and_a_folder_whose_model_is_a_pickle(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "model.onnx")
    (tmp_path / "README.md").write_text("a model")
    assert packed(tmp_path).provenance.source_layout == "folder: model.onnx"

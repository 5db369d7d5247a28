"""Files packed through the child: trust, hostile pickles and skops files, hooks, and what crosses back."""

import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from onnx import helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from aweigh.core.errors import InvalidFile, InvalidInput, NotTrusted, ProofFailed
from aweigh.packing import PackRequest, pack
from aweigh.runtimes import load_session
from aweigh.runtimes.hooks import with_hooks
from aweigh.verify import prove

ROWS, LABELS = load_iris(return_X_y=True)


class Touch:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.sentinel),)


@pytest.fixture(scope="module")
def model() -> Any:
    return LogisticRegression(max_iter=500).fit(ROWS, LABELS)


@pytest.mark.parametrize("name", ["model.pkl", "model.onnx"])
def test_an_untrusted_pickle_runs_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Touch(tmp_path / "sentinel")))
    with pytest.raises(NotTrusted, match=r"posix\.mkdir") as caught:
        pack(tmp_path / name, PackRequest(prove=prove))
    assert "--trust" in caught.value.hint
    assert "skops" in caught.value.hint
    assert not (tmp_path / "sentinel").exists()


def test_a_trusted_joblib_file_is_packed_in_a_child(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib", compress=3)
    np.save(tmp_path / "x.npy", ROWS)
    steps: list[str] = []
    request = PackRequest(
        prove=prove,
        sample=tmp_path / "x.npy",
        labels=LABELS,
        trust=True,
        licence="Apache-2.0",
        command="aweigh pack model.joblib",
        progress=lambda step, done=0, total=0: steps.append(step),
    )
    draft = pack(tmp_path / "model.joblib", request)
    manifest = draft.manifest
    assert manifest.variants[0].runtime == "onnxruntime"
    assert not manifest.contains_pickle
    assert manifest.provenance.trusted
    assert manifest.provenance.source_file == "model.joblib"
    assert manifest.provenance.source_digest.startswith("sha256:")
    assert manifest.provenance.command == "aweigh pack model.joblib"
    assert manifest.provenance.versions["scikit-learn"]
    assert manifest.licence == "Apache-2.0"
    assert manifest.metrics["accuracy"] > 0.9
    assert all(isinstance(data, bytes) for data in draft.files.values())
    assert {case.file for case in manifest.golden} <= set(draft.files)
    assert "asking the source model" in steps


@pytest.mark.slow
def test_a_skops_file_needs_no_trust_for_known_types_and_names_the_others(tmp_path: Path, model: Any) -> None:
    skops.io.dump(model, tmp_path / "model.skops")
    manifest = pack(tmp_path / "model.skops", PackRequest(prove=prove, sample=ROWS)).manifest
    assert not manifest.contains_pickle
    skops.io.dump(RandomForestClassifier(3).fit(ROWS, LABELS), tmp_path / "forest.skops")
    with pytest.raises(NotTrusted, match=r"sklearn\.tree\._tree\.Tree"):
        pack(tmp_path / "forest.skops", PackRequest(prove=prove, sample=ROWS))
    assert pack(tmp_path / "forest.skops", PackRequest(prove=prove, sample=ROWS, trust=True)).manifest.variants[0].runtime == "onnxruntime"


def test_a_zip_with_a_pickle_inside_is_no_skops_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("model.pkl", pickle.dumps(Touch(tmp_path / "sentinel")))
    with pytest.raises(InvalidFile, match="does not belong"):
        pack(tmp_path / "model.skops", PackRequest(prove=prove, trust=True))
    with zipfile.ZipFile(tmp_path / "bomb.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 50_000_000)
    with pytest.raises(InvalidFile, match="unpacks to"):
        pack(tmp_path / "bomb.skops", PackRequest(prove=prove))
    assert not (tmp_path / "sentinel").exists()


def test_a_damaged_trusted_file_is_an_invalid_file(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    whole = (tmp_path / "model.joblib").read_bytes()
    (tmp_path / "model.joblib").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidFile):
        pack(tmp_path / "model.joblib", PackRequest(prove=prove, trust=True))


HOOKS = """
import numpy as np
import onnx
import pandas as pd

def pre(tensors):
    return {"X": np.concatenate([tensors["length"], tensors["width"], tensors["length"] * 2, tensors["width"] * 2], axis=1)}

def post(tensors):
    return {"sure": tensors["probabilities"].max(axis=1), "label": tensors["label"]}
"""


def test_hooks_ride_along_and_stand_around_the_session(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "iris_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    skops.io.dump(model, tmp_path / "model.skops")
    sample = {"length": ROWS[:, 0], "width": ROWS[:, 1]}
    request = PackRequest(prove=prove, sample=sample, pre="iris_hooks:pre", post="iris_hooks:post", work=tmp_path / "work")
    draft = pack(tmp_path / "model.skops", request)
    manifest = draft.manifest
    assert [spec.name for spec in manifest.signature.inputs] == ["length", "width"]
    assert [spec.name for spec in manifest.signature.outputs] == ["sure", "label"]
    assert [spec.name for spec in manifest.session_signature.inputs] == ["X"]
    assert [column.name for column in manifest.signature.columns] == ["length", "width"]
    assert manifest.hooks.files == ("hooks/iris_hooks.py",)

    def place(name: str) -> Path:
        found = draft.files[name]
        assert isinstance(found, Path)
        return found

    session = with_hooks(load_session(manifest.variants[0], manifest.session_signature, place), manifest.hooks, place)
    try:
        sure, label = session.run({"length": ROWS[:5, :1], "width": ROWS[:5, 1:2]})
    finally:
        session.close()
    inner = np.stack([ROWS[:5, 0], ROWS[:5, 1], ROWS[:5, 0] * 2, ROWS[:5, 1] * 2], axis=1)
    np.testing.assert_allclose(sure, model.predict_proba(inner).max(axis=1), rtol=1e-6)
    assert np.array_equal(label, model.predict(inner))


DICING = """
import random

def post(tensors):
    return {"sure": tensors["probabilities"].max(axis=1) + random.random()}
"""


def test_hooks_that_answer_otherwise_in_the_package_are_refused(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dicing_hooks.py").write_text(DICING)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProofFailed, match="with its hooks around it the model does not answer as it did"):
        pack(model, PackRequest(prove=prove, sample=ROWS, post="dicing_hooks:post"))
    sys.modules.pop("dicing_hooks", None)


def test_hooks_around_a_model_without_a_batch_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its only size is kept, however many rows that is; the package can be loaded."""
    taken, given = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [100, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [taken], [given])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "fixed_hooks.py").write_text("def post(tensors):\n    return {'out': tensors['y'] * 2}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for sample in (np.random.default_rng(0).random((100, 3), dtype=np.float32), np.ones((3, 100, 3), dtype=np.float32)):
        draft = pack(tmp_path / "m.onnx", PackRequest(prove=prove, sample=sample, post="fixed_hooks:post"))
        signature = draft.manifest.signature
        assert [(spec.name, spec.shape) for spec in (*signature.inputs, *signature.outputs)] == [("x", (100, 3)), ("out", (100, 3))]


def test_labels_may_be_a_column_of_a_folders_name(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    skops.io.dump(model, tmp_path / "model.skops")
    frame = pd.DataFrame(ROWS, columns=list("abcd")).assign(target=model.predict(ROWS))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path)
    draft = pack("model.skops", PackRequest(prove=prove, sample="rows.csv", labels="target"))
    assert draft.manifest.metrics["accuracy"] == 1.0


def test_hooks_that_cannot_be_used_are_named(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_hooks.py").write_text("def pre(tensors):\n    raise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for pre, words in (
        ("nothing", "not of the form"),
        ("absent_module:f", "cannot be imported"),
        ("broken_hooks:absent", "has no function"),
        ("broken_hooks:pre", "hook broken_hooks:pre failed: RuntimeError: no"),
        ("os.path:join", "hook os.path:join failed"),
    ):
        with pytest.raises(InvalidInput, match=words):
            pack(model, PackRequest(prove=prove, sample=ROWS, pre=pre))
    sys.modules.pop("broken_hooks", None)

"""Conversions that are known to go wrong without an error: each is repaired or refused here, none is served wrong.

| trap | what becomes of it | tested in |
|---|---|---|
| HistGradientBoosting with categorical features | not converted, scikit-learn answers | here |
| StandardScaler before XGBoost | repaired: true division, columns joined in float64 | here; tests/contract/packing/test_trees.py, test_pipelines |
| float64 thresholds | repaired: trees that compare in float64 | test_sklearn.py, test_a_forest_keeps_every_label_at_its_thresholds |
| XGBoost feature names | repaired: columns by name, in the model's order | here |
| multi-valued CatBoost categories | not converted, CatBoost answers | test_trees.py, test_statistics_of_categories_are_served_by_catboost_alone |
| TF-IDF locale | repaired: lowered before the graph, tokens in Unicode | test_sklearn.py, test_a_text_pipeline_keeps_every_label |
| KNN ties | reported as ties in the evidence | here |
| attention's fast path in TorchScript | switched off while it is asked and traced | tests/frameworks/test_torch.py |
| Keras LSTM to TFLite | kept at its size, or refused by name | tests/frameworks/test_tflite.py, test_a_recurrent_network_of_a_fixed_size_is_kept_at_it |
| opset silently raised | told or refused | tests/frameworks/test_torch.py; test_keras.py, test_the_opset_is_the_one_asked_for_and_training_is_off |
| bf16 hint of OpenVINO | asked for in float32; in bfloat16 never ready | tests/frameworks/test_runtimes.py, test_answers_in_bfloat16_never_become_ready |
| a model that is not batch-invariant | proven, and never batched | here |
| BatchNorm in training mode | switched off and told, or refused | tests/frameworks/test_torch.py, test_training_mode_is_switched_off_and_told |
| dropout left on | switched off and told, or refused | tests/frameworks/test_torch.py, test_training_mode_that_was_traced_is_refused_by_name |
| NCHW and NHWC swapped | refused, naming the axes | tests/frameworks/test_torch.py, test_swapped_axes_are_named |
| a wrong tokenizer | refused | tests/frameworks/test_huggingface.py, test_a_tokenizer_of_another_size_is_refused |
| label order swapped | refused, naming the classes | here |
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import scipy.sparse
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aweigh.core.errors import InvalidInput, ProofFailed
from aweigh.core.evidence import Evidence
from aweigh.core.protocols import Draft
from aweigh.packing import PackRequest, pack
from aweigh.packing.frameworks import sklearn_trees
from aweigh.packing.frameworks.sklearn_ties import tied_rows
from aweigh.verify import prove

Make = Callable[..., Any]


def packed(source: Any, sample: Any, work: Path, **options: Any) -> Draft:
    return pack(source, PackRequest(prove=prove, sample=sample, work=work, **options))


def evidence_of(draft: Draft) -> Evidence:
    evidence = draft.manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.passed
    return evidence


def test_histogram_boosting_with_categories_is_never_converted(proven: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=400), "c": pd.Categorical(random.choice(list("abcdefg"), 400))})
    labels = ((frame["c"].isin(["a", "d", "f"])) ^ (frame["x"] > 0)).astype(int)
    found = proven(HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(frame, labels), frame)
    assert found.runtime == "sklearn"
    assert "converts wrongly" in found.repairs
    assert found.draft.manifest.contains_pickle
    assert found.flips(frame) == 0


def test_a_scaler_before_xgboost_keeps_every_label(tmp_path: Path) -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = rows.astype(np.float32)
    model = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=12, n_jobs=1)).fit(rows, labels)
    draft = packed(model, rows, tmp_path, labels=labels)
    assert [variant.runtime for variant in draft.manifest.variants] == ["onnxruntime", "xgboost"]
    flips = evidence_of(draft).check("flips")
    assert flips is not None
    assert flips.figures == {"flips": 0.0}


def test_feature_names_of_xgboost_are_its_columns(tmp_path: Path) -> None:
    """Converters of others want f0, f1, …; ours takes the sample's columns by name, whatever order they come in."""
    frame, target = load_iris(return_X_y=True, as_frame=True)
    model = xgboost.XGBClassifier(n_estimators=8, n_jobs=1).fit(frame, target)
    draft = packed(model, frame[frame.columns[::-1]], tmp_path)
    assert [spec.name for spec in draft.manifest.signature.inputs] == list(frame.columns)
    assert [variant.runtime for variant in draft.manifest.variants] == ["onnxruntime", "xgboost"]
    with pytest.raises(InvalidInput, match="no column 'petal width"):
        packed(model, frame.drop(columns="petal width (cm)"), tmp_path / "other")


def test_ties_of_neighbours_are_reported_and_no_failure(tmp_path: Path) -> None:
    rows, labels = np.round(load_iris(return_X_y=True)[0]), load_iris(return_X_y=True)[1]
    model = KNeighborsClassifier(4).fit(rows, labels)
    draft = packed(model, rows, tmp_path, labels=labels)
    assert draft.manifest.variants[0].runtime == "onnxruntime", evidence_of(draft).repairs
    ties = evidence_of(draft).check("ties")
    assert ties is not None
    assert (ties.figures["rows"] or 0) > 10
    assert ties.figures["answered otherwise"] is not None
    assert "equally far" in ties.note
    assert "ties" not in " ".join(case.name for case in draft.manifest.golden)


def test_neighbours_tie_only_where_the_answer_hangs_on_it() -> None:
    points, labels = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 1, 1, 0])
    model = KNeighborsClassifier(1).fit(points, labels)
    assert tied_rows(model, np.array([[1.0], [3.0], [5.0], [1.5], [0.0]])).tolist() == [True, False, True, False, False]


def test_a_model_that_looks_at_its_batch_is_proven_and_never_batched(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "centred",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    evidence = evidence_of(packed(model, np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32), tmp_path))
    assert not evidence.batch_invariant
    check = evidence.check("batch-invariance")
    assert check is not None
    assert "differs in batches" in check.note


def swapped(labels: Any) -> Any:
    """Classes 0 and 2 in each other's place."""
    return np.choose(labels, [2, 1, 0])


def test_labels_in_another_order_are_named(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    model = LogisticRegression(max_iter=500).fit(rows, labels)
    with pytest.raises(ProofFailed, match="in another order than those given: '0' is answered '2', '2' is answered '0'"):
        packed(model, rows, tmp_path / "live", labels=swapped(labels))
    graph = to_onnx(model, rows[:1], options={"zipmap": False})
    with pytest.raises(ProofFailed, match="'0' is answered '2'"):
        packed(graph, rows, tmp_path / "onnx", labels=swapped(labels))
    assert evidence_of(packed(graph, rows, tmp_path / "right", labels=labels))


@pytest.mark.parametrize("form", ["live", "onnx"])
def test_labels_are_as_many_as_the_sample_has_rows(form: str, tmp_path: Path) -> None:
    """Longer ones were cut in silence. Of a sparse sample the first rows are kept, and the labels of those count."""
    rows = np.random.default_rng(0).normal(size=(2100, 4)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(int)
    model = LogisticRegression().fit(rows, labels)
    source = model if form == "live" else to_onnx(model, rows[:1], options={"zipmap": False})
    with pytest.raises(InvalidInput, match="the labels have 2100 rows, the sample has 200"):
        packed(source, rows[1900:], tmp_path / "more", labels=labels)
    assert evidence_of(packed(source, scipy.sparse.csr_matrix(rows), tmp_path / "sparse", labels=labels))
    with pytest.raises(InvalidInput, match="the labels have 2050 rows, the sample has 2100"):
        packed(source, scipy.sparse.csr_matrix(rows), tmp_path / "fewer", labels=labels[50:])


def test_a_converter_that_swaps_labels_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = load_iris(return_X_y=True)
    model = HistGradientBoostingClassifier(max_iter=5).fit(rows, labels)
    finish = sklearn_trees._finish

    def wrong(graph: Any, given: Any, scores: str, chances: str, outputs: list[str], **options: Any) -> None:
        place = graph.constant(np.array([2, 1, 0], dtype=np.int64))
        finish(graph, given, graph.add("Gather", [scores, place], axis=1), chances, outputs, **options)

    monkeypatch.setattr(sklearn_trees, "_finish", wrong)
    evidence = evidence_of(packed(model, rows, tmp_path))
    first = evidence.repairs[0]
    assert "flips failed" in first
    assert "cause: HistGradientBoostingClassifier: all 15 trees add up as scikit-learn's do, so it is what is done to their sum" in first

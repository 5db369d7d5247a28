"""A converter that is damaged on purpose, of each kind: what is served answers rightly all the same, and the evidence names the first place where the two parted."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from tests.trees.models import LIBRARIES, fitted, rows

from aweigh.core.evidence import Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing import PackRequest, cause, pack
from aweigh.packing.frameworks import sklearn_convert, sklearn_trees
from aweigh.packing.frameworks.boosted import Boosted
from aweigh.packing.frameworks.boosted import library as library_file
from aweigh.verify import prove

WORSE = 0.25


def story(model: Any, sample: Any, work: Path) -> tuple[list[str], str]:
    """The runtimes that were proven, and what the evidence tells of the way to them."""
    draft = pack(model, PackRequest(prove=prove, sample=sample, work=work))
    first = draft.manifest.variants[0].evidence
    assert first is not None
    return [variant.runtime for variant in draft.manifest.variants], "\n".join(first.repairs)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", [0, 7])
def test_the_first_tree_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, number: int) -> None:
    sample = rows(200, 1, library)
    model = fitted(library, "Regressor", 12, sample)
    kind = type(library_file(library))
    read: Callable[..., Boosted] = kind.read

    def damaged(self: Any, given: Any, frame: Any) -> Boosted:
        found = read(self, given, frame)
        at = len(found.trees) - 12 + number
        trees = [dataclasses.replace(tree, values=tree.values + WORSE * (each == at)) for each, tree in enumerate(found.trees)]
        return dataclasses.replace(found, trees=tuple(trees))

    monkeypatch.setattr(kind, "read", damaged)
    runtimes, said = story(model, sample, tmp_path)
    assert runtimes == [library]
    assert f"cause: tree {number} of 12 is the first that differs: {library}'s adds " in said, said
    adds = re.search(r"adds (\S+), the graph's adds (\S+) \(node '.+' \(TreeEnsemble\), case '[\w-]+', row \d+\)", said)
    assert adds is not None, said
    assert float(adds[2]) - float(adds[1]) == pytest.approx(WORSE, abs=1e-4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_the_trees_start_from_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    sample = rows(200, 1, library)
    model = fitted(library, "Regressor", 5, sample)
    kind = type(library_file(library))
    read: Callable[..., Boosted] = kind.read

    def damaged(self: Any, given: Any, frame: Any) -> Boosted:
        found = read(self, given, frame)
        return dataclasses.replace(found, bias=tuple(value + 1.0 for value in found.bias or (0.0,)))

    monkeypatch.setattr(kind, "read", damaged)
    runtimes, said = story(model, sample, tmp_path)
    assert runtimes == [library]
    assert "cause: all " in said or "cause: what the trees start from: " in said, said


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(9, random_state=0), GradientBoostingRegressor(n_estimators=9), HistGradientBoostingClassifier(max_iter=9)],
    ids=["forest", "boosting", "histogram"],
)
def test_the_first_tree_of_scikit_learn_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    sample, labels = load_diabetes(return_X_y=True) if isinstance(model, GradientBoostingRegressor) else load_iris(return_X_y=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)]).fit(sample, labels)
    trees = sklearn_trees._trees

    def damaged(estimator: Any) -> Any:
        found, targets = trees(estimator)
        first = 4 * len(found) // 9
        return [dataclasses.replace(tree, values=tree.values + 1.0 * (at == first)) for at, tree in enumerate(found)], targets

    monkeypatch.setattr(sklearn_trees, "_trees", damaged)
    _, said = story(pipeline, sample, tmp_path)
    first = said.splitlines()[0]
    each = 1 if isinstance(model, GradientBoostingRegressor) else 3
    assert f"cause: the last step, 'model' ({type(model).__name__}): tree {4 * each} of {9 * each} is the first that differs" in first, said


def test_the_first_step_and_its_column_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, labels = load_iris(return_X_y=True, as_frame=True)
    names = list(frame.columns)
    columns = ColumnTransformer([("plain", StandardScaler(), names[:2]), ("narrow", MinMaxScaler(), names[2:])])
    pipeline = Pipeline([("columns", columns), ("again", StandardScaler()), ("model", LogisticRegression())]).fit(frame, labels)
    rewritten = sklearn_convert.rewritten

    def damaged(estimator: Any, way: Any, signature: Any) -> Any:
        copy = rewritten(estimator, way, signature)
        narrow = next((part for part in sklearn_convert.parts_of(copy) if isinstance(part, MinMaxScaler)), None)
        if narrow is not None:
            narrow.min_[1] += 0.5
        return copy

    monkeypatch.setattr(sklearn_convert, "rewritten", damaged)
    runtimes, said = story(pipeline, frame, tmp_path)
    assert runtimes == ["sklearn"]
    place = "step 1 of 3, 'columns' (ColumnTransformer) in 'narrow' (MinMaxScaler), column 'narrow__petal width (cm)', is the first that differs"
    assert f"cause: {place}: scikit-learn gives " in said, said


def test_the_last_step_is_named_where_the_steps_before_it_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample, labels = load_iris(return_X_y=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]).fit(sample, labels)
    rewritten = sklearn_convert.rewritten

    def damaged(estimator: Any, way: Any, signature: Any) -> Any:
        copy = rewritten(estimator, way, signature)
        for part in sklearn_convert.parts_of(copy):
            if isinstance(part, LogisticRegression):
                part.coef_ = part.coef_ * 1.01
        return copy

    monkeypatch.setattr(sklearn_convert, "rewritten", damaged)
    runtimes, said = story(pipeline, sample, tmp_path)
    assert runtimes == ["sklearn"]
    assert "cause: the last step, 'model' (LogisticRegression), is the first that differs: all before it agrees" in said, said


def quantised() -> Any:
    """A matrix product between quantisations, which ONNX Runtime joins to one of eight-bit integers.

    With these scales every sum of floats is exact, so that no processor rounds it; and a product of integers, scaled by 1/122 in float32, misses half of the ties.
    """
    random = np.random.default_rng(0)
    constants = {
        "xs": np.float32(2**-4), "xz": np.uint8(128), "w": random.integers(-128, 127, size=(16, 8)).astype(np.int8), "ws": np.float32(2**-6),
        "wz": np.int8(0), "ys": np.float32(122 * 2**-10), "yz": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "ys", "yz"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "ys", "yz"], ["y"]),
    ]
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])] for name, size in (("x", 16), ("y", 8)))
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_what_the_optimisations_change_runs_without_them(tmp_path: Path) -> None:
    """Joined products saturate on processors without instructions for eight bits, and round ties otherwise on all others."""
    sample = (np.random.default_rng(1).normal(size=(600, 16)) * 2).astype(np.float32)
    draft = pack(quantised(), PackRequest(prove=prove, sample=sample, work=tmp_path))
    variant = draft.manifest.variants[0]
    assert variant.options == {"graph_optimization_level": "basic"}
    assert variant.evidence is not None
    assert variant.evidence.passed
    said = "\n".join(variant.evidence.repairs)
    assert "cause: ONNX Runtime's optimisations change the answer: without them the graph answers as the source does (case '" in said
    assert said.endswith("ONNX Runtime's optimisations basic: passed")


def test_a_fault_of_the_runtime_is_told_from_one_of_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is named at which ONNX Runtime parts from what ONNX says."""
    nodes = [helper.make_node("Relu", ["x"], ["kept"], name="first"), helper.make_node("Erf", ["kept"], ["y"], name="second")]
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])] for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    one, other = (TensorSpec(name=name, datatype=Datatype.FP32, shape=("batch", 3)) for name in "xy")
    signature = Signature(inputs=(one,), outputs=(other,))
    rows = np.ones((4, 3), dtype=np.float32)
    case = GoldenAnswers(name="sample", why="", inputs={"x": rows}, outputs=[rows * 2])
    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("model.onnx",))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    evidence = prove(variant, signature, [case], lambda name: tmp_path / name, strength=Strength.FULL, data="made for the test")
    found = cause.graph_cause(tmp_path / "model.onnx", variant, signature, [case], evidence)
    assert str(found).startswith("; cause: the conversion: ONNX's reference evaluator answers as ONNX Runtime does")
    run = cause.run_inside
    monkeypatch.setattr(
        cause, "run_inside", lambda *given, **options: {name: value * 1.5 for name, value in run(*given, **options).items()}
    )
    found = cause.graph_cause(tmp_path / "model.onnx", variant, signature, [case], evidence)
    assert found.words.startswith("node 'first' (Relu) in ONNX Runtime: ONNX says 1.0, it answers 1.5 at [0, 0]"), found.words


def test_a_layer_that_differs_while_what_comes_of_it_agrees_is_no_cause() -> None:
    """Converters fold a normalisation into the layer before it: that layer differs, and is right."""
    edges = (("Mul", ["x", "x"], "folded"), ("Neg", ["folded"], "out"), ("Abs", ["out"], "y"))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy"]
    proto = helper.make_model(
        helper.make_graph([helper.make_node(kind, given, [out]) for kind, given, out in edges], "g", value[:1], value[1:])
    )
    found = cause.Trouble(
        proto=proto,
        variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32"),
        signature=Signature(inputs=(), outputs=()),
        case=GoldenAnswers(name="sample", why="", inputs={}, outputs=[]),
        row=0,
        inputs={},
        outputs=[],
    )
    one, two = np.ones((1, 1), dtype=np.float32), np.full((1, 1), 2, dtype=np.float32)
    marks = [
        cause.Landmark(place="layer 'convolution'", tensor="folded", expected=two),
        cause.Landmark(place="layer 'normalisation'", tensor="out", expected=one),
        cause.Landmark(place="layer 'last'", tensor="y", expected=one),
    ]
    said = cause.first_apart(found, marks, {"folded": one, "out": one, "y": two})
    assert said.startswith("layer 'last' is the first that differs: the source has 1.0, the graph has 2.0 at [0, 0] (node 'y' (Abs), ")
    assert said.endswith("up to layer 'normalisation' the two agree")

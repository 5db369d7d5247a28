"""Trees, exactly: thresholds for edge inputs, and skl2onnx converters that answer as scikit-learn's trees do, bit for bit but for the sum's order.

skl2onnx adds leaves in float32, so near-ties fall to the other class. Here one `TreeEnsemble` (ai.onnx.ml 5) compares and adds in float64; the
input is rounded to float32 first where scikit-learn does so (all trees but histogram gradient boosting). Called by `sklearn_convert.py`.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from aweigh.packing.frameworks.forest import MAX_LEAVES, Tree, attributes
from aweigh.packing.frameworks.sklearn_nodes import Nodes, joined

_SINGLE: Final = (DecisionTreeClassifier, ExtraTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor)
_FORESTS: Final = (RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor)
_BOOSTED: Final = (GradientBoostingClassifier, GradientBoostingRegressor)
_HISTOGRAM: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_CLASSIFIERS: Final = (
    DecisionTreeClassifier,
    ExtraTreeClassifier,
    RandomForestClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
)


def has_categorical_splits(estimator: Any) -> bool:
    """Whether a histogram gradient boosting splits on categories, which skl2onnx converts wrongly without an error."""
    return isinstance(estimator, _HISTOGRAM) and getattr(estimator, "is_categorical_", None) is not None


def thresholds(estimator: Any) -> list[tuple[int, float]]:
    """Every (feature, threshold) of the trees inside a fitted estimator, each once."""
    found: dict[tuple[int, float], None] = {}
    _collect(estimator, found, depth=0)
    return list(found)


def _collect(estimator: Any, found: dict[tuple[int, float], None], *, depth: int) -> None:
    if depth > 4 or len(found) > 2_000_000:
        return
    if hasattr(estimator, "tree_"):
        tree = estimator.tree_
        inner = tree.children_left >= 0
        found.update(dict.fromkeys(zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)))
        return
    if isinstance(estimator, _HISTOGRAM):
        for nodes in (tree.nodes for group in estimator._predictors for tree in group):
            inner = (nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)
            found.update(dict.fromkeys(zip(nodes["feature_idx"][inner].tolist(), nodes["num_threshold"][inner].tolist(), strict=True)))
        return
    members = getattr(estimator, "estimators_", None)
    if members is None and hasattr(estimator, "calibrated_classifiers_"):
        members = [part.estimator for part in estimator.calibrated_classifiers_]
    for member in np.asarray(members, dtype=object).ravel().tolist() if members is not None else []:
        _collect(member, found, depth=depth + 1)


def staged_sums(model: Any, rows: Any) -> tuple[int, Callable[[int], NDArray[np.float64]]] | None:
    """How many rounds of trees a model has, and what the trees of the first rounds add up to, as its own trees answer; None for other models."""
    if isinstance(model, _HISTOGRAM):
        stages = [np.asarray(raw) - _baseline(model) for raw in model._staged_raw_predict(rows)]
        return len(stages), lambda count: stages[count - 1] if count else np.zeros_like(stages[0])
    if not isinstance(model, (*_SINGLE, *_FORESTS, *_BOOSTED)):
        return None
    single = np.ascontiguousarray(rows, dtype=np.float32)
    if isinstance(model, _BOOSTED):
        rounds = [np.column_stack([model.learning_rate * tree.tree_.predict(single) for tree in group]) for group in model.estimators_]
    else:
        members = model.estimators_ if isinstance(model, _FORESTS) else [model]
        rounds = [member.tree_.predict(single).reshape(len(single), -1) for member in members]
    summed = np.cumsum([np.zeros_like(rounds[0]), *rounds], axis=0)
    return len(rounds), lambda count: np.asarray(summed[count])


def tree_converters() -> tuple[dict[type, Any], dict[type, Any]]:
    """Converters and shape calculators to hand to `convert_sklearn`, by estimator class."""
    classes = (*_SINGLE, *_FORESTS, *_BOOSTED, *_HISTOGRAM)
    return dict.fromkeys(classes, _convert), dict.fromkeys(classes, _shapes)


def _shapes(operator: Any) -> None:
    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if isinstance(model, _CLASSIFIERS):
        label = StringTensorType if model.classes_.dtype.kind in "OUS" else Int64TensorType
        operator.outputs[0].type = label([rows])
        operator.outputs[1].type = DoubleTensorType([rows, len(model.classes_)])
    else:
        operator.outputs[0].type = DoubleTensorType([rows, 1])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    if getattr(model, "n_outputs_", 1) != 1 or has_categorical_splits(model):
        raise NotImplementedError("several outputs, or splits on categories")
    graph = Nodes(scope, container)
    source = joined(graph, operator, TensorProto.DOUBLE)
    if not isinstance(model, _HISTOGRAM):
        source = graph.add("Cast", [source], to=TensorProto.FLOAT)
    source = graph.add("Cast", [source], to=TensorProto.DOUBLE)
    trees, targets = _trees(model)
    raw = graph.add("TreeEnsemble", [source], domain="ai.onnx.ml", **attributes(trees, targets))
    outputs = [output.full_name for output in operator.outputs]
    if isinstance(model, (*_SINGLE, *_FORESTS)):
        count = len(model.estimators_) if isinstance(model, _FORESTS) else 1
        mean = graph.add("Div", [raw, graph.constant(np.array([count], dtype=np.float64))])
        _finish(graph, model, mean, mean, outputs)
    else:
        _boosted(graph, model, raw, outputs)


def _boosted(graph: Nodes, model: Any, raw: str, outputs: list[str]) -> None:
    raw = graph.add("Add", [raw, graph.constant(_baseline(model))])
    if not isinstance(model, _CLASSIFIERS):
        if getattr(model, "loss", "") in {"poisson", "gamma"}:
            raw = graph.add("Exp", [raw])
        _finish(graph, model, raw, raw, outputs)
    elif len(model.classes_) == 2:
        if getattr(model, "loss", "log_loss") != "log_loss":
            raise NotImplementedError(f"loss {model.loss}")
        second = graph.add("Sigmoid", [raw])
        first = graph.add("Sub", [graph.constant(np.array([1.0])), second])
        zeros = graph.add("Mul", [raw, graph.constant(np.array([0.0]))])
        chances = graph.add("Concat", [first, second], axis=1)
        scores = graph.add("Concat", [zeros, raw], axis=1) if isinstance(model, _BOOSTED) else chances
        _finish(graph, model, scores, chances, outputs, last=isinstance(model, _BOOSTED))
    else:
        _finish(graph, model, raw, graph.add("Softmax", [raw], axis=1), outputs)


def _finish(graph: Nodes, model: Any, scores: str, chances: str, outputs: list[str], *, last: bool = False) -> None:
    """Name the outputs; a classifier's label is the first highest score (`last`: the last one, as `raw >= 0` decides a tie)."""
    if not isinstance(model, _CLASSIFIERS):
        graph.add("Identity", [scores], output=outputs[0])
        return
    at = graph.add("ArgMax", [scores], axis=1, keepdims=0, select_last_index=int(last))
    classes = model.classes_
    if classes.dtype.kind not in "OUSbiu" or (classes.dtype.kind == "O" and not all(isinstance(item, str) for item in classes)):
        raise NotImplementedError(f"labels of dtype {classes.dtype}")
    labels = classes.astype(object) if classes.dtype.kind in "OUS" else classes.astype(np.int64)
    graph.add("Gather", [graph.constant(labels), at], output=outputs[0], axis=0)
    graph.add("Identity", [chances], output=outputs[1])


def _baseline(model: Any) -> NDArray[np.float64]:
    if isinstance(model, _HISTOGRAM):
        return np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1, -1)
    if isinstance(model.init_, DummyClassifier | DummyRegressor):
        return np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)), dtype=np.float64)
    if isinstance(model.init_, str) and model.init_ == "zero":
        return np.zeros((1, model.estimators_.shape[1]))
    raise NotImplementedError("gradient boosting that starts from an estimator")


def _trees(model: Any) -> tuple[list[Tree], int]:
    if isinstance(model, _HISTOGRAM):
        found = [_histogram_tree(tree.nodes, target) for group in model._predictors for target, tree in enumerate(group)]
        return found, len(model._predictors[0])
    if isinstance(model, _BOOSTED):
        rate = model.learning_rate
        found = [_plain_tree(tree.tree_, rate, 0, target) for group in model.estimators_ for target, tree in enumerate(group)]
        return found, model.estimators_.shape[1]
    members = model.estimators_ if isinstance(model, _FORESTS) else [model]
    targets = len(model.classes_) if isinstance(model, _CLASSIFIERS) else 1
    if targets * sum(member.tree_.n_leaves for member in members) > MAX_LEAVES:
        raise NotImplementedError("too many leaves for an exact ensemble")
    return [_plain_tree(member.tree_, 1.0, target, target) for member in members for target in range(targets)], targets


def _plain_tree(tree: Any, rate: float, column: int, target: int) -> Tree:
    missing = tree.__getstate__()["nodes"]["missing_go_to_left"].astype(np.bool_)
    return Tree(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        leaf=tree.children_left < 0,
        missing_left=missing,
        values=rate * tree.value[:, 0, column],
        target=target,
    )


def _histogram_tree(nodes: Any, target: int) -> Tree:
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        leaf=nodes["is_leaf"].astype(np.bool_),
        missing_left=nodes["missing_go_to_left"].astype(np.bool_),
        values=nodes["value"],
        target=target,
    )

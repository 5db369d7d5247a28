"""CatBoost: .cbm files and estimators, packed as ONNX where the trees compare numbers and single categories, and as the native model beside it.

Found through `core/plugins.py`. A file is first parsed in the packing child, whose crash is contained; only what this library wrote again is kept.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import catboost
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile
from aweigh.packing.frameworks import boosted_pack
from aweigh.packing.frameworks.boosted import Boosted, Link, Options, checked, library_of
from aweigh.packing.frameworks.forest import Mode, Tree
from aweigh.packing.frameworks.tree_cause import Staged
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.catboost import is_whole

_CLASSES: Final = {
    "Logloss": Link.SIGMOID,
    "CrossEntropy": Link.SIGMOID,
    "MultiClass": Link.SOFTMAX,
    "MultiClassOneVsAll": Link.EACH,
}
_EXPONENTS: Final = ("Poisson", "Tweedie")
_ANSWERS: Final = dict.fromkeys(_EXPONENTS, "Exponent") | {"RMSEWithUncertainty": "RMSEWithUncertainty"}
"""Losses whose estimators answer something other than the raw sums."""
_RANKERS: Final = (
    "YetiRank",
    "PairLogit",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "StochasticRank",
    "LambdaMart",
    "GroupQuantile",
)
_IDENTITY: Final = ("RMSE", "MAE", "Quantile", "MultiQuantile", "MAPE", "Huber", "Expectile", "Lq", "MultiRMSE", "LogCosh")
_MAX_DEPTH: Final = 16


class CatboostFramework:
    """Packs CatBoost models."""

    name = "catboost"
    file = "model.cbm"
    distributions: Sequence[str] = ("catboost",)
    sparse_zero_missing = False

    def accepts(self, model: object) -> bool:
        return library_of(model) == self.name

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        """The estimator of the file's task. Raises InvalidFile."""
        data = path.read_bytes()
        if not is_whole(data):
            raise InvalidFile(f"{path.name}: a CatBoost model that is truncated", hint="copy or save the file again")
        try:
            return as_estimator(catboost.CatBoost().load_model(blob=data))
        except (catboost.CatBoostError, ValueError, TypeError, KeyError, IndexError, UnicodeError) as error:
            raise InvalidFile(
                f"{path.name}: not a loadable CatBoost model: {str(error)[:300]}", hint="the file is damaged: save it again"
            ) from error

    def pack(self, job: Job) -> Packed:
        model = as_estimator(job.model) if type(job.model) is catboost.CatBoost else job.model
        return boosted_pack.pack(self, job, model)

    def read(self, model: Any, frame: Any) -> Boosted:
        loss = _loss(model)
        known = _CLASSES.get(loss) or (
            Link.EXP if loss in _EXPONENTS else Link.IDENTITY if loss in _IDENTITY or loss.startswith(_RANKERS) else None
        )
        if known is None:
            raise NotImplementedError(f"the loss {loss} has no exact form in ONNX")
        found = _as_json(model, frame)
        scale, bias = found["scale_and_bias"]
        labels = tuple(np.asarray(model.classes_).tolist()) if loss in _CLASSES else ()
        _check_threshold(model, labels)
        reader = _Reader(found, len(bias))
        return checked(
            Boosted(
                trees=tuple(reader.trees()),
                features=len(model.feature_names_),
                targets=len(bias),
                link=known,
                single=False,
                narrow=True,
                labels=labels,
                scale=float(scale),
                bias=tuple(float(value) for value in bias),
                cut=float(np.nextafter(0.0, 1.0)),
                encodings=reader.encodings,
            )
        )

    def width(self, model: Any) -> int:
        return len(model.feature_names_)

    def names(self, model: Any) -> list[str] | None:
        """None where CatBoost made the names up itself."""
        names = [str(name) for name in model.feature_names_]
        return None if names == [str(at) for at in range(len(names))] else names

    def shape(self, model: Any, frame: Any) -> Any:
        """Categories as the texts or numbers that they are: CatBoost has a hash for each and keeps no list."""
        shaped = frame.copy()
        for name in shaped.columns:
            if isinstance(shaped[name].dtype, pd.CategoricalDtype):
                kind = shaped[name].cat.categories.dtype
                shaped[name] = shaped[name].astype(kind if kind.kind in "biuf" and not shaped[name].isna().any() else object)
        return shaped

    def options(self, model: Any) -> Options:
        found: Options = {"categorical": " ".join(map(str, model.get_cat_feature_indices()))}
        return found | ({"prediction_type": _ANSWERS[_loss(model)]} if _loss(model) in _ANSWERS else {})

    def staged(self, model: Any, boosted: Boosted, rows: Any) -> Staged | None:
        start = np.array(model.get_scale_and_bias()[1], dtype=np.float64).reshape(1, -1)

        def sums(count: int) -> NDArray[np.float64]:
            if not count:
                return np.repeat(start, len(rows), axis=0)
            found = model.predict(rows, prediction_type="RawFormulaVal", ntree_end=count)
            return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)

        return Staged(rounds=int(model.tree_count_), sums=sums, scale=boosted.scale, bias=boosted.bias)

    def save(self, model: Any, place: Path) -> None:
        model.save_model(str(place), format="cbm")


def as_estimator(model: Any) -> Any:
    """The estimator that asks a bare model as scikit-learn would."""
    loss = _loss(model)
    kind = catboost.CatBoostClassifier if loss in _CLASSES else catboost.CatBoostRegressor
    if loss.startswith(_RANKERS):
        kind = catboost.CatBoostRanker
    with tempfile.TemporaryDirectory(prefix="aweigh-catboost-") as folder:
        place = str(Path(folder) / "model.cbm")
        model.save_model(place, format="cbm")
        estimator = kind().load_model(place, format="cbm")
    if loss in _ANSWERS:
        estimator._init_params["loss_function"] = loss  # a loaded regressor forgets what it answers
    return estimator


def _loss(model: Any) -> str:
    """The name of the loss, without its parameters."""
    return str(model.get_all_params().get("loss_function", "")).partition(":")[0]


def _check_threshold(model: Any, labels: tuple[Any, ...]) -> None:
    if len(labels) == 2 and model.get_probability_threshold() != 0.5:
        raise NotImplementedError("a probability threshold other than a half")


def _as_json(model: Any, frame: Any) -> dict[str, Any]:
    """The model as JSON; with rows of the sample, CatBoost also tells which text has which hash."""
    categorical = model.get_cat_feature_indices()
    if categorical and frame is None:
        raise NotImplementedError("categorical features whose texts are not known")
    pool = catboost.Pool(frame, cat_features=categorical) if categorical else None
    with tempfile.TemporaryDirectory(prefix="aweigh-catboost-") as folder:
        place = Path(folder) / "model.json"
        model.save_model(str(place), format="json", pool=pool)
        found = json.loads(place.read_bytes())
    return dict(found)


class _Reader:
    """Reads trees, giving each categorical text a place in the order in which CatBoost names them."""

    def __init__(self, found: dict[str, Any], targets: int) -> None:
        info = found["features_info"]
        self._found = found
        self._targets = targets
        self._floats = {item["feature_index"]: item for item in info.get("float_features", [])}
        self._categories = {item["feature_index"]: item for item in info.get("categorical_features", [])}
        texts = {int(item["hash"]): str(item["value"]) for item in info.get("cat_features_hash", [])}
        self._places = {key: place for place, key in enumerate(texts)}
        self.encodings = {int(item["flat_feature_index"]): tuple(texts.values()) for item in self._categories.values()}

    def trees(self) -> list[Tree]:
        if "oblivious_trees" in self._found:
            return [made for tree in self._found["oblivious_trees"] for made in self._symmetric(tree)]
        return [made for tree in self._found["trees"] for made in self._other(tree)]

    def _split(self, split: dict[str, Any]) -> tuple[int, float, bool, tuple[int, ...] | None]:
        """Feature, threshold, whether missing stays below, and the one category that the split asks for (None = numeric)."""
        if split["split_type"] == "FloatFeature":
            feature = self._floats[split["float_feature_index"]]
            return int(feature["flat_feature_index"]), float(split["border"]), feature["nan_value_treatment"] != "AsTrue", None
        if split["split_type"] == "OneHotFeature":
            feature = self._categories[split["cat_feature_index"]]
            place = self._places.get(int(split["value"]) & 0xFFFFFFFF)
            if place is None:
                raise NotImplementedError("a category that the trees ask for does not occur in the sample: give a sample that holds it")
            return int(feature["flat_feature_index"]), 0.0, False, (place,)
        raise NotImplementedError(f"splits on statistics of categories ({split['split_type']}) have no form in ONNX")

    def _symmetric(self, tree: dict[str, Any]) -> list[Tree]:
        """A tree that asks the same on each level: split l decides bit l of the leaf's number."""
        splits = [self._split(split) for split in tree.get("splits") or []]
        depth = len(splits)
        if depth > _MAX_DEPTH:
            raise NotImplementedError(f"a tree of depth {depth}")
        inner = 2**depth - 1
        order = np.arange(inner + 2**depth)
        level = np.floor(np.log2(order + 1)).astype(np.int64)
        bits = np.zeros(len(order), dtype=np.int64)
        for node in range(inner):
            _feature, _border, _missing, member = splits[level[node]]
            bit = 1 << int(level[node])
            bits[2 * node + 1] = bits[node] | (bit if member else 0)
            bits[2 * node + 2] = bits[node] | (0 if member else bit)
        nodes = [splits[at] for at in level[:inner].tolist()]
        weights = np.asarray(tree["leaf_values"], dtype=np.float64).reshape(2**depth, self._targets)[bits[inner:]]
        return self._made(nodes, 2 * order[:inner] + 1, 2 * order[:inner] + 2, weights)

    def _other(self, tree: dict[str, Any]) -> list[Tree]:
        """A tree of any shape: what a split holds true for goes right."""
        nodes: list[Any] = []
        leaves: list[Any] = []
        links: list[tuple[tuple[bool, int], tuple[bool, int]]] = []

        def walk(part: dict[str, Any], depth: int) -> tuple[bool, int]:
            if depth > 4 * _MAX_DEPTH:
                raise NotImplementedError("a tree that is deeper than any that is trained")
            if "split" not in part:
                leaves.append(np.asarray(part["value"], dtype=np.float64).reshape(self._targets))
                return True, len(leaves) - 1
            at = len(nodes)
            nodes.append(self._split(part["split"]))
            links.append(((True, 0), (True, 0)))
            below, above = walk(part["left"], depth + 1), walk(part["right"], depth + 1)
            links[at] = (above, below) if nodes[at][3] else (below, above)
            return False, at

        walk(tree, 0)
        places = np.array([[len(nodes) + at if leaf else at for leaf, at in pair] for pair in links], dtype=np.int64).reshape(-1, 2)
        return self._made(nodes, places[:, 0], places[:, 1], np.array(leaves))

    def _made(self, nodes: list[Any], left: NDArray[Any], right: NDArray[Any], weights: NDArray[np.float64]) -> list[Tree]:
        none, ends = np.zeros(len(weights), dtype=np.int64), np.ones(len(weights), dtype=np.bool_)
        mode = [Mode.MEMBER if node[3] else Mode.AT_MOST for node in nodes]
        shared: dict[str, Any] = {
            "feature": np.concatenate([np.array([node[0] for node in nodes], dtype=np.int64), none]),
            "threshold": np.concatenate([np.array([node[1] for node in nodes], dtype=np.float64), none]),
            "left": np.concatenate([left, none]).astype(np.int64),
            "right": np.concatenate([right, none]).astype(np.int64),
            "leaf": np.concatenate([np.zeros(len(nodes), dtype=np.bool_), ends]),
            "missing_left": np.concatenate([np.array([node[2] for node in nodes], dtype=np.bool_), ~ends]),
            "mode": np.concatenate([np.array(mode, dtype=np.uint8), none]).astype(np.uint8),
            "members": {at: node[3] for at, node in enumerate(nodes) if node[3]},
        }
        return [
            Tree(values=np.concatenate([np.zeros(len(nodes)), weights[:, target]]), target=target, **shared)
            for target in range(self._targets)
        ]

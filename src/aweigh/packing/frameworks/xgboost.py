"""XGBoost: JSON and UBJSON files, boosters and estimators, packed as ONNX with the library's own arithmetic and as the native model beside it.

Found through `core/plugins.py`. A file is first parsed in the packing child, whose crash is contained; only what this library wrote again is kept.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile, InvalidInput, Unsupported
from aweigh.packing.frameworks import boosted_pack
from aweigh.packing.frameworks.boosted import Boosted, Link, Options, as_float32, checked, library_of, smallest_from
from aweigh.packing.frameworks.forest import Mode, Tree, lone_leaf
from aweigh.packing.frameworks.tree_cause import Staged
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised

_LINKS: Final = {
    "binary:logistic": Link.SIGMOID,
    "reg:logistic": Link.SIGMOID,
    "binary:logitraw": Link.IDENTITY,
    "multi:softprob": Link.SOFTMAX,
    "multi:softmax": Link.SOFTMAX,
    "count:poisson": Link.EXP,
    "reg:gamma": Link.EXP,
    "reg:tweedie": Link.EXP,
    "survival:cox": Link.EXP,
    "survival:aft": Link.EXP,
}
_IDENTITY: Final = ("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror", "rank:")
_SURE_S: Final = 1e-5
"""A margin from which on the second class is certainly answered."""


class XgboostFramework:
    """Packs XGBoost models."""

    name = "xgboost"
    file = "model.ubj"
    distributions: Sequence[str] = ("xgboost", "xgboost-cpu")
    sparse_zero_missing = True

    def accepts(self, model: object) -> bool:
        return library_of(model) == self.name

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        """The estimator that answers as the file's booster does. Raises InvalidFile."""
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(path.read_bytes()))
            return as_estimator(booster)
        except (xgboost.core.XGBoostError, ValueError, TypeError, KeyError, IndexError, UnicodeError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise InvalidFile(f"{path.name}: not a loadable XGBoost model: {reason}", hint="the file is damaged: save it again") from error

    def pack(self, job: Job) -> Packed:
        model = as_estimator(job.model) if isinstance(job.model, xgboost.Booster) else job.model
        return boosted_pack.pack(self, job, model)

    def read(self, model: Any, frame: Any) -> Boosted:
        booster = _used(model)
        found = json.loads(booster.save_raw("json"))["learner"]
        objective, gradient = str(found["objective"]["name"]), found["gradient_booster"]
        link = _LINKS.get(objective) or (Link.IDENTITY if objective.startswith(_IDENTITY) else None)
        if link is None:
            raise NotImplementedError(f"the objective {objective} has no exact form in ONNX")
        weights = gradient.get("weight_drop")
        inner = gradient["gbtree"] if weights is not None else gradient
        if inner["name"] != "gbtree":
            raise NotImplementedError(f"a {inner['name']} booster has no trees")
        trees = inner["model"]["trees"]
        still = _without_leaves(booster)
        base = _base(still)
        made = [lone_leaf(float(value), target) for target, value in enumerate(base)]
        made += [
            _tree(tree, target) if weights is None else _dropped(_tree(tree, target), weights[at], base[target])
            for at, (tree, target) in enumerate(zip(trees, inner["model"]["tree_info"], strict=True))
        ]
        labels = tuple(np.asarray(model.classes_).tolist()) if _is_classifier(model) else ()
        missing = float(getattr(model, "missing", np.nan) if getattr(model, "missing", None) is not None else np.nan)
        types = found["feature_types"] or []
        return checked(
            Boosted(
                trees=tuple(made),
                features=int(found["learner_model_param"]["num_feature"]),
                targets=len(base),
                link=link,
                single=True,
                narrow=True,
                labels=labels,
                cut=_cut(still) if len(labels) == 2 and len(base) == 1 else 0.0,
                cut_short=frozenset(at for at, kind in enumerate(types) if kind == "c"),
                missing=missing,
            )
        )

    def width(self, model: Any) -> int:
        return int(model.get_booster().num_features())

    def names(self, model: Any) -> list[str] | None:
        names = model.get_booster().feature_names
        return None if names is None else list(names)

    def shape(self, model: Any, frame: Any) -> Any:
        """Columns of categories by the lists that the booster keeps (XGBoost 3.1 and later); else as they are."""
        kept = _categories(model.get_booster())
        shaped = frame.copy()
        for at, values in kept.items():
            name = shaped.columns[at]
            shaped[name] = pd.Categorical(shaped[name], categories=_named(values, shaped[name]))
        return shaped

    def options(self, model: Any) -> Options:
        missing = getattr(model, "missing", None)
        return {} if missing is None or missing != missing else {"missing": float(missing)}

    def staged(self, model: Any, boosted: Boosted, rows: Any) -> Staged | None:
        booster = _used(model)
        start = _base(_without_leaves(booster)).astype(np.float64).reshape(1, -1)

        def sums(count: int) -> NDArray[np.float64]:
            if not count:
                return np.repeat(start, len(rows), axis=0)
            found = model.predict(rows, output_margin=True, iteration_range=(0, count))
            return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)

        return Staged(rounds=booster.num_boosted_rounds(), sums=sums, before=boosted.targets)

    def save(self, model: Any, place: Path) -> None:
        booster = _used(model)
        if _objective(booster) == "multi:softmax":
            booster.set_param({"objective": "multi:softprob"})
        booster.save_model(place)


def as_estimator(booster: xgboost.Booster) -> Any:
    """The estimator that asks a booster as scikit-learn would."""
    objective = _objective(booster)
    if objective.startswith("multi:") or objective in {"binary:logistic", "binary:hinge"}:
        kind = xgboost.XGBClassifier
    else:
        kind = xgboost.XGBRanker if objective.startswith("rank:") else xgboost.XGBRegressor
    model = kind()
    model.load_model(bytearray(booster.save_raw("ubj")))
    return model


def _objective(booster: xgboost.Booster) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


def _is_classifier(model: Any) -> bool:
    return isinstance(model, xgboost.XGBClassifier)


def _used(model: Any) -> xgboost.Booster:
    """A copy of the booster with the rounds that the estimator answers with: up to the best one where training stopped early."""
    booster = model.get_booster()
    first, last = model._get_iteration_range(None)
    if booster.num_boosted_rounds() == 0:
        raise Unsupported("the booster has no trees", hint="train it first")
    used: xgboost.Booster = booster[first:last] if last and last < booster.num_boosted_rounds() else booster.copy()
    return used


def _without_leaves(booster: xgboost.Booster) -> xgboost.Booster:
    """The booster with every leaf at zero: it answers what the library starts from."""
    found = json.loads(booster.save_raw("json"))
    gradient = found["learner"]["gradient_booster"]
    inner = gradient.get("gbtree", gradient)
    for tree in inner["model"]["trees"]:
        if tree["tree_param"]["size_leaf_vector"] not in {"0", "1"}:
            raise NotImplementedError("trees with several outputs a leaf")
        tree["split_conditions"] = [
            0.0 if child < 0 else value for child, value in zip(tree["left_children"], tree["split_conditions"], strict=True)
        ]
    still = xgboost.Booster()
    still.load_model(bytearray(json.dumps(found).encode()))
    return still


def _zeros(booster: xgboost.Booster) -> NDArray[np.float32]:
    return np.zeros((1, booster.num_features()), dtype=np.float32)


def _base(still: xgboost.Booster) -> NDArray[np.float32]:
    return np.asarray(still.inplace_predict(_zeros(still), predict_type="margin", validate_features=False)).reshape(-1)


def _cut(still: xgboost.Booster) -> float:
    """The smallest margin whose probability the library itself rounds to more than a half."""

    def second(margin: Any) -> bool:
        given = np.array([margin], dtype=np.float32)
        return bool(still.inplace_predict(_zeros(still), base_margin=given, validate_features=False).reshape(-1)[0] > 0.5)

    return smallest_from(-_SURE_S, _SURE_S, second, np.float32)


def _dropped(tree: Tree, weight: float, base: np.float32) -> Tree:
    """A tree of DART: the library asks it with the base, takes the base off again, and weighs what is left, each step in float32."""
    values = ((tree.values.astype(np.float32) + base) - base) * np.float32(weight)
    return dataclasses.replace(tree, values=values.astype(np.float64))


def _tree(tree: dict[str, Any], target: int) -> Tree:
    left, right = np.array(tree["left_children"], dtype=np.int64), np.array(tree["right_children"], dtype=np.int64)
    leaf = left < 0
    values = as_float32(tree["split_conditions"])
    mode = np.full(len(leaf), Mode.BELOW, dtype=np.uint8)
    default = np.array(tree["default_left"]).astype(np.bool_)
    members: dict[int, tuple[int, ...]] = {}
    for node, start, size in zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True):
        # the set that a split keeps goes to the right: turned round, it is what a true branch asks for
        members[node] = tuple(tree["categories"][start : start + size])
        mode[node] = Mode.MEMBER
        left[node], right[node] = right[node], left[node]
        default[node] = not default[node]
    return Tree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        threshold=values,
        left=left,
        right=right,
        leaf=leaf,
        missing_left=default,
        values=values,
        target=int(target),
        mode=mode,
        members=members,
    )


def _categories(booster: xgboost.Booster) -> dict[int, list[Any]]:
    """The categories that the booster keeps, by feature: numbers, or texts as bytes."""
    found = json.loads(booster.save_raw("json"))["learner"]
    kept = found["gradient_booster"].get("model", {}).get("cats", {}).get("enc", [])
    lists: dict[int, list[Any]] = {}
    for at, (kind, entry) in enumerate(zip(found["feature_types"] or [], kept, strict=False)):
        if kind == "c" and entry["values"]:
            lists[at] = _texts(entry) if "offsets" in entry else list(entry["values"])
    return lists


def _texts(entry: dict[str, Any]) -> list[bytes]:
    data = bytes(value & 0xFF for value in entry["values"])
    return [data[start:end] for start, end in zip(entry["offsets"], entry["offsets"][1:], strict=False)]


def _named(kept: list[Any], column: Any) -> list[Any]:
    """The kept categories as the sample writes them. Of pandas' own strings XGBoost keeps as many bytes as they have characters."""
    if not all(isinstance(item, bytes) for item in kept):
        return kept
    texts = [str(item) for item in column.dropna().unique().tolist()]
    known = {text.encode()[: len(text)]: text for text in reversed(texts)} | {text.encode(): text for text in texts}
    for item in kept:
        if item not in known and not item.isascii():
            raise InvalidInput(
                f"column '{column.name}': XGBoost kept a category only in part ({item!r}), and the sample does not hold it",
                hint="give a sample in which every category occurs",
            )
    return [known.get(item) or item.decode() for item in kept]

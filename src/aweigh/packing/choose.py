"""Which framework packs what: by recognised format, or by asking the frameworks about a live object. Called by `pack` and its child."""

import sys
from typing import Final, cast

from aweigh.core import plugins
from aweigh.core.errors import MissingLibrary, UnknownFormat
from aweigh.packing.job import Framework

_BY_FORMAT: Final = {
    "onnx": "onnx",
    "pickle": "sklearn",
    "joblib": "sklearn",
    "skops": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
}
_TREES: Final = frozenset({"xgboost", "lightgbm", "catboost"})


def framework_for_format(name: str) -> Framework:
    """The framework that takes a recognised format. Raises MissingLibrary naming the extra."""
    return _load(_BY_FORMAT[name])


def framework_for_loaded(model: object, framework: Framework) -> Framework:
    """The framework that packs what another one loaded: a pickle may hold the model of a tree library."""
    found = next((name for kind in type(model).__mro__ if (name := kind.__module__.partition(".")[0]) in _TREES), "")
    return _load(found) if found else framework


def framework_for_object(model: object) -> Framework:
    """The framework whose model a live object is. Raises UnknownFormat."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    missing: MissingLibrary | None = None
    for row in plugins.plugins("framework"):
        if row.name in _TREES and row.name not in sys.modules:
            continue  # a live model of a library that was never imported there is none
        try:
            framework = _load(row.name)
        except MissingLibrary as error:
            missing = error
            continue
        if framework.accepts(model):
            return framework
    if missing is not None:
        raise missing
    raise UnknownFormat(
        f"a {kind} is no model that aweigh takes",
        hint="give a fitted scikit-learn, XGBoost, LightGBM or CatBoost model, an ONNX ModelProto or a path",
    )


def _load(name: str) -> Framework:
    return cast("type[Framework]", plugins.load("framework", name))()

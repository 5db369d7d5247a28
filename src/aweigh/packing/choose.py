"""Which framework packs what: by recognised format, or by asking the frameworks about a live object. Called by `pack` and its child."""

import sys
from pathlib import Path
from typing import Final, cast

from aweigh.core import plugins
from aweigh.core.errors import MissingLibrary, UnknownFormat
from aweigh.packing.jax_parameters import recognise_parameters
from aweigh.packing.job import Framework, Judge
from aweigh.packing.python_class import recognise_class
from aweigh.packing.recognise import Recognised, recognise

_BY_FORMAT: Final = {
    "onnx": "onnx",
    "pickle": "sklearn",
    "joblib": "sklearn",
    "skops": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "jax": "jax",
    "jax-parameters": "jax",
    "mxnet": "mxnet",
    "pt2": "torch",
    "torchscript": "torch",
    "torch": "torch",
    "safetensors": "torch",
    "keras": "keras",
    "keras-h5": "keras",
    "savedmodel": "savedmodel",
    "tflite": "tflite",
    "huggingface": "huggingface",
    "python": "python",
}
_TREES: Final = frozenset({"xgboost", "lightgbm", "catboost"})
_HEAVY: Final = _TREES | {"huggingface", "jax", "torch", "keras", "savedmodel", "tflite"}


def framework_for_format(name: str) -> Framework:
    """The framework that takes a recognised format. Raises MissingLibrary naming the extra."""
    return _load(_BY_FORMAT[name])


def judge(path: Path, recognised: Recognised, *, trust: bool) -> None:
    """The verdict on a file whose framework would run or read what it names, before that framework is imported. Raises NotTrusted, InvalidFile."""
    name = _BY_FORMAT[recognised.format]
    if any(row.name == name for row in plugins.plugins("judge")):
        cast("Judge", plugins.load("judge", name))(path, trust=trust)


def can_judge(recognised: Recognised) -> bool:
    """Whether there is a judge of the format, and all that it needs."""
    return any(row.name == _BY_FORMAT[recognised.format] and not row.missing() for row in plugins.plugins("judge"))


def recognise_source(path: Path, factory: str) -> Recognised:
    """What a source is, with the person's own class or function that goes with it. Raises what `recognise` raises."""
    return recognise_class(path, factory) or recognise_parameters(path, factory) or recognise(path)


def row_for_file(path: Path, factory: str = "") -> plugins.Plugin:
    """The plug-in that takes a file, and the libraries it needs; nothing is imported. Raises UnknownFormat, and what `recognise` raises."""
    found = recognise_source(path, factory)
    if found.format not in _BY_FORMAT:
        raise UnknownFormat(
            f"{path}: recognised as {found.detail}, which this version of aweigh does not take yet",
            hint="convert it to ONNX with its framework's exporter and pack the .onnx file",
            recognised=found.detail,
        )
    return plugins.plugin("framework", _BY_FORMAT[found.format])


def framework_for_loaded(model: object, framework: Framework) -> Framework:
    """The framework that packs what another one loaded: a pickle may hold the model of a tree library."""
    found = next((name for kind in type(model).__mro__ if (name := kind.__module__.partition(".")[0]) in _TREES), "")
    return _load(found) if found else framework


def framework_for_object(model: object) -> Framework:
    """The framework whose model a live object is. Raises UnknownFormat."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    missing: MissingLibrary | None = None
    for row in plugins.plugins("framework"):
        if row.name in _HEAVY and row.name not in sys.modules:
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
        hint="give a fitted scikit-learn, XGBoost, LightGBM or CatBoost model, a PyTorch module, a JAX function with its parameters, an ONNX ModelProto or a path",
    )


def _load(name: str) -> Framework:
    return cast("type[Framework]", plugins.load("framework", name))()

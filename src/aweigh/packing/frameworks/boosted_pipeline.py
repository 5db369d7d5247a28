"""Models of tree libraries inside scikit-learn pipelines: converters for skl2onnx that write the library's own arithmetic. Called by `sklearn_convert.py`."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import skl2onnx
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from sklearn.base import is_classifier

from aweigh.packing.frameworks.boosted import boosted_parts, library, library_of
from aweigh.packing.frameworks.boosted_nodes import outputs_of
from aweigh.packing.frameworks.sklearn_nodes import Nodes, joined


def register_boosted(parts: Iterator[Any], *, sparse: bool) -> None:
    """Tell skl2onnx how those parts of an estimator are converted that are of a tree library; `sparse` says what they are fed.

    Registers anew each time, which is cheap: what was registered for the estimator before may not fit this one.
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        _convert(scope, operator, container, sparse=sparse)

    for part, _library in boosted_parts(parts):
        kind = type(part)
        options = {"zipmap": [True, False, "columns"], "nocl": [True, False]} if is_classifier(part) else None
        skl2onnx.update_registered_converter(kind, _alias(kind), _shapes, convert, overwrite=True, parser=_parse, options=options)


def _alias(kind: type) -> str:
    return f"Aweigh{kind.__name__}"


def _parse(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> Any:  # noqa: ARG001  # as skl2onnx calls it
    """Declare the outputs: skl2onnx does not take every library's classifiers for classifiers."""
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    names = ("label", "probabilities") if is_classifier(model) else ("variable",)
    for name in names:
        operator.outputs.append(scope.declare_local_variable(name, DoubleTensorType()))
    return operator.outputs


def _shapes(operator: Any) -> None:
    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if len(operator.outputs) == 1:
        operator.outputs[0].type = DoubleTensorType([rows, 1])
        return
    classes = np.asarray(model.classes_)
    operator.outputs[0].type = (StringTensorType if classes.dtype.kind in "OUST" else Int64TensorType)([rows])
    operator.outputs[1].type = DoubleTensorType([rows, len(classes)])


def _convert(scope: Any, operator: Any, container: Any, *, sparse: bool) -> None:
    model = operator.raw_operator
    source = library(library_of(model))
    found = source.read(model, None)
    if sparse and source.sparse_zero_missing:
        found = dataclasses.replace(found, zero_missing=frozenset(range(found.features)))
    graph = Nodes(scope, container)
    matrix = joined(graph, operator, TensorProto.DOUBLE)
    matrix = graph.add("Cast", [matrix], to=TensorProto.FLOAT if found.narrow else TensorProto.DOUBLE)
    made = outputs_of(graph, found, matrix)
    if len(operator.outputs) == 1:
        graph.add("Cast", [made["value"]()], output=operator.outputs[0].full_name, to=TensorProto.DOUBLE)
        return
    graph.add("Identity", [made["label"]()], output=operator.outputs[0].full_name)
    graph.add("Cast", [made["probability"]()], output=operator.outputs[1].full_name, to=TensorProto.DOUBLE)

"""skl2onnx converters for imputers, one-hot encoders and text weights that keep float64, booleans, unseen and missing values as scikit-learn has them.

skl2onnx's own go through float32 operators, refuse booleans, or weigh sublinear and empty texts wrongly. Called by `sklearn_convert.py`; what is not covered raises NotImplementedError.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx.common.data_types import BooleanTensorType, DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from aweigh.packing.frameworks.sklearn_nodes import Nodes, joined


def column_converters() -> tuple[dict[type, Any], dict[type, Any]]:
    """Converters and shape calculators to hand to `convert_sklearn`, by transformer class."""
    converters = {SimpleImputer: _convert_imputer, OneHotEncoder: _convert_one_hot, TfidfTransformer: _convert_weights}
    return converters, {SimpleImputer: _imputer_shapes, OneHotEncoder: _one_hot_shapes, TfidfTransformer: _weight_shapes}


def _rows(operator: Any) -> Any:
    return operator.inputs[0].get_first_dimension()


def _is_text(operator: Any) -> bool:
    return isinstance(operator.inputs[0].type, StringTensorType)


def _number(operator: Any) -> Any:
    """Float64, unless all that comes in is float32."""
    single = all(isinstance(variable.type, FloatTensorType) for variable in operator.inputs)
    return FloatTensorType if single else DoubleTensorType


def _imputer_shapes(operator: Any) -> None:
    kind = StringTensorType if _is_text(operator) else _number(operator)
    operator.outputs[0].type = kind([_rows(operator), len(operator.raw_operator.statistics_)])


def _one_hot_shapes(operator: Any) -> None:
    model = operator.raw_operator
    width = sum(len(values) for values in model.categories_) - _dropped(model).count(True)
    numbers = [variable for variable in operator.inputs if not isinstance(variable.type, StringTensorType)]
    kind = FloatTensorType if numbers and _number(operator) is FloatTensorType else DoubleTensorType
    operator.outputs[0].type = kind([_rows(operator), width])


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    model, graph = operator.raw_operator, Nodes(scope, container)
    if model.indicator_ is not None:
        raise NotImplementedError("an imputer that adds indicators")
    output = operator.outputs[0].full_name
    if _is_text(operator):
        source = joined(graph, operator, 0)
        columns = [_imputed_text(graph, source, at, model) for at in range(len(model.statistics_))]
        graph.add("Concat", columns, output=output, axis=1)
        return
    statistics = np.asarray(model.statistics_, dtype=np.float64)
    if np.isnan(statistics).any() or not isinstance(model.missing_values, float) or model.missing_values == model.missing_values:
        raise NotImplementedError("an imputer of dropped columns, or of another missing value than NaN")
    single = _number(operator) is FloatTensorType
    source = joined(graph, operator, TensorProto.FLOAT if single else TensorProto.DOUBLE)
    fill = graph.constant(statistics.astype(np.float32 if single else np.float64).reshape(1, -1))
    graph.add("Where", [graph.add("IsNaN", [source]), fill, source], output=output)


def _imputed_text(graph: Nodes, source: str, at: int, model: Any) -> str:
    column = graph.add("Gather", [source, graph.constant(np.array([at]))], axis=1)
    marks: dict[str, Any] = {"keys_strings": [model.missing_values], "values_int64s": [1], "default_int64": 0}
    found = graph.add("LabelEncoder", [column], domain="ai.onnx.ml", **marks)
    missing = graph.add("Cast", [found], to=TensorProto.BOOL)
    return graph.add("Where", [missing, graph.constant(np.array([[str(model.statistics_[at])]], dtype=object)), column])


def _dropped(model: Any) -> list[bool]:
    indices = model.drop_idx_ if model.drop_idx_ is not None else [None] * len(model.categories_)
    return [index is not None for index in indices]


def _convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    model, graph = operator.raw_operator, Nodes(scope, container)
    if getattr(model, "_infrequent_enabled", False):
        raise NotImplementedError("a one-hot encoder that merges infrequent categories")
    target = TensorProto.FLOAT if isinstance(operator.outputs[0].type, FloatTensorType) else TensorProto.DOUBLE
    indices = model.drop_idx_ if model.drop_idx_ is not None else [None] * len(model.categories_)
    parts = [
        graph.add("Cast", [_matches(graph, column, kind, values, drop)], to=target)
        for (column, kind), values, drop in zip(_columns(graph, operator), model.categories_, indices, strict=True)
    ]
    graph.add("Concat", parts, output=operator.outputs[0].full_name, axis=1)


def _columns(graph: Nodes, operator: Any) -> list[tuple[str, Any]]:
    """Each column that the encoder is given, as `[rows, 1]`, with its type."""
    found: list[tuple[str, Any]] = []
    for variable in operator.inputs:
        width = variable.get_second_dimension()
        if width in {1, None} and len(operator.inputs) == len(operator.raw_operator.categories_):
            found.append((variable.full_name, variable.type))
            continue
        found += [(graph.add("Gather", [variable.full_name, graph.constant(np.array([at]))], axis=1), variable.type) for at in range(width)]
    return found


def _matches(graph: Nodes, column: str, kind: Any, values: NDArray[Any], drop: int | None) -> str:
    """BOOL `[rows, categories]`: which category the column holds; none for an unseen one."""
    kept = [at for at in range(len(values)) if at != drop]
    if isinstance(kind, StringTensorType):
        texts = [str(item) for item in values.tolist()]
        if any(not isinstance(item, str) for item in values.tolist()):
            raise NotImplementedError("categories of mixed types in a text column")
        marks: dict[str, Any] = {"keys_strings": texts, "values_int64s": list(range(len(texts))), "default_int64": -1}
        place = graph.add("LabelEncoder", [column], domain="ai.onnx.ml", **marks)
        return graph.add("Equal", [place, graph.constant(np.array([kept], dtype=np.int64))])
    whole = isinstance(kind, Int64TensorType | BooleanTensorType)
    numbers = np.asarray(values, dtype=np.float64)[kept].reshape(1, -1)
    if whole and np.all(numbers == np.floor(numbers)):
        as_whole = graph.add("Cast", [column], to=TensorProto.INT64)
        return graph.add("Equal", [as_whole, graph.constant(numbers.astype(np.int64))])
    wide = graph.add("Cast", [column], to=TensorProto.DOUBLE)
    equal = graph.add("Equal", [wide, graph.constant(numbers)])
    both = graph.add("And", [graph.add("IsNaN", [wide]), graph.constant(np.isnan(numbers))])
    return graph.add("Or", [equal, both])


def _weight_shapes(operator: Any) -> None:
    operator.outputs[0].type = DoubleTensorType([_rows(operator), operator.inputs[0].get_second_dimension()])


def _convert_weights(scope: Any, operator: Any, container: Any) -> None:
    model, graph = operator.raw_operator, Nodes(scope, container)
    weights = joined(graph, operator, TensorProto.DOUBLE)
    zero, one = graph.constant(np.array(0.0)), graph.constant(np.array(1.0))
    if model.sublinear_tf:
        there = graph.add("Greater", [weights, zero])
        safe = graph.add("Where", [there, weights, one])
        weights = graph.add("Where", [there, graph.add("Add", [graph.add("Log", [safe]), one]), zero])
    if model.use_idf:
        weights = graph.add("Mul", [weights, graph.constant(np.asarray(model.idf_, dtype=np.float64).reshape(1, -1))])
    if model.norm:
        size = _length(graph, weights, model.norm)
        empty = graph.add("Equal", [size, zero])
        weights = graph.add("Div", [weights, graph.add("Where", [empty, one, size])])
    graph.add("Identity", [weights], output=operator.outputs[0].full_name)


def _length(graph: Nodes, weights: str, norm: str) -> str:
    axis = graph.constant(np.array([1]))
    if norm == "l1":
        return graph.add("ReduceSum", [graph.add("Abs", [weights]), axis], keepdims=1)
    return graph.add("Sqrt", [graph.add("ReduceSum", [graph.add("Mul", [weights, weights]), axis], keepdims=1)])

"""scikit-learn to ONNX: the ways to convert, in order of faithfulness, and the graph's edges made to fit the signature. Called by `sklearn.py`.

One way is one `Way`; `convert` carries it out or raises. Whether its graph answers rightly is not decided here: every graph is proven.
"""

import copy
import dataclasses
import os
import warnings
from collections.abc import Iterator
from typing import Any, Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from onnx import ModelProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import BooleanTensorType, DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.frameworks.boosted_pipeline import register_boosted
from aweigh.packing.frameworks.onnx_types import ONNX_TYPES
from aweigh.packing.frameworks.sklearn_columns import column_converters
from aweigh.packing.frameworks.sklearn_concat import widened
from aweigh.packing.frameworks.sklearn_frames import JOINED, takes_joined, with_columns
from aweigh.packing.frameworks.sklearn_signature import steps_of, text_columns, transformed_columns
from aweigh.packing.frameworks.sklearn_trees import tree_converters

OPSET: Final = 18
ML_OPSET: Final = 3
ML_OPSET_EXACT: Final = 5
MISSING: Final = "\ufdd0missing"
"""Stands for a missing text: begins with a Unicode noncharacter, which no text holds (Unicode 23.7)."""
_PATTERNS: Final = {r"(?u)\b\w\w+\b": r"[\p{L}\p{N}_]{2,}"}
"""Token patterns that RE2 needs otherwise: scikit-learn's default, whose \\w means Unicode where RE2's means ASCII."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to convert. `exact` puts trees into float64 ensembles; `integers` keeps integer inputs as integers inside the graph."""

    name: str
    double: bool
    exact: bool = False
    division: str = ""
    integers: bool = True

    @property
    def precision(self) -> str:
        return "fp64" if self.double else "fp32"


WAYS: Final = (
    Way(name="float64 graph with exact trees", double=True, exact=True),
    Way(name="float64 graph with exact trees, integers as floats", double=True, exact=True, integers=False),
    Way(name="float32 graph with exact trees and true division in scalers", double=False, exact=True, division="div"),
    Way(name="float64 graph", double=True),
    Way(name="plain float32 graph", double=False),
    Way(name="float32 graph, true division in scalers", double=False, division="div"),
    Way(name="float32 graph, float64 inside scalers", double=False, division="div_cast"),
)


def ways(signature: Signature) -> Iterator[Way]:
    """The ways to try, most faithful first: a source that is fed float32 computes in float32, any other in float64."""
    single = any(spec.datatype is Datatype.FP32 for spec in signature.inputs)
    whole = any(spec.datatype.is_integer or spec.datatype is Datatype.BOOL for spec in signature.inputs)
    found = [way for way in WAYS if way.integers or whole]
    yield from sorted(found, key=lambda way: way.double) if single else found


def convert(estimator: Any, signature: Signature, way: Way) -> ModelProto:
    """The ONNX graph of the estimator with the signature's inputs and outputs. Raises whatever skl2onnx raises."""
    source = rewritten(estimator, way, signature)
    joined = takes_joined(source, signature)
    types = [(JOINED, _matrix(signature, way))] if joined else [(spec.name, _initial_type(spec, way)) for spec in signature.inputs]
    functions, shapes = _converters() if way.exact else (None, None)
    register_boosted(parts_of(source), sparse=gives_sparse(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx warns of what the proof is going to check
        model = convert_sklearn(
            source,
            initial_types=types,
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options=_options(source, way),
            custom_conversion_functions=functions,
            custom_shape_calculators=shapes,
        )
    model = widened(model, double=way.double)
    return fitted(with_columns(model, signature) if joined else model, signature)


def _converters() -> tuple[dict[type, Any], dict[type, Any]]:
    """All of our own converters, and their shape calculators."""
    (trees, tree_shapes), (columns, column_shapes) = tree_converters(), column_converters()
    return trees | columns, tree_shapes | column_shapes


def _matrix(signature: Signature, way: Way) -> Any:
    shape = [None, len(signature.inputs)]
    return DoubleTensorType(shape) if way.double else FloatTensorType(shape)


def _initial_type(spec: TensorSpec, way: Way) -> Any:
    shape = [None, *[axis if isinstance(axis, int) else None for axis in spec.shape[1:]]]
    if spec.datatype is Datatype.BYTES:
        return StringTensorType(shape)
    if spec.datatype is Datatype.BOOL and way.integers:
        return BooleanTensorType(shape)
    if spec.datatype.is_integer and way.integers:
        return Int64TensorType(shape)
    return DoubleTensorType(shape) if way.double else FloatTensorType(shape)


def _options(estimator: Any, way: Way) -> dict[Any, Any]:
    options: dict[Any, Any] = {}
    for part in parts_of(estimator):
        if isinstance(part, CountVectorizer):
            options[id(part)] = {"locale": "C"} | ({"tokenexp": _PATTERNS[part.token_pattern]} if part.token_pattern in _PATTERNS else {})
        elif isinstance(part, StandardScaler) and way.division:
            options[id(part)] = {"div": way.division}
    if is_classifier(estimator) and not isinstance(steps_of(estimator)[-1], LinearSVC):
        options[id(estimator)] = {"zipmap": False}
    return options


def gives_sparse(estimator: Any) -> bool:
    """Whether a pipeline's last step is fed sparse rows: its columns' transformers decided so when they were fitted."""
    front = steps_of(estimator)[:-1]
    return bool(front) and bool(getattr(front[-1], "sparse_output_", getattr(front[-1], "sparse_output", False)))


def parts_of(estimator: Any) -> Iterator[Any]:
    """The estimator and everything fitted inside it."""
    yield estimator
    inner: list[Any] = []
    if isinstance(estimator, Pipeline):
        inner = [step for _name, step in estimator.steps]
    elif isinstance(estimator, ColumnTransformer):
        inner = [transformer for _name, transformer, _columns in estimator.transformers_]
    elif isinstance(estimator, FeatureUnion):
        inner = [transformer for _name, transformer in estimator.transformer_list]
    elif isinstance(getattr(estimator, "estimators_", None), list):
        inner = [member for member in estimator.estimators_ if not isinstance(member, str)]
    for part in inner:
        if part is not None and not isinstance(part, str):
            yield from parts_of(part)


def lowered_inputs(estimator: Any, signature: Signature, way: Way) -> tuple[str, ...]:
    """Inputs whose text the runtime lowers before the graph sees it: ONNX lowers only ASCII where no locale is installed."""
    vectorizers = [part for part in parts_of(estimator) if isinstance(part, CountVectorizer)]
    if not way.exact or not vectorizers or not all(part.lowercase and part.preprocessor is None for part in vectorizers):
        return ()
    columns = [name for transformer, names in transformed_columns(estimator) for name in names if not isinstance(transformer, str)]
    texts = text_columns(estimator) or {spec.name for spec in signature.inputs}
    shared = any(columns.count(name) > 1 for name in texts)
    return () if shared else tuple(sorted(texts))


def rewritten(estimator: Any, way: Way, signature: Signature) -> Any:
    """A copy that skl2onnx converts more faithfully: missing text by its sentinel, text weights in float64, votes unflattened."""
    source = copy.deepcopy(estimator)
    if lowered_inputs(estimator, signature, way):
        for part in parts_of(source):
            if isinstance(part, CountVectorizer):
                part.lowercase = False
    if way.exact and way.double:
        source = _with_double_text(source)
    for part in parts_of(source):
        if isinstance(part, VotingClassifier):
            part.flatten_transform = False
        _name_missing(part)
    return source


def _name_missing(part: Any) -> None:
    if hasattr(part, "missing_values") and hasattr(part, "statistics_") and part.statistics_.dtype == object:
        part.missing_values = MISSING
    categories = getattr(part, "categories_", None)
    if isinstance(categories, list):
        part.categories_ = [_named(values) for values in categories]


def _named(values: Any) -> Any:
    if values.dtype != object:
        return values
    return np.array([MISSING if item is None or item != item else item for item in values.tolist()], dtype=object)


def _with_double_text(part: Any) -> Any:
    if isinstance(part, Pipeline):
        part.steps = [(name, _with_double_text(step)) for name, step in part.steps]
    elif isinstance(part, ColumnTransformer):
        part.transformers_ = [(name, _with_double_text(inner), columns) for name, inner, columns in part.transformers_]
    elif isinstance(part, FeatureUnion):
        part.transformer_list = [(name, _with_double_text(inner)) for name, inner in part.transformer_list]
    elif isinstance(part, CountVectorizer):
        steps = [("count", _counting(part)), ("double", CastTransformer(dtype=np.float64))]
        return Pipeline([*steps, ("weight", part._tfidf)] if isinstance(part, TfidfVectorizer) else steps)
    return part


def _counting(part: Any) -> Any:
    if type(part) is CountVectorizer:
        return part
    wanted = CountVectorizer().get_params()
    plain = CountVectorizer(**{name: value for name, value in part.get_params().items() if name in wanted})
    plain.vocabulary_ = part.vocabulary_
    plain.fixed_vocabulary_ = getattr(part, "fixed_vocabulary_", False)
    return plain


def fitted(model: ModelProto, signature: Signature) -> ModelProto:
    """The model with exactly the signature's inputs (cast at the door) and outputs (renamed, cast, shaped)."""
    graph = model.graph
    before, after = [], []
    for spec, value in _paired(graph, signature):
        wanted = ONNX_TYPES[spec.datatype]
        if value.type.tensor_type.elem_type != wanted:
            inner = f"{spec.name}__inside"
            _rename(graph, spec.name, inner)
            before.append(helper.make_node("Cast", [spec.name], [inner], to=value.type.tensor_type.elem_type))
            value.type.tensor_type.elem_type = wanted
        _set_shape(value, spec)
    found = [output.name for output in graph.output]
    for position, spec in enumerate(signature.outputs):
        after += _door(graph, _source_output(found, spec, position), spec)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.datatype], list(spec.shape)) for spec in signature.outputs)
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    _set_opsets(model)
    return model


def _paired(graph: Any, signature: Signature) -> Iterator[tuple[TensorSpec, Any]]:
    """Each input of the signature with the graph's, under the signature's name: skl2onnx writes `_` for what is no identifier's character."""
    if len(graph.input) != len(signature.inputs):
        given = {value.name for value in graph.input}
        raise ValueError(f"the converter kept {len(graph.input)} of {len(signature.inputs)} inputs: {', '.join(sorted(given))[:200]}")
    for spec, value in zip(signature.inputs, graph.input, strict=True):
        if value.name != spec.name:
            _rename(graph, spec.name, f"{spec.name}__other")
            _rename(graph, value.name, spec.name)
            value.name = spec.name
        yield spec, value


def _source_output(found: list[str], spec: TensorSpec, position: int) -> str:
    wanted = {"probability": ("probabilities",), "label": ("label", "output_label"), "decision": ("scores",), "cluster": ("label",)}
    for name in wanted.get(spec.role, ()):
        if name in found:
            return name
    return found[position]


def _door(graph: Any, source: str, spec: TensorSpec) -> list[Any]:
    if any(spec.name in node.output for node in graph.node):
        _rename(graph, spec.name, f"{spec.name}__inside")  # the graph's own use of a name that is ours outside
    inner = f"{source}__inside" if source == spec.name else source
    if len(spec.shape) > 2:
        return [helper.make_node("Cast", [inner], [spec.name], to=ONNX_TYPES[spec.datatype])]
    shaped = f"{spec.name}__shaped"
    sizes = [-1, *[axis for axis in spec.shape[1:] if isinstance(axis, int)]]
    graph.initializer.append(numpy_helper.from_array(np.array(sizes, dtype=np.int64), f"{spec.name}__shape"))
    reshape = helper.make_node("Reshape", [inner, f"{spec.name}__shape"], [shaped])
    if spec.datatype is Datatype.BYTES:
        return [reshape, helper.make_node("Identity", [shaped], [spec.name])]
    return [reshape, helper.make_node("Cast", [shaped], [spec.name], to=ONNX_TYPES[spec.datatype])]


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new


def _set_shape(value: Any, spec: TensorSpec) -> None:
    axes = value.type.tensor_type.shape
    del axes.dim[:]
    for axis in spec.shape:
        dim = axes.dim.add()
        if isinstance(axis, int):
            dim.dim_value = axis
        else:
            dim.dim_param = axis


def _set_opsets(model: ModelProto) -> None:
    exact = any(node.op_type == "TreeEnsemble" for node in model.graph.node)
    for opset in model.opset_import:
        if opset.domain in {"", "ai.onnx"}:
            opset.version = OPSET
        elif opset.domain == "ai.onnx.ml":
            opset.version = ML_OPSET_EXACT if exact else ML_OPSET
    model.ir_version = min(model.ir_version or 9, 9)
    model.producer_name = "aweigh"

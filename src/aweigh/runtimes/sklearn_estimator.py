"""How a scikit-learn estimator is asked and answers, as tensors. Pure functions, shared by the session (in its process) and by `packing`,
so that golden answers and served answers come from the same code.

Options of a variant (all optional but `input_form`), by which tensors become again what the estimator was trained on:
  input_form       "frame": a DataFrame of `signature.columns`; "matrix": the one input as it is; "text": the one input as a sequence of documents
  dtype:COLUMN     pandas dtype of a column: "category", "object", "str", "bool", "int64", "float32", …; default: the input's own datatype
  ordered:COLUMN   true for an ordered category
  missing:COLUMN   what a missing element of a text or category column is: "nan" (default) or "none"
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from aweigh.core.errors import InvalidFile, InvalidInput, Unsupported
from aweigh.core.signature import Column, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors, text_of

Options = Mapping[str, str | int | float | bool]

_METHODS: Final = {
    "label": "predict",
    "cluster": "predict",
    "prediction": "predict",
    "probability": "predict_proba",
    "decision": "decision_function",
    "": "transform",
}
"""Output role -> method of the estimator that answers it."""


def to_frame_or_matrix(signature: Signature, tensors: Tensors, options: Options) -> Any:
    """The argument for the estimator's methods. Raises InvalidInput for text that is not UTF-8, Unsupported for an unknown form."""
    form = options.get("input_form", "matrix")
    if form == "frame":
        return pd.DataFrame({column.name: _column(column, signature, tensors, options) for column in signature.columns}, copy=False)
    first = signature.inputs[0]
    if len(signature.inputs) != 1 or form not in ("matrix", "text"):
        raise Unsupported(
            f"input_form {form!r} with {len(signature.inputs)} inputs is not a way to ask a scikit-learn estimator",
            hint="'frame' takes any number of inputs, 'matrix' and 'text' take one",
        )
    tensor = tensors[first.name]
    if form == "text":
        return [_document(item, first.name) for item in tensor.ravel().tolist()]
    return _texts(tensor, first.name, missing=np.nan) if first.datatype is Datatype.BYTES else tensor


def answer(estimator: Any, signature: Signature, tensors: Tensors, options: Options) -> list[Tensor]:
    """What the estimator answers, output by output of the signature: the role says which method is asked, each at most once."""
    asked = to_frame_or_matrix(signature, tensors, options)
    answers: dict[str, Any] = {}
    outputs: list[Tensor] = []
    for spec in signature.outputs:
        method = method_for(estimator, spec)
        if method not in answers:
            answers[method] = getattr(estimator, method)(asked)
        outputs.append(as_tensor(answers[method], spec))
    return outputs


def method_for(estimator: Any, spec: TensorSpec) -> str:
    """The estimator's method that answers an output. Raises Unsupported when it has none."""
    method = _METHODS.get(spec.role, "transform")
    if spec.role == "" and not hasattr(estimator, "transform"):
        method = "predict"
    if not hasattr(estimator, method):
        raise Unsupported(f"output '{spec.name}' needs {method}(), which {type(estimator).__name__} does not have")
    return method


def as_tensor(given: Any, spec: TensorSpec) -> Tensor:
    """What a method returned as the tensor that the output's spec promises: dense, of its datatype, of its rank."""
    if isinstance(given, list) and given and all(getattr(part, "ndim", 0) == 2 for part in given):
        given = np.hstack(given)  # predict_proba of several targets: one block of columns a target
    dense = given.toarray() if hasattr(given, "toarray") else np.asarray(given)
    dense = _texts(dense, "", missing=None) if spec.datatype is Datatype.BYTES else dense.astype(spec.datatype.dtype, copy=False)
    rank = len(spec.shape)
    if dense.ndim == rank + 1 and dense.shape[-1] == 1:
        return dense.reshape(dense.shape[:-1])
    return dense.reshape((*dense.shape, 1)) if dense.ndim == rank - 1 else dense


def _column(column: Column, signature: Signature, tensors: Tensors, options: Options) -> Any:
    tensor = tensors[column.input]
    values = tensor[:, column.index] if tensor.ndim > 1 else tensor
    dtype = str(options.get(f"dtype:{column.name}", ""))
    if signature.input(column.input).datatype is Datatype.BYTES:
        values = _texts(values, column.input, missing=None if options.get(f"missing:{column.name}") == "none" else np.nan)
    if dtype == "category":
        return _categorical(column, values, ordered=bool(options.get(f"ordered:{column.name}", False)))
    if dtype in ("", "object"):
        return pd.Series(values, dtype=values.dtype)  # said outright: pandas 3 would make its own string type of text
    try:
        return pd.Series(values).astype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"column '{column.name}' cannot be {dtype}, which the model was trained on: {error}",
            hint="check missing values and the column's type",
        ) from error


def _categorical(column: Column, values: Tensor, *, ordered: bool) -> Any:
    """Codes by the source's own order of categories; an unseen or missing element is missing."""
    if not column.categories:
        return pd.Categorical(values, ordered=ordered)
    categories = pd.Index(_categories(column, values), dtype=values.dtype)
    return pd.Categorical.from_codes(categories.get_indexer(pd.Index(values, dtype=values.dtype)), categories=categories, ordered=ordered)


def _categories(column: Column, values: Tensor) -> list[Any]:
    """The categories, kept as text, in the type of the values."""
    if values.dtype == object:
        return list(column.categories)
    if values.dtype == np.bool_:
        return [category.lower() == "true" for category in column.categories]
    read = float if values.dtype.kind == "f" else int
    try:
        return [read(category) for category in column.categories]
    except ValueError as error:
        raise InvalidFile(f"column '{column.name}' has a category that is no {values.dtype}: {error}") from error


def _texts(tensor: Tensor, name: str, *, missing: object) -> Tensor:
    """An object array of `str`, missing elements (None, NaN) as `missing`."""
    items = [
        item if item.__class__ is str else missing if item is None or item != item else text_of(item, name)  # NaN
        for item in tensor.ravel().tolist()
    ]
    filled = np.empty(len(items), dtype=object)
    filled[:] = items
    return filled.reshape(tensor.shape)


def _document(item: object, name: str) -> str:
    if item is None:
        raise InvalidInput(f"input '{name}' has a missing document", hint="send text for every element, the empty text too")
    return text_of(item, name)

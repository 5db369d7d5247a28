"""What a scikit-learn estimator takes and gives, as a Signature. Called by `frameworks/sklearn.py`; asks the estimator, runs no conversion.

A frame becomes one input per column `[batch, 1]`, a matrix one input `X` `[batch, n]`, texts one input `text` `[batch]`. Input datatypes are
those of the sample, so that the numbers a person has reach the model as they are.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.pipeline import Pipeline

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.nearest import listed, nearest
from aweigh.core.signature import BATCH, Axis, Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.packing.sample import Sample, column_tensor

MATRIX_INPUT: Final = "X"
TEXT_INPUT: Final = "text"
MAX_CATEGORIES: Final = 1000


def steps_of(estimator: Any) -> list[Any]:
    """The estimator's steps in order, pipelines inside pipelines flattened; one step for anything else."""
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [inner for _name, step in estimator.steps if step is not None and not isinstance(step, str) for inner in steps_of(step)]


def is_ranker(estimator: Any) -> bool:
    """Whether the estimator answers scores to order rows by; scikit-learn has no tag that all tree libraries set."""
    return type(steps_of(estimator)[-1]).__name__.endswith("Ranker")


def takes_text(estimator: Any) -> bool:
    """Whether the estimator is fed a plain list of texts."""
    first = steps_of(estimator)[0]
    if hasattr(first, "transformer_list"):
        return any(takes_text(part) for _name, part in first.transformer_list if not isinstance(part, str))
    return isinstance(first, CountVectorizer | HashingVectorizer)


def shaped_sample(estimator: Any, sample: Sample) -> Sample:
    """The sample in the form that the estimator takes: a frame for an estimator fitted on named columns, texts for a vectorizer."""
    if takes_text(estimator):
        return _texts(sample)
    if sample.form == "tensors":
        raise InvalidInput("a scikit-learn model takes one table, the sample holds several arrays", hint="give a frame or one array")
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and sample.form == "frame":
        return _ordered(sample, [str(name) for name in names])
    if names is not None and sample.form == "matrix" and sample.data.ndim == 2 and sample.data.shape[1] == len(names):
        return Sample(form="frame", data=pd.DataFrame(sample.data, columns=[str(name) for name in names]), source=sample.source)
    if names is None and sample.form == "frame" and not any(isinstance(step, ColumnTransformer) for step in steps_of(estimator)):
        return _matrix(sample, estimator)
    if sample.form == "text":
        return Sample(form="matrix", data=sample.data.reshape(-1, 1), source=sample.source)
    _check_width(estimator, sample)
    return sample


def _texts(sample: Sample) -> Sample:
    if sample.form == "frame" and len(sample.data.columns) == 1:
        name = sample.data.columns[0]
        texts = sample.data[name].astype(object).where(sample.data[name].notna(), "")  # to a table an empty document is a missing one
        return Sample(form="text", data=column_tensor(texts, str(name)), source=sample.source)
    if sample.form != "text":
        raise InvalidInput("this model takes texts, the sample holds none", hint="give a list of texts or one text column")
    return sample


def _ordered(sample: Sample, names: list[str]) -> Sample:
    missing = [name for name in names if name not in sample.data.columns]
    if missing:
        have = [str(name) for name in sample.data.columns]
        near = nearest(missing[0], have)
        raise InvalidInput(
            f"the sample has no column '{missing[0]}', which the model was fitted with",
            hint=f"{f'is it {near!r}? ' if near else ''}it has {listed([repr(name) for name in have])}",
        )
    return Sample(form="frame", data=sample.data[names], source=sample.source)


def _matrix(sample: Sample, estimator: Any) -> Sample:
    array = sample.data.to_numpy()
    if array.dtype == object:
        array = np.column_stack([column_tensor(sample.data[name], str(name)) for name in sample.data.columns])
    found = Sample(form="matrix", data=array, source=sample.source)
    _check_width(estimator, found)
    return found


def _check_width(estimator: Any, sample: Sample) -> None:
    wanted = getattr(estimator, "n_features_in_", None)
    have = sample.data.shape[1] if sample.form == "frame" or sample.data.ndim == 2 else 1
    if sample.form == "matrix" and sample.data.ndim != 2:
        raise InvalidInput(f"the sample has shape {list(sample.data.shape)}, the model takes rows of features", hint="give a 2-D array")
    if wanted is not None and wanted != have:
        raise InvalidInput(f"the sample has {have} columns, the model was fitted with {wanted}", hint="give the columns it was fitted with")


def sample_tensors(sample: Sample) -> dict[str, Tensor]:
    """The sample as the request tensors of its signature."""
    if sample.form == "frame":
        return {str(name): column_tensor(sample.data[name], str(name)).reshape(-1, 1) for name in sample.data.columns}
    if sample.form == "text":
        return {TEXT_INPUT: sample.data.reshape(-1)}
    return {MATRIX_INPUT: np.ascontiguousarray(sample.data)}


def make_signature(estimator: Any, sample: Sample) -> tuple[Signature, dict[str, str | int | float | bool]]:
    """The signature of an estimator for a sample in its form, and the options that the sklearn runtime needs to ask it."""
    tensors = sample_tensors(sample)
    inputs = tuple(
        TensorSpec(name=name, datatype=datatype_of(tensor), shape=(BATCH, *tensor.shape[1:])) for name, tensor in tensors.items()
    )
    task, outputs = _outputs(estimator, sample)
    labels = tuple(_plain(label) for label in estimator.classes_) if task is Task.CLASSIFICATION and _single(estimator) else ()
    signature = Signature(inputs=inputs, outputs=outputs, task=task, columns=_columns(estimator, sample), labels=labels)
    return signature, {"input_form": sample.form, **(_column_options(sample.data) if sample.form == "frame" else {})}


def _column_options(frame: Any) -> dict[str, str | int | float | bool]:
    """How columns become again what the estimator was trained on: see `runtimes/sklearn_estimator.py`."""
    options: dict[str, str | int | float | bool] = {}
    for name in frame.columns:
        series = frame[name]
        if isinstance(series.dtype, pd.CategoricalDtype):
            options[f"dtype:{name}"] = "category"
            if series.cat.ordered:
                options[f"ordered:{name}"] = True
        elif series.dtype == object and any(item is None for item in series.tolist()):
            options[f"missing:{name}"] = "none"
    return options


def _single(estimator: Any) -> bool:
    return isinstance(getattr(estimator, "classes_", None), np.ndarray) and estimator.classes_.ndim == 1


def _plain(label: Any) -> Any:
    plain = label.item() if isinstance(label, np.generic) else label
    return plain if isinstance(plain, str | int | float | bool) else str(plain)


def _outputs(estimator: Any, sample: Sample) -> tuple[Task, tuple[TensorSpec, ...]]:
    few = sample.data.iloc[:2] if sample.form == "frame" else sample.data[:2]
    if is_classifier(estimator):
        labels = np.asarray(estimator.predict(few))
        specs = [_spec("label", labels[:, 0] if _single(estimator) and labels.shape == (len(few), 1) else labels, "label")]
        if _single(estimator) and callable(getattr(estimator, "predict_proba", None)):
            specs.append(_spec("probabilities", np.asarray(estimator.predict_proba(few)), "probability"))
        return Task.CLASSIFICATION, tuple(specs)
    if is_outlier_detector(estimator) and hasattr(estimator, "predict"):
        specs = [_spec("label", np.asarray(estimator.predict(few)), "label")]
        if callable(getattr(estimator, "decision_function", None)):
            specs.append(_spec("decision", np.asarray(estimator.decision_function(few)), "decision"))
        return Task.OUTLIERS, tuple(specs)
    if is_ranker(estimator):
        return Task.RANKING, (_spec("score", np.asarray(estimator.predict(few)), ""),)
    if is_clusterer(estimator) and hasattr(estimator, "predict"):
        return Task.CLUSTERING, (_spec("cluster", np.asarray(estimator.predict(few)), "cluster"),)
    if is_regressor(estimator) or hasattr(estimator, "predict"):
        return Task.REGRESSION, (_spec("prediction", np.asarray(estimator.predict(few)), "prediction"),)
    if hasattr(estimator, "transform"):
        out = estimator.transform(few)
        return Task.TRANSFORM, (_spec("output", np.asarray(out.toarray() if hasattr(out, "toarray") else out), ""),)
    raise Unsupported(f"{type(estimator).__name__} has neither predict nor transform", hint="pack an estimator that answers new rows")


def _spec(name: str, answer: Tensor, role: str) -> TensorSpec:
    axes: tuple[Axis, ...] = tuple(int(size) for size in answer.shape[1:])
    datatype = datatype_of(answer)
    return TensorSpec(name=name, datatype=Datatype.INT64 if datatype.is_integer else datatype, shape=(BATCH, *axes), role=role)


def _columns(estimator: Any, sample: Sample) -> tuple[Column, ...]:
    if sample.form == "text":
        return (Column(name=TEXT_INPUT, kind=ColumnKind.TEXT, input=TEXT_INPUT),)
    if sample.form == "matrix":
        names = getattr(estimator, "feature_names_in_", None)
        kind = _kind(datatype_of(sample.data))
        return tuple(Column(name=str(n), kind=kind, input=MATRIX_INPUT, index=i) for i, n in enumerate(names)) if names is not None else ()
    known = column_categories(estimator, [str(name) for name in sample.data.columns])
    texts = text_columns(estimator)
    found = []
    for name, tensor in sample_tensors(sample).items():
        kind = _kind(datatype_of(tensor))
        kind = ColumnKind.CATEGORY if kind is ColumnKind.TEXT and name not in texts else kind
        missing = any(item is None for item in tensor.ravel().tolist()) if tensor.dtype == object else bool(np.any(tensor != tensor))
        dtype = sample.data[name].dtype
        own = tuple(str(item) for item in dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else ()
        categories = own or known.get(name, ())
        found.append(Column(name=name, kind=kind, input=name, categories=own or categories[:MAX_CATEGORIES], nullable=missing))
    return tuple(found)


def _kind(datatype: Datatype) -> ColumnKind:
    if datatype is Datatype.BYTES:
        return ColumnKind.TEXT
    if datatype is Datatype.BOOL:
        return ColumnKind.BOOLEAN
    return ColumnKind.INTEGER if datatype.is_integer else ColumnKind.NUMBER


def transformed_columns(estimator: Any) -> list[tuple[Any, list[str]]]:
    """Each fitted transformer of the estimator's ColumnTransformers and the columns it is given, by name."""
    found: list[tuple[Any, list[str]]] = []
    for step in steps_of(estimator):
        if not isinstance(step, ColumnTransformer):
            continue
        names = [str(name) for name in getattr(step, "feature_names_in_", [])]
        for _name, transformer, columns in step.transformers_:
            found.append((transformer, _names(columns, names)))
    return found


def _names(columns: Any, names: list[str]) -> list[str]:
    if isinstance(columns, slice):
        return names[columns] if not isinstance(columns.start, str) else []
    listed = np.atleast_1d(np.asarray(columns, dtype=object)).tolist()
    if listed and all(isinstance(item, bool) for item in listed):
        return [name for name, chosen in zip(names, listed, strict=False) if chosen]
    return [names[item] if isinstance(item, int) and item < len(names) else str(item) for item in listed]


def column_categories(estimator: Any, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The categories that encoders learned, by column, as text; missing ones left out."""
    first = steps_of(estimator)[0]
    pairs = transformed_columns(estimator) or ([(first, names)] if hasattr(first, "categories_") else [])
    found: dict[str, tuple[str, ...]] = {}
    for transformer, columns in pairs:
        for step in steps_of(transformer):
            categories = getattr(step, "categories_", None)
            if categories is not None and len(categories) == len(columns):
                found |= {
                    name: tuple(str(item) for item in values if item is not None and item == item)
                    for name, values in zip(columns, categories, strict=True)
                }
    return found


def text_columns(estimator: Any) -> set[str]:
    """Columns that a vectorizer reads as free text."""
    return {name for transformer, columns in transformed_columns(estimator) if takes_text(transformer) for name in columns}

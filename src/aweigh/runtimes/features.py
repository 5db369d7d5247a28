"""Turns a request's tensors into the one matrix that tree libraries take: columns in the order of training, categories as their places.

Planned once at load, run on each call of the native tree runtimes. Options of a variant that it reads: `dtype:COLUMN` = "category" (see
`sklearn_estimator`); an unseen or missing category becomes NaN.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.signature import Column, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors, text_of

Numbers = NDArray[np.floating[Any]]
Options = Mapping[str, str | int | float | bool]


class FeatureMatrix:
    """`matrix(tensors)` gives `[rows, features]`; `texts` are the positions of columns that stay text (CatBoost), given apart."""

    def __init__(self, signature: Signature, options: Options, dtype: type[np.floating[Any]], texts: frozenset[int] = frozenset()) -> None:
        self._dtype = dtype
        self._whole: str | None = None
        self._columns: list[tuple[str, Callable[[Tensor], Any]]] = []
        first = signature.inputs[0]
        categories = [column for column in signature.columns if options.get(f"dtype:{column.name}") == "category"]
        if len(signature.inputs) == 1 and not categories and not texts and first.datatype is not Datatype.BYTES and len(first.shape) == 2:
            self._whole = first.name
            return
        for at, column in enumerate(signature.columns or _unnamed(signature)):
            spec = signature.input(column.input)
            self._columns.append((spec.name, self._reader(column, spec, category=column in categories, text=at in texts)))

    def _reader(self, column: Column, spec: TensorSpec, *, category: bool, text: bool) -> Callable[[Tensor], Any]:
        def flat(tensor: Tensor) -> Tensor:
            return tensor.reshape(len(tensor), -1)[:, column.index]

        if text:
            return lambda tensor: _words(flat(tensor), spec.name)
        if category:
            places = _places(column, spec)
            return lambda tensor: _codes(flat(tensor), places, self._dtype)
        if spec.datatype is Datatype.BYTES:
            raise InvalidFile(
                f"column '{column.name}' holds text, but the variant does not say which categories", hint="pack the model again"
            )
        return lambda tensor: flat(tensor).astype(self._dtype)

    def __call__(self, tensors: Tensors) -> Numbers:
        """The matrix; none of the columns may stay text."""
        try:
            if self._whole is not None:
                return np.ascontiguousarray(tensors[self._whole], dtype=self._dtype)
            return np.stack(self.columns(tensors), axis=1)
        except (ValueError, TypeError, IndexError) as error:
            raise InvalidInput(f"the model refused these inputs: {error}") from error

    def columns(self, tensors: Tensors) -> list[Any]:
        """Column by column: numbers as an array, texts as a list."""
        return [read(tensors[name]) for name, read in self._columns]


def _unnamed(signature: Signature) -> list[Column]:
    """Columns of a matrix whose columns have no names."""
    spec = signature.inputs[0]
    count = spec.shape[-1] if len(spec.shape) > 1 and isinstance(spec.shape[-1], int) else 1
    return [Column(name=f"{spec.name}[{at}]", kind="number", input=spec.name, index=at) for at in range(count)]  # type: ignore[arg-type]


def _places(column: Column, spec: TensorSpec) -> dict[object, int]:
    """Place by category, in the type of the input."""
    try:
        return {_typed(value, spec.datatype): at for at, value in enumerate(column.categories)}
    except ValueError as error:
        raise InvalidFile(f"column '{column.name}' has a category that is no {spec.datatype.value}: {error}") from error


def _typed(value: str, datatype: Datatype) -> object:
    if datatype is Datatype.BYTES:
        return value
    return value.lower() == "true" if datatype is Datatype.BOOL else float(value)


def _codes(values: Tensor, places: Mapping[object, int], dtype: type[np.floating[Any]]) -> Numbers:
    items = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in values.tolist()]
    return np.array([places.get(item, math.nan) for item in items], dtype=dtype)


def _words(values: Tensor, name: str) -> list[str]:
    if values.dtype != object:
        return [str(item) for item in values.tolist()]
    items = values.tolist()
    if None in items:
        raise InvalidInput(f"input '{name}' has a missing element, and this model takes none", hint="send text for every element")
    return [item if item.__class__ is str else text_of(item, name) for item in items]

"""The signature: what a model takes and gives, as named tensors with symbolic axes, and what they mean (columns, labels, task).

Made by `pack`, kept in the package, enforced by the engine before a session runs. Knows no framework and no wire format.
"""

import enum
import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput
from aweigh.core.tensors import Datatype, Tensor, Tensors

Axis = int | str
"""One axis of a shape: a fixed size, or the name of a symbolic axis. Equal names are equal sizes within one request."""

BATCH: Final = "batch"
MAX_RANK: Final = 32


class Task(enum.StrEnum):
    """What the model is for; decides how answers are compared and how frames are answered."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    RANKING = "ranking"
    CLUSTERING = "clustering"
    OUTLIERS = "outliers"
    TRANSFORM = "transform"
    DETECTION = "detection"
    RETRIEVAL = "retrieval"
    GENERAL = "general"


class ColumnKind(enum.StrEnum):
    """What a column of a frame holds."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TEXT = "text"
    IMAGE = "image"
    SOUND = "sound"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a float may stray: |actual - expected| <= atol + rtol * |expected| + scale * (largest magnitude of the expected row)."""

    atol: float
    rtol: float
    scale: float = 0.0


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named input or output: datatype, shape (axes), and for outputs the role that frames and comparison read."""

    name: str
    datatype: Datatype
    shape: tuple[Axis, ...]
    role: str = ""
    """Of an output: "label", "probability", "prediction", "decision", "cluster" or "" (its own name is the column name)."""
    takes_missing: bool = True
    """Of an input: whether the source answers NaN (floats) and missing elements (BYTES); False = it refuses them, and so do we."""
    takes_infinite: bool = True
    """Of a float input: whether the source answers infinities; False = it refuses them, and so do we."""
    refuses_missing_at: tuple[int, ...] = ()
    """Of an input that takes missing values: the positions in a row (its elements in order) where the source refuses them."""
    refuses_infinite_at: tuple[int, ...] = ()
    """The same of infinities."""
    padding: int | float | str | None = None
    """Of an input: what its symbolic axes behind the batch are filled up with, so that requests of different sizes can run together; None = they do not."""
    tolerance: Tolerance | None = None
    """Of a float output: bounds given when it was packed, instead of its datatype's."""

    @property
    def takes_all(self) -> bool:
        """Of an input: whether the source answers missing values and infinities wherever they stand."""
        return self.takes_missing and self.takes_infinite and not self.refuses_missing_at and not self.refuses_infinite_at

    @property
    def wire_shape(self) -> list[int]:
        """The shape as Open Inference metadata shows it: -1 for a symbolic axis."""
        return [axis if isinstance(axis, int) else -1 for axis in self.shape]


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named column of the frame a person sends, and the input (and position on its last axis) that it feeds."""

    name: str
    kind: ColumnKind
    input: str
    index: int = 0
    categories: tuple[str, ...] = ()
    nullable: bool = False


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Named inputs and outputs. `columns` is empty where a frame has no meaning; `labels` are a classifier's, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: Task = Task.GENERAL
    columns: tuple[Column, ...] = ()
    labels: tuple[str | int | float | bool, ...] = ()

    def input(self, name: str) -> TensorSpec:
        """The input of that name. Raises InvalidInput that lists the names there are."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        known = ", ".join(f"'{spec.name}'" for spec in self.inputs)
        raise InvalidInput(f"unexpected input '{name}'", hint=f"this model takes {known}", unexpected_input=name)

    @property
    def batched(self) -> bool:
        """Whether every input and output has the symbolic batch axis first."""
        specs = (*self.inputs, *self.outputs)
        return all(spec.shape and spec.shape[0] == BATCH for spec in specs)

    def with_role(self, role: str) -> TensorSpec | None:
        """The first output of that role, or None."""
        return next((spec for spec in self.outputs if spec.role == role), None)

    def batch_size(self, tensors: Tensors) -> int:
        """Rows in a request; 1 where the signature has no batch axis."""
        return int(tensors[self.inputs[0].name].shape[0]) if self.batched else 1

    def without_rows(self) -> list[Tensor]:
        """The outputs of a request of no rows: every symbolic axis is 0."""
        return [np.empty([axis if isinstance(axis, int) else 0 for axis in spec.shape], dtype=spec.datatype.dtype) for spec in self.outputs]

    def check(self, tensors: Tensors) -> None:
        """Raise InvalidInput, naming the input, unless names, datatypes and shapes fit, symbolic axes being equal where their names are."""
        if len(tensors) != len(self.inputs):
            self._check_names(tensors)
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            tensor = tensors.get(spec.name)
            if tensor is None:
                self._check_names(tensors)
                raise InvalidInput(f"input '{spec.name}' is missing")
            if tensor.dtype is not spec.datatype.dtype and tensor.dtype != spec.datatype.dtype:
                raise InvalidInput(f"input '{spec.name}': expected datatype {spec.datatype.value}, got {tensor.dtype}", input=spec.name)
            if not _fits(tensor, spec, sizes):
                note = _axes_note(spec, tensor, sizes)
                raise InvalidInput(
                    f"unexpected shape for input '{spec.name}': expected {spec.wire_shape}, got {list(tensor.shape)}{note}",
                    input=spec.name,
                    note=note,
                    expected_shape=spec.wire_shape,
                    shape=list(tensor.shape),
                )

    def check_finite(self, tensors: Tensors) -> None:
        """Raise InvalidInput, naming input and row, for NaN, infinite or missing elements that the source itself refuses. After `check`."""
        for spec in self.inputs:
            if not spec.takes_all and (found := _refused(tensors[spec.name], spec)):
                at, what = found
                raise InvalidInput(
                    f"input '{spec.name}': {what} at {list(at)}, which this model does not take",
                    hint="the model was trained without such values: send a number" if spec.datatype.is_float else "send a text",
                    input=spec.name,
                )

    def _check_names(self, tensors: Tensors) -> None:
        for name in tensors:
            self.input(name)
        missing = [spec.name for spec in self.inputs if spec.name not in tensors]
        if missing:
            given = ", ".join(f"'{name}'" for name in tensors) or "none"
            raise InvalidInput(
                f"expected {len(self.inputs)} inputs but got {len(tensors)}: '{missing[0]}' is missing",
                hint=f"inputs given: {given}",
                inputs_expected=len(self.inputs),
                given=", ".join(f"'{name}'" for name in tensors),
                missing=", ".join(f"'{name}'" for name in missing),
                inputs_given=len(tensors),
            )


def _refused(tensor: Tensor, spec: TensorSpec) -> tuple[tuple[int, ...], str] | None:
    """Position and name of the first element that the source refuses, or None. One pass, nothing copied, on the good path."""
    if spec.datatype is Datatype.BYTES:
        items = [] if spec.takes_missing and not spec.refuses_missing_at else tensor.ravel().tolist()
        if None not in items:
            return None
        absent = np.array([item is None for item in items]).reshape(tensor.shape)
        wrong = _where_refused(absent, spec.refuses_missing_at, anywhere=not spec.takes_missing)
    elif not spec.datatype.is_float or _all_finite(tensor):
        return None
    else:
        wrong = _where_refused(np.isnan(tensor), spec.refuses_missing_at, anywhere=not spec.takes_missing)
        wrong |= _where_refused(np.isinf(tensor), spec.refuses_infinite_at, anywhere=not spec.takes_infinite)
    if not wrong.any():
        return None
    where = tuple(int(i) for i in np.unravel_index(np.flatnonzero(wrong)[0], tensor.shape))
    what = "a missing element" if spec.datatype is Datatype.BYTES else "NaN" if np.isnan(tensor[where]) else "an infinity"
    return where, what


def _where_refused(found: NDArray[np.bool_], positions: tuple[int, ...], *, anywhere: bool) -> NDArray[np.bool_]:
    """Which of the odd elements that were found stand where the source refuses them."""
    if anywhere or not positions:
        return found if anywhere else np.zeros_like(found)
    refused = np.zeros((len(found), math.prod(found.shape[1:])), dtype=np.bool_)
    places = list(positions)
    refused[:, places] = found.reshape(refused.shape)[:, places]
    return refused.reshape(found.shape)


def _all_finite(tensor: Tensor) -> bool:
    if tensor.size <= 16:  # below this the array machinery costs more than a loop
        return all(map(math.isfinite, tensor.ravel().tolist()))
    return bool(np.isfinite(tensor).all())


def _fits(tensor: Tensor, spec: TensorSpec, sizes: dict[str, int]) -> bool:
    shape = tensor.shape
    if len(shape) != len(spec.shape):
        return False
    for size, axis in zip(shape, spec.shape, strict=True):
        if axis.__class__ is int:
            if size != axis:
                return False
        elif sizes.setdefault(axis, size) != size:  # type: ignore[arg-type]  # an axis that is no int is a str
            return False
    return True


def _axes_note(spec: TensorSpec, tensor: Tensor, sizes: dict[str, int]) -> str:
    if len(tensor.shape) != len(spec.shape):
        return ""
    for size, axis in zip(tensor.shape, spec.shape, strict=True):
        if isinstance(axis, str) and sizes.get(axis, size) != size:
            return f" (axis '{axis}' is {sizes[axis]} in another input)"
    return ""

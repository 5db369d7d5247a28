"""Comparison of answers: is B what A said? Used by the proof at pack time and by the golden replay at load. Pure arithmetic.

Floats agree within the bounds of `core/tolerances.py` and NaN with NaN, infinities exactly; everything else (labels, integers, text) is equal or not.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aweigh.core.signature import BATCH, TensorSpec, Tolerance
from aweigh.core.tensors import Datatype, Tensor
from aweigh.core.tolerances import tolerance_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How one output differs. `bad_rows` are positions on the first axis (0 for a scalar), worst first."""

    name: str
    exact: bool
    """Compared for equality (labels, integers, text) rather than within a tolerance."""
    max_abs: float
    max_rel: float
    max_ulp: float
    """In float32 units in the last place; 0 for exact outputs."""
    max_of_row: float = 0.0
    """As a share of the row's largest finite magnitude, of 1 at least: tells rounding of huge numbers from a fault."""
    mismatches: int
    """Elements beyond tolerance or unequal."""
    bad_rows: tuple[int, ...]
    problem: str = ""
    """Set when shape or kind already disagree; then every row counts as bad."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How all outputs of one case differ."""

    outputs: tuple[OutputDifference, ...]

    @property
    def agrees(self) -> bool:
        return not any(output.mismatches for output in self.outputs)

    @property
    def flips(self) -> int:
        """Rows whose label (any exact output) changed."""
        return len({row for output in self.outputs if output.exact for row in output.bad_rows})

    @property
    def bad_rows(self) -> tuple[int, ...]:
        """Rows with any mismatch, worst output first, each once."""
        return tuple(dict.fromkeys(row for output in self.outputs for row in output.bad_rows))


def compare(
    specs: Sequence[TensorSpec],
    expected: Sequence[Tensor],
    actual: Sequence[Tensor],
    *,
    tolerances: dict[Datatype, Tolerance] | None = None,
) -> Difference:
    """Compare answers output by output; `tolerances` override those of the outputs by datatype."""
    return Difference(
        outputs=tuple(_compare_output(spec, a, b, tolerances or {}) for spec, a, b in zip(specs, expected, actual, strict=True))
    )


def _compare_output(spec: TensorSpec, expected: Tensor, actual: Tensor, bounds: dict[Datatype, Tolerance]) -> OutputDifference:
    exact = not spec.datatype.is_float
    if expected.shape != actual.shape:
        problem = f"shape {list(actual.shape)} where {list(expected.shape)} was expected"
        rows = tuple(range(max(1, expected.shape[0] if expected.ndim else 1)))
        return OutputDifference(
            name=spec.name,
            exact=exact,
            max_abs=np.inf,
            max_rel=np.inf,
            max_ulp=np.inf,
            mismatches=max(1, expected.size),
            bad_rows=rows,
            problem=problem,
        )
    if exact:
        wrong = _unequal(expected, actual)
        return OutputDifference(
            name=spec.name,
            exact=True,
            max_abs=0.0,
            max_rel=0.0,
            max_ulp=0.0,
            mismatches=int(wrong.sum()),
            bad_rows=_rows(wrong, wrong.astype(np.float64)),
        )
    bound = bounds.get(spec.datatype) or tolerance_of(spec)
    return _compare_floats(spec, expected.astype(np.float64), actual.astype(np.float64), bound)


def _compare_floats(spec: TensorSpec, a: NDArray[np.float64], b: NDArray[np.float64], bound: Tolerance) -> OutputDifference:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        gap = np.where(same, 0.0, np.abs(a - b))
        gap = np.where(np.isnan(gap), np.inf, gap)
        # An infinity agrees with itself alone: inf <= atol + rtol * inf would hold for anything.
        wrong = ~same & (~(gap <= bound.atol + bound.rtol * np.abs(a) + _slack(spec, a, bound)) | np.isinf(a) | np.isinf(b))
        size = np.maximum(np.abs(a), np.finfo(np.float32).tiny)
        relative = _ratio(gap, size)
        ulp = _ratio(gap, np.spacing(size.astype(np.float32)).astype(np.float64))
    return OutputDifference(
        name=spec.name,
        exact=False,
        max_abs=float(gap.max(initial=0.0)),
        max_rel=float(relative.max(initial=0.0)),
        max_ulp=float(ulp.max(initial=0.0)),
        max_of_row=float(_ratio(gap, np.maximum(_magnitude(spec, a), 1.0)).max(initial=0.0)),
        mismatches=int(wrong.sum()),
        bad_rows=_rows(wrong, gap),
    )


def _slack(spec: TensorSpec, expected: NDArray[np.float64], bound: Tolerance) -> NDArray[np.float64] | float:
    """What the largest finite magnitude of each row allows its other values."""
    return bound.scale * _magnitude(spec, expected) if bound.scale and expected.size else 0.0


def _magnitude(spec: TensorSpec, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest finite magnitude of each row, to be held against its values."""
    magnitude = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    batched = bool(spec.shape) and spec.shape[0] == BATCH and expected.ndim > 0
    rows = tuple(range(1, expected.ndim)) if batched else None
    return np.asarray(magnitude.max(axis=rows, initial=0.0, keepdims=True))


def _ratio(gap: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gap by size; 0 where there is no gap, infinite where one of them is not a number."""
    ratio = np.where(gap == 0.0, 0.0, gap / size)
    return np.where(np.isnan(ratio), np.inf, ratio)


def _unequal(expected: Tensor, actual: Tensor) -> NDArray[np.bool_]:
    if expected.dtype.kind in "OUST" or actual.dtype.kind in "OUST":
        pairs = zip(expected.ravel().tolist(), actual.ravel().tolist(), strict=True)
        return np.array([_text(a) != _text(b) for a, b in pairs], dtype=np.bool_).reshape(expected.shape)
    return np.asarray(expected != actual)


def _text(item: object) -> object:
    return item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else item


def _rows(wrong: NDArray[np.bool_], gap: NDArray[np.float64]) -> tuple[int, ...]:
    if not wrong.any():
        return ()
    if wrong.ndim == 0:
        return (0,)
    flat = np.where(wrong, gap, -1.0).reshape(wrong.shape[0], -1).max(axis=1, initial=-1.0)
    rows = np.flatnonzero(flat >= 0)
    return tuple(int(row) for row in rows[np.argsort(-flat[rows], kind="stable")])

"""Cuts the rows of an evaluation by the values of columns: texts and few numbers by value, many numbers into quarters."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from aweigh.core.frames import is_missing
from aweigh.evaluation.scores import Rows

MISSING: Final = "(missing)"
OTHER: Final = "(other)"
_MAX_NUMBERS: Final = 10
"""Different numbers beyond which a column is cut into ranges."""
_MAX_VALUES: Final = 20
_MAX_WHOLE: Final = 2.0**53
"""Below it floats are written as the whole numbers that they are."""


def cut(values: Sequence[Any]) -> list[tuple[str, Rows]]:
    """Name and rows of each slice; the rarest of more than twenty values go together."""
    numbers = _numbers(values)
    if numbers is not None and len(set(numbers[~np.isnan(numbers)].tolist())) > _MAX_NUMBERS:
        return _quarters(numbers)
    names = [_name(value) for value in values]
    counts = Counter(names)
    kept = {name for name, _ in counts.most_common(_MAX_VALUES - 1)} if len(counts) > _MAX_VALUES else set(counts)
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name if name in kept else OTHER, []).append(row)
    return [(name, np.array(rows, dtype=np.int64)) for name, rows in sorted(found.items())]


def _name(value: Any) -> str:
    if is_missing(value) or value == "":
        return MISSING
    if not isinstance(value, float):
        return str(value)[:80]
    return str(int(value)) if value.is_integer() and abs(value) < _MAX_WHOLE else repr(float(value))


def _numbers(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The values as numbers (NaN where missing), or None where one is none that a float holds. Texts of a CSV count as what they say."""
    try:
        return np.array([np.nan if is_missing(value) or value == "" else float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _quarters(numbers: Any) -> list[tuple[str, Rows]]:
    """Quarters of what is finite; what is infinite goes to the first and the last."""
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known[np.isfinite(known)], [0.25, 0.5, 0.75]))
    place = np.searchsorted(edges, numbers, side="left")
    names = _apart([known.min(), *edges, known.max()])
    found = []
    for at in range(len(edges) + 1):
        rows = np.flatnonzero((place == at) & ~np.isnan(numbers))
        if len(rows):
            opening = "[" if at == 0 else "("
            found.append((f"{opening}{names[at]}, {names[at + 1]}]", rows))
    missing = np.flatnonzero(np.isnan(numbers))
    return [*found, (MISSING, missing)] if len(missing) else found


def _apart(bounds: Sequence[float]) -> list[str]:
    """Each in four digits, or in as many as tell different ones apart."""
    for digits in range(4, 18):
        names = [f"{bound:.{digits}g}" for bound in bounds]
        if len(set(names)) == len(set(bounds)):
            break
    return names

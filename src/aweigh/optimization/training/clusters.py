"""Numbers as a few shared ones: k-means of one dimension. Knows no framework."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 30
_SAMPLE: Final = 200_000


def centres_of(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """So many numbers, ascending, that are near all values; as many as there are where these are fewer. Begun at equal distances, which keeps large weights."""
    flat = values.ravel()
    known = np.unique(flat)
    if len(known) <= count:
        return known
    if len(flat) > _SAMPLE:  # k-means needs no more to see how they are spread
        flat = flat[:: -(-len(flat) // _SAMPLE)]
    centres = np.linspace(flat.min(), flat.max(), count, dtype=np.float32)
    for _ in range(_ROUNDS):
        moved = means(flat, nearest(flat, centres), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return centres


def nearest(values: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of the ascending centres each value is nearest to."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def means(values: NDArray[np.float32], which: NDArray[np.int64], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the values of each centre; what it was before where it has none."""
    counts = np.bincount(which, minlength=len(before))
    sums = np.bincount(which, weights=values, minlength=len(before))
    return np.where(counts > 0, sums / np.maximum(counts, 1), before).astype(np.float32)

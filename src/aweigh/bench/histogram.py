"""Latency histogram with a bounded relative error: buckets that grow by a constant ratio, exact smallest, largest and mean.

Any percentile differs by at most `RELATIVE_ERROR` from the measured value at its rank (nearest rank), from 1 us to an hour. Histograms
of several processes add up without further error. Counts alone are kept, however long a run lasts.
"""

import math
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR: Final = 0.005
LOWEST_S: Final = 1e-6
HIGHEST_S: Final = 3600.0
_GROWTH: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH: Final = math.log(_GROWTH)
BUCKETS: Final = math.ceil(math.log(HIGHEST_S / LOWEST_S) / _LOG_GROWTH) + 1
Counts = NDArray[np.int64]
Seconds = NDArray[np.float64]


def buckets_of(values: Seconds) -> NDArray[np.int64]:
    """The bucket of each duration. Bucket i holds (LOWEST_S · growth^(i-1), LOWEST_S · growth^i]; what lies outside goes to the ends."""
    places = np.ceil(np.log(np.maximum(values, LOWEST_S) / LOWEST_S) / _LOG_GROWTH)
    return np.minimum(places, BUCKETS - 1).astype(np.int64)


def representative(bucket: NDArray[np.int64]) -> Seconds:
    """The value that stands for a bucket: no value in it is further away than RELATIVE_ERROR."""
    middle: Seconds = LOWEST_S * 2 * np.power(_GROWTH, bucket.astype(np.float64)) / (_GROWTH + 1)
    return np.where(bucket == 0, LOWEST_S, middle)


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram on its way between processes: the buckets that are not empty."""

    buckets: list[int]
    counts: list[int]
    total_s: float
    lowest_s: float
    highest_s: float


class Histogram:
    """Counts of durations in seconds."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BUCKETS, dtype=np.int64)
        self.total_s = 0.0
        self.lowest_s = math.inf
        self.highest_s = 0.0

    def add(self, values: Seconds) -> None:
        """Count durations; a negative one (a clock's grain) counts as the smallest."""
        if values.size:
            self.counts += np.bincount(buckets_of(values), minlength=BUCKETS)
            self.total_s += float(values.sum())
            self.lowest_s = min(self.lowest_s, float(values.min()))
            self.highest_s = max(self.highest_s, float(values.max()))

    def merge(self, other: "Histogram") -> None:
        """Add another's counts."""
        self.counts += other.counts
        self.total_s += other.total_s
        self.lowest_s = min(self.lowest_s, other.lowest_s)
        self.highest_s = max(self.highest_s, other.highest_s)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def mean_s(self) -> float:
        """Exact; NaN when empty."""
        return self.total_s / len(self) if len(self) else math.nan

    def percentile(self, percent: float, *, unanswered: int = 0) -> float:
        """The duration within which `percent` % came, nearest rank; infinite where that rank falls among the `unanswered`. NaN when empty."""
        total = len(self) + unanswered
        if not total:
            return math.nan
        rank = max(1, math.ceil(round(percent / 100 * total, 9)))
        if rank > len(self):
            return math.inf
        bucket = np.searchsorted(np.cumsum(self.counts), rank)
        return min(max(float(representative(np.array(bucket))), self.lowest_s), self.highest_s)

    def share_within(self, limit_s: float) -> float:
        """The share of durations at or below the limit, to within one bucket; NaN when empty."""
        if not len(self):
            return math.nan
        if limit_s >= self.highest_s:
            return 1.0
        bucket = int(buckets_of(np.array([limit_s]))[0])
        return float(self.counts[: bucket + 1].sum()) / len(self)

    def corrected(self, interval_s: float) -> "Histogram":
        """With the requests that a closed loop left out: one for each interval that an answer took longer (as HdrHistogram does)."""
        made = Histogram()
        made.merge(self)
        if not interval_s > 0:
            return made
        for bucket in np.flatnonzero(self.counts).tolist():
            value = float(representative(np.array(bucket)))
            left_out = np.arange(value - interval_s, interval_s, -interval_s)
            if left_out.size:
                made.counts += np.bincount(buckets_of(left_out), minlength=BUCKETS) * int(self.counts[bucket])
                made.total_s += float(left_out.sum()) * int(self.counts[bucket])
                made.lowest_s = min(made.lowest_s, float(left_out.min()))
        return made

    def pack(self) -> Packed:
        filled = np.flatnonzero(self.counts)
        return Packed(
            buckets=filled.tolist(),
            counts=self.counts[filled].tolist(),
            total_s=self.total_s,
            lowest_s=self.lowest_s if len(self) else 0.0,
            highest_s=self.highest_s,
        )

    @classmethod
    def unpack(cls, packed: Packed) -> Self:
        made = cls()
        if packed.buckets:
            made.counts[packed.buckets] = packed.counts
            made.total_s, made.lowest_s, made.highest_s = packed.total_s, packed.lowest_s, packed.highest_s
        return made

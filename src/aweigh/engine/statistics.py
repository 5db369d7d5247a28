"""What one model has done: counts by outcome and latency histograms that add up across workers. Written on the request path, read by /metrics.

Only the event loop's thread writes; a reader may see a request half counted, never a wrong total.
"""

from bisect import bisect_left
from typing import Final

from aweigh.core.errors import Kind

BOUNDS_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram buckets in seconds; one more bucket takes the rest."""

MAX_BATCH_SIZES: Final = 256


class Histogram:
    """Counts per bucket and the sum, in seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class ModelStatistics:
    """Requests answered and failed, rows, and how long they took: in all, in the queue, per size of batch, and around the model."""

    __slots__ = (
        "batches", "decoding_s", "duration", "encoding_s", "executions", "failed", "in_flight", "last", "queued", "rows", "succeeded",
    )  # fmt: skip

    def __init__(self) -> None:
        self.succeeded = 0
        self.executions = 0
        """Calls of the session that answered; fewer than requests where these ran together."""
        self.rows = 0
        self.in_flight = 0
        self.failed: dict[Kind, int] = {}
        self.duration = Histogram()
        """From decoded request to outputs, the wait for a thread included."""
        self.queued = Histogram()
        self.decoding_s = 0.0
        """From bytes to tensors, written by the dialects that measure it."""
        self.encoding_s = 0.0
        self.last = 0.0
        """When the last request succeeded, in seconds of `perf_counter`; 0 for never."""
        self.batches: dict[int, list[float]] = {}
        """Rows -> calls of the session with so many rows, and the seconds they took. No more than MAX_BATCH_SIZES sizes are told apart."""

    def success(self, seconds: float, rows: int) -> None:
        self.succeeded += 1
        self.rows += rows
        duration = self.duration
        duration.counts[bisect_left(BOUNDS_S, seconds)] += 1
        duration.sum_s += seconds
        self.execution(seconds, rows)

    def together(self, seconds: float, rows: int, requests: int) -> None:
        """Several requests that one call answered, each counted with the seconds of the whole."""
        self.succeeded += requests
        self.rows += rows
        duration = self.duration
        duration.counts[bisect_left(BOUNDS_S, seconds)] += requests
        duration.sum_s += seconds * requests
        self.execution(seconds, rows)

    def execution(self, seconds: float, rows: int) -> None:
        """One call of the session."""
        self.executions += 1
        batch = self.batches.get(rows)
        if batch is not None:
            batch[0] += 1
            batch[1] += seconds
        elif len(self.batches) < MAX_BATCH_SIZES:
            self.batches[rows] = [1, seconds]

    def failure(self, kind: Kind) -> None:
        self.failed[kind] = self.failed.get(kind, 0) + 1

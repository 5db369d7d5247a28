"""Times of variants beside the baseline, in turns: each in a process of its own, a few milliseconds of the one, then of the other, so that whatever else the
machine does falls on both alike.

In processes of their own because the libraries of two runtimes need not go together, one that crashes takes nothing along, and memory and loading are each one's own.
Calls are measured inside them. A variant whose library is in an environment alone is served from a process too: what its rows and answers take on the way is added before anything is compared.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensors
from aweigh.isolate import Caps, Environments, Worker
from aweigh.runtimes.homes import home_of, needs_environment

_TARGET: Final = "aweigh.optimization.timing_process:open_contestant"
LEAST_GAIN: Final = 1.03
"""Less is not worth the bytes of a further variant."""
_TURN_S: Final = 0.008
_MAX_CALLS: Final = 400
_MIN_TURNS, _MAX_TURNS = 8, 60
_LEAST_CROSSINGS, _MOST_CROSSINGS = 5, 40
_BORDER_S: Final = 0.3
_DRAWS: Final = 500
_SEED: Final = 20_261_122


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Of batches of `rows`: times of a call as it is served, and how many times as fast as the baseline a variant is, with the interval at 95% from pairs of turns."""

    rows: int
    p50_us: float
    p99_us: float
    rows_per_s: float
    cpu_s_per_1000: float
    """Processor seconds of all threads for 1,000 rows: what energy is proportional to."""
    border_us: float = 0.0
    """How much of each call is the way to the variant and back, where its library is in an environment alone: it is served from a process there."""
    times: float = 1.0
    low: float = 1.0
    high: float = 1.0

    @property
    def at(self) -> str:
        """How many rows, in words."""
        return "1 row" if self.rows == 1 else f"{self.rows} rows"

    @property
    def better(self) -> bool:
        """Whether it is surely faster than the baseline, and by enough to be worth a variant."""
        return self.low > 1 and self.times >= LEAST_GAIN


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one variant."""

    speeds: tuple[Speed, ...]
    load_ms: float
    memory_bytes: int
    """The greatest resident size of its process, less what that had before it loaded the variant."""
    size_bytes: int


class Contestant:
    """A variant in a process of its own. Raises what loading it raises, MissingLibrary, ChildDied."""

    def __init__(
        self, variant: Variant, signature: Signature, files: Mapping[str, Path], *, caps: Caps, environments: Environments | None
    ) -> None:
        opening = {
            "variant": msgspec.structs.replace(variant, evidence=None, departure=None),
            "signature": signature,
            "files": {file: str(files[file]) for file in variant.files},
            "threads": caps.threads,
        }
        self.size_bytes = sum(files[file].stat().st_size for file in variant.files)
        home = home_of(variant.runtime, environments)
        self._apart = needs_environment(variant.runtime)
        self._worker = Worker(_TARGET, opening, caps=caps, keeps_inputs=False, subject=f"variant '{variant.name}'", home=home)

    def keep(self, name: str, rows: Tensors) -> None:
        """Send rows to be timed with."""
        self._worker.request({"do": "keep", "rows": name}, rows)

    def run(self, name: str, calls: int) -> tuple[float, NDArray[np.float64]]:
        """Processor seconds of so many calls, and the seconds of each."""
        said, found = self._worker.request({"do": "run", "rows": name, "calls": calls}, {})
        return float(said["cpu_s"]), found["seconds"].astype(np.float64)

    def facts(self) -> tuple[float, int]:
        """Milliseconds of loading, and bytes."""
        said, _ = self._worker.request({"do": "facts"}, {})
        return float(said["load_ms"]), int(said["memory_bytes"])

    def border_s(self, name: str, rows: Tensors) -> float:
        """Seconds that these rows, which it keeps under that name, take to the process, and its answers back; 0 for a variant that would be served without one."""
        if not self._apart:
            return 0.0
        said = {"do": "cross", "rows": name}
        self._worker.request(said, rows)  # the first call computes what the others bring back
        times: list[float] = []
        while len(times) < _LEAST_CROSSINGS or (len(times) < _MOST_CROSSINGS and sum(times) < _BORDER_S):
            began = perf_counter()
            self._worker.request(said, rows)
            times.append(perf_counter() - began)
        return float(np.median(times))

    def close(self) -> None:
        self._worker.close()


Batches = Mapping[int, Tensors]
"""Rows to time with, by their number."""


def compare(baseline: Contestant, others: Sequence[Contestant], batches: Batches, *, seconds: float = 1.0) -> list[Timed]:
    """Time all of them in turns, about `seconds` for each and each size of batch: the baseline first in the outcome, against which the others are held."""
    everyone = [baseline, *others]
    speeds: list[list[Speed]] = [[] for _ in everyone]
    for count, rows in batches.items():
        name = f"rows-{count}"
        for contestant in everyone:
            contestant.keep(name, rows)
        borders = [contestant.border_s(name, rows) for contestant in everyone]
        runs = [partial(contestant.run, name) for contestant in everyone]
        for at, speed in enumerate(_in_turns(runs, count, seconds, borders)):
            speeds[at].append(speed)
    found = []
    for contestant, measured in zip(everyone, speeds, strict=True):
        load_ms, memory = contestant.facts()
        found.append(Timed(speeds=tuple(measured), load_ms=load_ms, memory_bytes=memory, size_bytes=contestant.size_bytes))
    return found


def merged(rounds: Sequence[Timed]) -> Timed:
    """One variant, as several processes of it were timed: the middle of each figure, and an interval that holds all of theirs."""
    speeds = []
    for each in zip(*(timed.speeds for timed in rounds), strict=True):
        middle = sorted(each, key=lambda speed: speed.times)[len(each) // 2]
        low, high = min(speed.low for speed in each), max(speed.high for speed in each)
        speeds.append(msgspec.structs.replace(middle, low=low, high=high))
    usual = sorted(rounds, key=lambda timed: timed.load_ms)[len(rounds) // 2]
    return msgspec.structs.replace(usual, speeds=tuple(speeds), memory_bytes=max(timed.memory_bytes for timed in rounds))


def _in_turns(
    runs: Sequence[Callable[[int], tuple[float, NDArray[np.float64]]]], rows: int, seconds: float, borders: Sequence[float]
) -> list[Speed]:
    """`borders` are the seconds that each takes beside its calls."""
    calls = []
    for run in runs:
        run(1)  # the first call prepares
        one = float(run(1)[1][0])
        calls.append(int(min(_MAX_CALLS, max(1, _TURN_S / max(one, 1e-7)))))
    turns: list[list[NDArray[np.float64]]] = [[] for _ in runs]
    spent = [0.0] * len(runs)
    began = monotonic()
    while len(turns[0]) < _MIN_TURNS or (len(turns[0]) < _MAX_TURNS and monotonic() - began < seconds * len(runs)):
        order = range(len(runs)) if len(turns[0]) % 2 else reversed(range(len(runs)))
        for at in order:
            run = runs[at]
            run(1)  # what others left in the caches is theirs
            cpu, times = run(calls[at])
            spent[at] += cpu
            turns[at].append(times + borders[at])
    medians = np.array([[float(np.median(turn)) for turn in each] for each in turns])
    return [
        _speed(rows, np.concatenate(turns[at]), spent[at], borders[at], medians[0] / medians[at] if at else None) for at in range(len(runs))
    ]


def _speed(rows: int, times: NDArray[np.float64], cpu_s: float, border_s: float, ratios: NDArray[np.float64] | None) -> Speed:
    p50, p99 = (float(np.percentile(times, percent)) for percent in (50, 99))
    middle, low, high = (1.0, 1.0, 1.0) if ratios is None else _interval(np.log(ratios))
    return Speed(
        rows=rows,
        p50_us=p50 * 1e6,
        p99_us=p99 * 1e6,
        rows_per_s=rows / p50,
        cpu_s_per_1000=cpu_s / (len(times) * rows) * 1000,
        border_us=border_s * 1e6,
        times=middle,
        low=low,
        high=high,
    )


def _interval(logs: NDArray[np.float64]) -> tuple[float, float, float]:
    """The middle of ratios, from their logarithms, with the interval of drawing the pairs anew."""
    draws = np.random.default_rng(_SEED).choice(logs, (_DRAWS, len(logs)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return math.exp(float(np.median(logs))), math.exp(float(low)), math.exp(float(high))

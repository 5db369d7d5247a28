"""When requests are due: the schedule of an open loop, decided before the first answer is known and never changed by one."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from aweigh.bench.plan import Load

_CHUNK: Final = 4096


def due_times(load: Load, share: int, begin: float, end: float) -> Iterator[float]:
    """The times at which one process's requests are due, rising, in [begin, end): `share` of `load.processes`, counted from 0.

    The processes' schedules together have the whole rate: Poisson processes add up to one, constant ones interleave.
    """
    rate = load.rate / load.processes
    if load.arrival == "constant":
        return _constant(rate, begin + share / load.rate, end)
    return _poisson(rate, np.random.default_rng((load.seed, share)), begin, end)


def _constant(rate: float, begin: float, end: float) -> Iterator[float]:
    at = 0
    while (due := begin + at / rate) < end:
        yield due
        at += 1


def _poisson(rate: float, random: np.random.Generator, begin: float, end: float) -> Iterator[float]:
    last = begin
    while last < end:
        chunk = last + np.cumsum(random.exponential(1 / rate, _CHUNK))
        last = float(chunk[-1])
        yield from chunk[chunk < end].tolist()

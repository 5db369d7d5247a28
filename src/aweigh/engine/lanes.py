"""How many calls of a dear model run at once, and with how many threads inside each: the same cores, shared out as it answers most.

Measured at load, because it differs by model: one call on all cores answers soonest, a call per core often answers more. Called while loading.
"""

import dataclasses
import os
import threading
from time import perf_counter
from typing import Final

from aweigh.core.errors import AweighError
from aweigh.core.protocols import Session
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.placement import Cost, rows_of

_BUDGET_S: Final = 0.4
_CALL_US: Final = 100_000.0
_MAX_ROWS: Final = 8
_TRIES: Final = 3
_AS_GOOD: Final = 0.97
"""A call on all cores is preferred from this share of the throughput on: it answers sooner."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """`calls` at once, with `threads` inside each."""

    calls: int
    threads: int
    why: str

    @property
    def text(self) -> str:
        return f"{self.calls} at once with {self.threads} thread{'s' if self.threads > 1 else ''} each, {self.why}"


def cores_of(settings: Settings) -> int:
    """The cores that are one worker's share."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // max(1, settings.workers or usable))


def first_lanes(settings: Settings) -> Lanes:
    """What the settings say; where they leave both open, a call per core."""
    cores = cores_of(settings)
    inside = settings.session_threads or 1
    calls = settings.threads or max(1, cores // inside)
    return Lanes(
        calls=calls, threads=inside, why="set by threads and session_threads" if settings.threads or settings.session_threads else ""
    )


def is_open(settings: Settings) -> bool:
    """Whether the settings leave it to measurement, and there is something to share out."""
    return not settings.threads and not settings.session_threads and cores_of(settings) > 1


def lane_rows(cost: Cost, max_rows: int) -> int:
    """Rows to measure with: as many as a call may hold, and as take no more than a tenth of a second."""
    beyond = (_CALL_US - cost.call_us) / cost.row_us if cost.row_us > 0 else max_rows
    return max(1, min(max_rows, _MAX_ROWS, 1 + int(beyond)))


def better_lanes(apart: float, together: float, cores: int) -> Lanes:
    """Of a call per core, which answered `apart` rows a second, and one call on all cores, which answered `together`."""
    figures = f"{together:.4g} rows/s in one call on {cores} cores, {apart:.4g} in a call per core"
    if together >= _AS_GOOD * apart:
        return Lanes(calls=1, threads=cores, why=f"measured: {figures}")
    return Lanes(calls=cores, threads=1, why=f"measured: {figures}")


def throughput(session: Session, inputs: Tensors, *, calls: int, budget_s: float = _BUDGET_S) -> float:
    """Rows a second of a warm session, asked by so many threads at once. Raises what the session raises."""
    rows = len(next(iter(inputs.values())))
    done, failed = [0] * calls, list[AweighError]()
    began = perf_counter()

    def ask(which: int) -> None:
        try:
            while not done[which] or perf_counter() - began < budget_s:
                session.run(inputs)
                done[which] += 1
        except AweighError as error:
            failed.append(error)

    askers = [threading.Thread(target=ask, args=(which,), name=f"aweigh-lane-{which}", daemon=True) for which in range(calls)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    if failed:
        raise failed[0]
    return sum(done) * rows / (perf_counter() - began)


def in_turn(session: Session, other: Session, inputs: tuple[Tensors, Tensors], calls: tuple[int, int]) -> tuple[float, float]:
    """The throughput of two sessions or sizes, asked in turn, the best of each: whatever else the machine does makes it slower, never quicker."""
    best = [0.0, 0.0]
    for _ in range(_TRIES):
        for which, asked in enumerate((session, other)):
            best[which] = max(best[which], throughput(asked, inputs[which], calls=calls[which], budget_s=_BUDGET_S / _TRIES))
    return best[0], best[1]


def crowded_cost(session: Session, inputs: dict[str, Tensor], lanes: Lanes, rows: int) -> Cost:
    """What a call and each further row cost while every lane is busy, as they are when it matters. `rows` is more than one."""
    one, several = in_turn(session, session, (rows_of(inputs, 1), rows_of(inputs, rows)), (lanes.calls, lanes.calls))
    call_us, all_us = 1e6 * lanes.calls / one, 1e6 * lanes.calls * rows / several
    return Cost(call_us=call_us, row_us=max(0.0, all_us - call_us) / (rows - 1))

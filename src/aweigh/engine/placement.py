"""Where a model runs: on the event loop, on threads or in processes of its own; decided by whom its files come from, by measurement, or by the setting.

Called while loading. `choose_executor` decides and knows only figures; `measure` takes them.
"""

import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from time import perf_counter, sleep
from typing import Final

import numpy as np

from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.pipeline import FUNCTION_RUNTIME
from aweigh.core.plugins import plugin
from aweigh.core.protocols import Session
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.runtimes.homes import needs_environment
from aweigh.runtimes.process import runs_code

_WARM_UP_CALLS: Final = 3
_TIMED_CALLS: Final = 15
_TIMED_BUDGET_S: Final = 0.2
_MANY_ROWS: Final = 64
_PLAIN_BYTES: Final = 4 * 1024 * 1024
_PULSE_S: Final = 0.0005
_PULSE_FOR_S: Final = 0.04
_HELD_TRIES: Final = 3
_HELD: Final = 0.5
"""From this share of a call on, other Python code is said to be held up by it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds of a call with one row, and of each further row; and the share of a dear call in which no other Python code could run."""

    call_us: float
    row_us: float
    held: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where requests run: `inline_rows` is the largest that runs on the event loop, -1 for none."""

    executor: str
    inline_rows: int
    why: str


def needs_process(manifest: PackageManifest, variant: Variant, settings: Settings) -> Place | None:
    """The process executor, where that is settled before anything is loaded: by the setting, because the files bring code of their own, or because the runtime's
    libraries are those of another environment."""
    why = ""
    if needs_environment(variant.runtime):
        why = f"the library of the runtime '{variant.runtime}' is in the environment '{plugin('runtime', variant.runtime).environment}', not here"
    elif runs_code(manifest, variant) and not (variant.runtime == FUNCTION_RUNTIME and settings.functions == "server"):
        why = "the package brings code of its own, which never runs in the server's process"
    elif settings.executor == "process":
        why = "set by the executor setting"
    return Place(executor="process", inline_rows=-1, why=why) if why and sys.platform != "win32" else None


def choose_executor(session: Session, cost: Cost, settings: Settings, *, uneven: bool = False) -> Place:
    """Where requests of a session that is loaded here run, and up to how many rows on the event loop: from the setting, or from measured costs.

    `uneven`: a row may cost a thousand times what another does, so that no measured cost speaks for the next.
    """
    everything, limit = settings.max_rows, settings.inline_limit_us
    if session.isolated:
        return Place(executor="thread", inline_rows=-1, why="the session runs in its own process, which the event loop must not wait for")
    if settings.executor == "thread":
        return Place(executor="thread", inline_rows=-1, why="set by the executor setting")
    if uneven and settings.executor == "auto":
        return Place(
            executor="thread", inline_rows=-1, why="what a file takes to read is known when it comes: the event loop must not wait for it"
        )
    if settings.executor == "inline":
        return Place(executor="inline", inline_rows=everything, why="set by the executor setting")
    if cost.call_us > limit:
        dear = f"one call takes {cost.call_us:.0f} us, more than inline_limit_us = {limit}"
        if cost.held >= _HELD:
            held = f", and holds Python's interpreter lock for {cost.held:.0%} of that: on a thread it would hold up the event loop"
            return Place(executor="process", inline_rows=-1, why=dear + held)
        return Place(executor="thread", inline_rows=-1, why=dear)
    rows = everything if cost.row_us <= 0 else min(everything, 1 + int((limit - cost.call_us) / cost.row_us))
    if rows < everything and not session.concurrent:
        return Place(executor="thread", inline_rows=-1, why="large batches take long, and the session takes one caller at a time")
    larger = f"; requests of more than {rows} rows run on threads" if rows < everything else ""
    return Place(
        executor="inline", inline_rows=rows, why=f"one call takes {cost.call_us:.0f} us, at most inline_limit_us = {limit}{larger}"
    )


def measure(session: Session, signature: Signature, golden: Sequence[GoldenAnswers], settings: Settings) -> Cost:
    """What a call costs with one row, and what each further row adds. Nothing without a golden set."""
    if not golden:
        return Cost(call_us=0.0, row_us=0.0)
    inputs: dict[str, Tensor] = golden[0].inputs
    one = {name: tensor[:1] for name, tensor in inputs.items()} if signature.batched else inputs
    call_us, row_us = _median_us(session, one), 0.0
    if signature.batched:
        count = max(2, min(_MANY_ROWS, int(_TIMED_BUDGET_S * 1e6 / 4 / max(call_us, 1.0))))
        row_us = max(0.0, _median_us(session, rows_of(inputs, count)) - call_us) / (count - 1)
    undecided = settings.executor == "auto" and call_us > settings.inline_limit_us and not session.isolated
    return Cost(call_us=call_us, row_us=row_us, held=_held_share(session, one) if undecided else 0.0)


def rows_of(inputs: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """So many rows, from those there are, again and again."""
    rows = len(next(iter(inputs.values())))
    return {name: np.take(tensor, np.arange(count) % rows, axis=0) for name, tensor in inputs.items()}


def _median_us(session: Session, inputs: dict[str, Tensor]) -> float:
    """Median microseconds of a warmed-up call, within a budget of time."""
    times: list[float] = []
    began = perf_counter()
    for call in range(_WARM_UP_CALLS + _TIMED_CALLS):
        started = perf_counter()
        session.run(inputs)
        spent = perf_counter() - began
        if call >= _WARM_UP_CALLS or (call and spent > _TIMED_BUDGET_S / 2):  # dear calls are warm after the first
            times.append(perf_counter() - started)
        if times and spent > _TIMED_BUDGET_S:
            break
    return float(np.median(times)) * 1e6


def _held_share(session: Session, inputs: dict[str, Tensor]) -> float:
    """How much of the session's time another thread had to wait for the interpreter's lock, beyond what it waits beside a call that does not hold it.

    The least of some tries: on a machine with other things to do any thread waits, but a call that holds the lock holds it every time.
    """
    plain, least = bytes(_PLAIN_BYTES), 1.0
    for _ in range(_HELD_TRIES):
        run = _late_share(lambda: session.run(inputs))
        rest = _late_share(lambda: sha256(plain))  # hashing lets go of the lock, and keeps a core as busy
        least = min(least, max(0.0, run - rest) / (1.0 - rest) if rest < 1.0 else 0.0)
        if least < _HELD:
            break
    return least


def _late_share(work: Callable[[], object]) -> float:
    """Run `work` again and again for a moment beside a thread that wants to wake twice a millisecond; the share of time by which it woke late."""
    stop = threading.Event()
    late_s = [0.0]

    def pulse() -> None:
        while not stop.is_set():
            asleep = perf_counter()
            sleep(_PULSE_S)
            late_s[0] += max(0.0, perf_counter() - asleep - 2 * _PULSE_S)

    beside = threading.Thread(target=pulse, name="aweigh-pulse", daemon=True)
    beside.start()
    began = perf_counter()
    while perf_counter() - began < _PULSE_FOR_S:
        work()
    took_s = perf_counter() - began
    stop.set()
    beside.join()
    return min(1.0, late_s[0] / took_s)

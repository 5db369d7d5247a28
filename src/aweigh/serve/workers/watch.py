"""Judges one worker by its heartbeat and its memory. Decides only: told the time and the figures, it never waits and never kills."""

import dataclasses
from pathlib import Path
from typing import Final

from aweigh.engine.slab import LOADING, STARTING

BEAT_S: Final = 0.05
"""How often a worker's event loop beats, and how often the supervisor looks."""
_STALLED_S: Final = 0.25
"""A supervisor that was itself held up for so long cannot tell whose fault a late beat is."""
_SLOW_STATES: Final = frozenset({STARTING, LOADING})
KILL_FACTOR: Final = 1.5
"""Beyond this multiple of its memory limit a worker is killed rather than relieved."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds without a beat, while serving and while loading, and bytes; 0 for none."""

    hang_s: float
    load_s: float
    memory_bytes: int


class Watch:
    """What is known of one worker's life signs."""

    def __init__(self, limits: Limits, pid: int, now: float) -> None:
        self._limits = limits
        self._pid = pid
        self._beats = -1
        self._seen = self._looked = now
        self._waited = -1.0

    def late(self, now: float, beats: int, state: int, patient_until: float = 0.0) -> float:
        """Seconds by which the heartbeat is overdue; 0 while all is well.

        Time in which this process itself stood still, in which the machine did not run the worker although it wanted to, or for which the
        worker asked beforehand, does not count.
        """
        gap, self._looked = now - self._looked, now
        if gap > _STALLED_S:
            self._seen += gap - BEAT_S
        limit = self._limits.load_s if state in _SLOW_STATES else self._limits.hang_s
        if beats != self._beats or not limit or now < patient_until:
            self._beats, self._seen = beats, now
            self._waited = -1.0
            return 0.0
        silent = now - self._seen
        if silent < limit / 2:
            return 0.0
        if self._waited < 0:  # first doubt: from here on, time in the machine's own queue is forgiven
            self._waited = queued_s(self._pid)
            return 0.0
        overdue = silent - (queued_s(self._pid) - self._waited)
        return overdue if overdue > limit else 0.0

    def memory(self, private_bytes: int) -> str:
        """ "" while the worker's own memory is within its limit, else "relieve" or "kill"."""
        limit = self._limits.memory_bytes
        if not limit or private_bytes <= limit:
            return ""
        return "kill" if private_bytes > limit * KILL_FACTOR else "relieve"


def queued_s(pid: int) -> float:
    """Seconds for which the main thread of a process was ready to run and was not run (Linux; else 0)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Backoff:
    """How long to wait before a worker is started again: not at all the first time, then longer while it keeps dying early."""

    FIRST_S: Final = 0.2
    LONGEST_S: Final = 10.0
    LIVED_S: Final = 10.0
    UNHEALTHY: Final = 3

    def __init__(self) -> None:
        self.deaths = 0
        """In a row, each soon after its start."""

    def died(self, lived_s: float) -> float:
        """Seconds to wait, for a worker that was ready for `lived_s`."""
        self.deaths = 1 if lived_s >= self.LIVED_S else self.deaths + 1
        return 0.0 if self.deaths == 1 else min(self.LONGEST_S, self.FIRST_S * 2.0 ** (self.deaths - 2))

    @property
    def unhealthy(self) -> bool:
        """Whether it dies again and again."""
        return self.deaths >= self.UNHEALTHY

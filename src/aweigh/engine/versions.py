"""Which versions of each name ought to be served, which are, and the one step to take next. Asked by `follower`; does no I/O and knows no clock of its own.

As TensorFlow Serving does it: a source lists the versions of a name, each time anew and without memory of what it listed before; what it
leaves out goes; and a policy looks at the states of a name's versions and names at most one step (availability_preserving_policy.h,
resource_preserving_policy.h, aspired_versions_manager.h).
"""

import dataclasses
import enum
from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal

from aweigh.core.errors import AweighError, Kind

Transition = Literal["availability", "resource"]
_MAY_PASS: Final = frozenset({Kind.UNAVAILABLE, Kind.OVERLOADED, Kind.TIMEOUT, Kind.INTERNAL, Kind.CONFLICT})
"""Failures after which trying again may help; a version never changes, so that what is wrong with it stays wrong."""


class State(enum.StrEnum):
    """Where a version stands. NEW: not begun, or to be tried again. ENDING: out of service, its memory not yet released. FAILED: given up."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    ENDING = "ending"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done next."""

    verb: Literal["load", "unload"]
    name: str
    number: int


@dataclasses.dataclass(slots=True, kw_only=True)
class Known:
    """One version that is listed, or still there. `aspired` while it is listed."""

    number: int
    aspired: bool = True
    state: State = State.NEW
    tries: int = 0
    retry_at: float = 0.0
    error: AweighError | None = None


class Versions:
    """The versions of all names that are kept. `tries` loads are attempted, `pause_s` apart, before a version is given up."""

    def __init__(self, transition: Transition, clock: Callable[[], float], *, tries: int, pause_s: float) -> None:
        self._policy = POLICIES[transition]
        self._clock = clock
        self._tries = tries
        self._pause_s = pause_s
        self._known: dict[str, dict[int, Known]] = {}

    def aspire(self, name: str, numbers: Collection[int]) -> None:
        """The versions of a name that ought to be served: all of them. Those that were listed and are not any more are to go."""
        known = self._known.setdefault(name, {})
        for number in sorted(numbers):
            known.setdefault(number, Known(number=number))
        for version in known.values():
            version.aspired = version.number in numbers
        self._forget(name)

    def found(self, name: str, numbers: Collection[int]) -> None:
        """What is served of a name now, whoever saw to it. What is not served any more is to be loaded again where it is listed."""
        known = self._known.setdefault(name, {})
        for number in numbers:
            if number not in known or known[number].state is not State.LOADING:
                known[number] = Known(number=number, aspired=number in known and known[number].aspired, state=State.READY)
        for version in known.values():
            if version.state is State.READY and version.number not in numbers:
                version.state = State.NEW
        self._forget(name)

    def drop(self, name: str, number: int) -> None:
        """A version is none of our business any more."""
        if self._known.get(name, {}).pop(number, None) is not None:
            self._forget(name)

    def next(self, name: str) -> Step | None:
        """The step that the policy takes now, which the caller begins at once and tells the outcome of; None where there is none."""
        known = self._known.get(name, {})
        step = self._policy(name, self.of(name), self._clock())
        if step is not None:
            known[step.number].state = State.LOADING if step.verb == "load" else State.ENDING
        return step

    def loading(self, name: str, number: int) -> bool:
        """Whether a version that `next` had loaded is still to be: False once it was dropped."""
        version = self._known.get(name, {}).get(number)
        return version is not None and version.state is State.LOADING

    def loaded(self, name: str, number: int) -> None:
        """A load succeeded. What was dropped meanwhile stays so, here as in `failed` and `ended`."""
        version = self._known.get(name, {}).get(number)
        if version is not None:
            self._known[name][number] = Known(number=number, aspired=version.aspired, state=State.READY)

    def failed(self, name: str, number: int, error: AweighError) -> None:
        """A load failed: it is tried again after a pause, or given up until the version is listed anew."""
        version = self._known.get(name, {}).get(number)
        if version is None:
            return
        version.tries += 1
        version.error = error
        again = error.kind in _MAY_PASS and version.tries < self._tries
        version.state, version.retry_at = (State.NEW, self._clock() + self._pause_s) if again else (State.FAILED, 0.0)
        self._forget(name)

    def ended(self, name: str, number: int) -> None:
        """An unloaded version has released what it held; listed again meanwhile, it is new."""
        version = self._known.get(name, {}).pop(number, None)
        if version is None:
            return
        if version.aspired:
            self._known[name][number] = Known(number=number)
        self._forget(name)

    def names(self) -> list[str]:
        """Names that have a version here."""
        return sorted(self._known)

    def of(self, name: str) -> list[Known]:
        """The versions of a name, by number."""
        return [version for _, version in sorted(self._known.get(name, {}).items())]

    def due_in_s(self) -> float | None:
        """When the next load is to be tried again; None where none is waiting."""
        waits = [version.retry_at for version in self._all() if version.state is State.NEW and version.retry_at > self._clock()]
        return max(0.0, min(waits) - self._clock()) if waits else None

    def _all(self) -> Iterator[Known]:
        return (version for known in self._known.values() for version in known.values())

    def _forget(self, name: str) -> None:
        """Nothing is to be done for what is not listed and holds nothing."""
        known = self._known[name]
        for version in list(known.values()):
            if not version.aspired and version.state in (State.NEW, State.FAILED):
                del known[version.number]
        if not known:
            del self._known[name]


def availability_preserving(name: str, versions: list[Known], now: float) -> Step | None:
    """Unload what is not listed as long as something of the name stays ready, or nothing is to; else load the highest that is new."""
    going = [version for version in versions if not version.aspired and version.state is State.READY]
    staying = any(version.aspired and version.state is State.READY for version in versions)
    nothing_wanted = not any(version.aspired for version in versions)
    if going and (staying or nothing_wanted or len(going) > 1):
        return Step(verb="unload", name=name, number=going[0].number)
    return _load_highest(name, versions, now)


def resource_preserving(name: str, versions: list[Known], now: float) -> Step | None:
    """Unload what is not listed; load only when nothing of it holds memory any more."""
    for version in versions:
        if not version.aspired and version.state is State.READY:
            return Step(verb="unload", name=name, number=version.number)
    if any(not version.aspired and version.state in (State.LOADING, State.ENDING) for version in versions):
        return None
    return _load_highest(name, versions, now)


def _load_highest(name: str, versions: list[Known], now: float) -> Step | None:
    new = [version.number for version in versions if version.aspired and version.state is State.NEW and version.retry_at <= now]
    return Step(verb="load", name=name, number=new[-1]) if new else None


POLICIES: Final[dict[Transition, Callable[[str, list[Known], float], Step | None]]] = {
    "availability": availability_preserving,
    "resource": resource_preserving,
}
"""From the versions of a name, by number, and the time to the next step."""

"""Sessions that several share: the steps of pipelines, and a plain name that serves the same digest. One per serving process.

Each of those that share has a `LoadedModel` of its own, with its own queue and statistics, over one session and its threads or processes. The
last to close closes these. Called while loading and closing, from any thread.
"""

import copy
import dataclasses
import threading
from collections.abc import Callable
from functools import partial

from aweigh.core.names import Digest, ModelName
from aweigh.engine.model import LoadedModel
from aweigh.engine.statistics import ModelStatistics
from aweigh.runtimes.process import ProcessSession

Key = tuple[Digest, str]
"""What tells one session from another: the package's digest, and the variant that was asked for ("" for the best)."""


@dataclasses.dataclass(slots=True, eq=False)
class _Held:
    """A loaded model that itself answers nobody, and how many others stand on it. `names` are the plain names among these, `left` those that ask it no more."""

    model: LoadedModel
    leases: int = 0
    names: set[str] = dataclasses.field(default_factory=set)
    left: set[object] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A model over a session of the pool. `reused`: others had it before, and may be asking it now."""

    model: LoadedModel
    reused: bool


class Pool:
    """What is loaded, by digest and variant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Key, _Held] = {}

    def step(self, key: Key, load: Callable[[], LoadedModel], statistics: ModelStatistics) -> Lease:
        """For a step of a pipeline, with statistics of its own. Raises what loading raises."""
        held = self._lease(key)
        reused = held is not None
        if held is None:
            held = self._hold(key, load())
        return Lease(model=self._lend(key, held, held.model.name, held.model.version, statistics), reused=reused)

    def name(self, key: Key, name: ModelName, version: str, load: Callable[[], LoadedModel], statistics: ModelStatistics) -> LoadedModel:
        """For a plain name. One that serves this digest already gets a session that is new, so that loading it again is what it says."""
        called = f"{name}:{version}"
        held = self._lease(key, unless=called) or self._hold(key, load())
        held.names.add(called)
        return self._lend(key, held, name, version, statistics)

    def _lease(self, key: Key, unless: str = "") -> _Held | None:
        with self._lock:
            held = self._held.get(key)
            if held is None or unless in held.names or not _shareable(held.model):
                return None
            held.leases += 1
            return held

    def _hold(self, key: Key, model: LoadedModel) -> _Held:
        held = _Held(model, leases=1)
        with self._lock:
            self._held[key] = held  # one that was there goes with the last that stands on it
        return held

    def _lend(self, key: Key, held: _Held, name: ModelName, version: str, statistics: ModelStatistics) -> LoadedModel:
        who = object()
        return dataclasses.replace(
            held.model,
            name=name,
            version=version,
            statistics=statistics,
            tuner=copy.deepcopy(held.model.tuner),
            prepared={},
            leave=partial(self._leave, held, who),
            release=partial(self._release, key, held, f"{name}:{version}", who),
        )

    def _leave(self, held: _Held, who: object) -> bool:
        """One asks no more, and will release it; whether it was the last that did."""
        with self._lock:
            held.left.add(who)
            return len(held.left) == held.leases

    def _release(self, key: Key, held: _Held, called: str, who: object) -> None:
        with self._lock:
            held.leases -= 1
            held.left.discard(who)
            held.names.discard(called)
            if held.leases:
                return
            if self._held.get(key) is held:
                del self._held[key]
        held.model.close()


def _shareable(model: LoadedModel) -> bool:
    """Whether another may prove itself on the session while it is asked by those who have it."""
    return model.session.concurrent or isinstance(model.session, ProcessSession)

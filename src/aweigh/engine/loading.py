"""Loads versions one at a time, in the order in which they were asked for, within the memory budget. Part of `control`; runs on the event loop.

Whatever takes time is given to `aside`, which does it on a thread in the order given: a model that makes room is closed before the next is loaded.
"""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from aweigh.core.errors import AweighError, InsufficientMemory
from aweigh.core.protocols import PackageHandle
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.footprint import Load, file_bytes, load_weighed
from aweigh.engine.memory_budget import Held, MemoryBudget
from aweigh.engine.model import LoadedModel
from aweigh.engine.variants import environments_of

ENDING: Final = "it is ending"
PREPARED: Final = "it is about to take over"
_ANSWERS: Final = "it is answering"
_ROUND_S: Final = 0.02
_PATIENCE_S: Final = 2.0
"""How long a load waits for a model that could make room to have nothing under way."""
Done = Callable[[Any, AweighError | None], None]
"""Called on the event loop with the outcome or the error."""


class Repository(Protocol):
    """Where versions are found; `app` makes one of the store."""

    def versions(self) -> list[tuple[str, int]]:
        """Name and number of every version there is."""
        ...

    def aliases(self) -> Mapping[str, Mapping[str, int]]:
        """The aliases of every name and the versions they stand for."""
        ...

    def open(self, name: str, version: int | None) -> PackageHandle:
        """One version, what a bare name means where none is said. Raises ModelNotFound, InvalidName."""
        ...


class Hands(Protocol):
    """What a loader has done by others."""

    def aside(self, work: Callable[[], Any], then: Done) -> None:
        """Do what takes time."""
        ...

    def evict(self, model: LoadedModel) -> None:
        """Take a model out of memory that is to come back on its next use."""
        ...

    def discard(self, model: LoadedModel) -> None:
        """Let go of a model that never answered."""
        ...

    def tried(self, name: str) -> bool:
        """Whether a version of a name is tried beside another."""
        ...

    def changing(self, name: str) -> bool:
        """Whether somebody is changing what is served of a name."""
        ...


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One load. Without `evicts` no model makes room for it."""

    name: str
    version: int | None
    done: Done
    evicts: bool = True
    leaves: Callable[[], None] | None = None
    """Takes what this replaces out of memory before."""
    wanted: Callable[[], bool] | None = None
    """Of a load on first use: whether it is still to be done. The versions of a name that wakes may make room for each other, others not."""
    began: float = 0.0
    """When it was first tried to make room."""


class Loader:
    """`apart` are models that are loaded and not in the data plane: prepared, or ending."""

    def __init__(self, dataplane: DataPlane, repository: Repository, load: Load, hands: Hands) -> None:
        settings = dataplane.settings
        self.budget = MemoryBudget(settings.memory_budget_bytes // settings.workers, settings.pinned_models)
        self.apart: dict[int, tuple[LoadedModel, str]] = {}
        self._dataplane = dataplane
        self._repository = repository
        self._load = load
        self._hands = hands
        self._jobs: deque[Job] = deque()
        self.busy: Callable[[bool], None] = lambda _: None
        """Told when there is something to load, and when there is nothing any more."""

    def add(self, job: Job) -> None:
        """Load when those before are loaded."""
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self.busy(True)  # noqa: FBT003  # what it is told
            self._begin(job)

    def loads(self, name: str, version: str) -> bool:
        """Whether that version is being loaded, or is about to be; where none was said, any of the name may be it."""
        return any(job.name == name and job.version in (None, int(version)) for job in self._jobs)

    def keep(self, model: LoadedModel, why: str) -> None:
        """Count a model that is not in the data plane."""
        self.apart[id(model)] = model, why

    def forget(self, model: LoadedModel) -> None:
        """It is in the data plane, or released."""
        self.apart.pop(id(model), None)

    def check_room(self, handle: PackageHandle) -> None:
        """Raises InsufficientMemory where a package has no place beside what is loaded."""
        if self.budget.limit_bytes:
            key = str(handle.reference)
            job = Job(name=handle.reference.name, version=None, done=lambda *_: None, evicts=False)
            self._make_room(job, key, self.budget.need(handle.digest, self._file_bytes(handle)))
            self.budget.release(key)

    def used_bytes(self) -> int:
        """What all models of this process take."""
        return sum(model.report.memory_bytes for model in [*self._dataplane.models(), *(model for model, _ in self.apart.values())])

    def _begin(self, job: Job) -> None:
        if job.wanted is not None and self._waits_for(job, PREPARED):  # what is about to take over may be what the requests wait for
            asyncio.get_running_loop().call_later(_ROUND_S, self._begin, job)
        elif job.wanted is not None and not job.wanted():
            self._end(job, None, None)
        else:
            self._hands.aside(partial(self._open, job), partial(self._opened, job))

    def _waits_for(self, job: Job, state: str) -> bool:
        """Whether a model of the job's name is still in a state that should be over first; not for ever."""
        now = asyncio.get_running_loop().time()
        job.began = job.began or now
        there = any(why == state and model.name == job.name for model, why in self.apart.values())
        return there and now < job.began + self._dataplane.settings.drain_timeout_s + _PATIENCE_S

    def _open(self, job: Job) -> tuple[PackageHandle, int]:
        """The package, and what it takes as far as its files tell."""
        handle = self._repository.open(job.name, job.version)
        return handle, self._file_bytes(handle) if self.budget.limit_bytes else 0

    def _file_bytes(self, handle: PackageHandle) -> int:
        return file_bytes(handle, environments=environments_of(self._dataplane.settings))

    def _opened(self, job: Job, opened: tuple[PackageHandle, int] | None, error: AweighError | None) -> None:
        if opened is None:
            self._end(job, None, error)
            return
        if job.leaves is not None:
            job.leaves()
            if self._waits_for(job, ENDING):
                asyncio.get_running_loop().call_later(_ROUND_S, self._opened, job, opened, None)
                return
        handle, size_bytes = opened
        key = job.name
        try:
            if self.budget.limit_bytes:
                key = str(handle.reference)
                self._make_room(job, key, self.budget.need(handle.digest, size_bytes))
        except InsufficientMemory as refusal:
            if self._may_wait(job):
                asyncio.get_running_loop().call_later(_ROUND_S, self._opened, job, opened, None)
                return
            refusal.context.setdefault("version", str(handle.reference.version or 1))
            self._end(job, None, refusal)
            return
        self._hands.aside(partial(load_weighed, self._load, handle), partial(self._loaded, job, key))

    def _loaded(self, job: Job, key: str, model: LoadedModel | None, error: AweighError | None) -> None:
        self.budget.release(key)
        if model is not None:
            self.budget.measured(model.digest, model.report.memory_bytes)
            key = f"{model.name}:{model.version}"
            try:  # it may have turned out to be larger than was thought
                self._make_room(job, key, model.report.memory_bytes)
            except InsufficientMemory as refusal:
                self._hands.discard(model)
                model, error = None, refusal
            self.budget.release(key)
        if model is not None:
            self.keep(model, PREPARED)
        self._end(job, model, error)

    def _may_wait(self, job: Job) -> bool:
        """Whether models that are ending, or busy for a moment, may make the room that there is not now."""
        now = asyncio.get_running_loop().time()
        job.began = job.began or now
        ending = any(why == ENDING for _, why in self.apart.values())
        busy = any(held.stays == _ANSWERS for held in self._held(job))
        limit_s = self._dataplane.settings.drain_timeout_s + _PATIENCE_S if ending else _PATIENCE_S if busy else 0.0
        return job.evicts and now < job.began + limit_s

    def _make_room(self, job: Job, key: str, need_bytes: int) -> None:
        if not self.budget.limit_bytes:
            return
        for victim in self.budget.reserve(key, need_bytes, self._held(job)):
            for model in [each for each in self._dataplane.models() if (each.name, each.version) == (victim.name, victim.version)]:
                self._hands.evict(model)

    def _end(self, job: Job, model: LoadedModel | None, error: AweighError | None) -> None:
        self._jobs.popleft()
        if self._jobs:
            self._begin(self._jobs[0])
        else:
            self.busy(False)  # noqa: FBT003  # as above
        job.done(model, error)

    def _held(self, job: Job) -> list[Held]:
        serving = [_held(model, self._why_it_stays(model, job)) for model in self._dataplane.models()]
        return serving + [_held(model, why) for model, why in self.apart.values()]

    def _why_it_stays(self, model: LoadedModel, job: Job) -> str:
        if not job.evicts:
            return "it was loaded before"
        if self.budget.pinned(model.name):
            return "pinned"
        if self._hands.tried(model.name):
            return "it is being rolled out"
        if model.name == job.name and job.wanted is None:
            return "it answers until the other may"
        if self._hands.changing(model.name):
            return "it is being changed"
        if self._dataplane.routing.deals(model.name):
            return "its requests are dealt out to several models"
        if model.statistics.in_flight or model.statistics.turns:
            return _ANSWERS
        return ""


def _held(model: LoadedModel, stays: str) -> Held:
    used = max(model.statistics.last, model.report.loaded_at)
    return Held(name=model.name, version=model.version, size_bytes=model.report.memory_bytes, last_used=used, stays=stays)

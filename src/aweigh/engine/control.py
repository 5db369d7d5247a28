"""Loading and unloading while the server runs: a new version is loaded beside the old one and takes over when it may answer.

Called by the dialects on the event loop. Whatever takes time (reading, loading, replaying, closing) happens on one thread of its own.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from aweigh.core.errors import AweighError, Conflict, Denied, InternalError, InvalidName, ModelNotFound
from aweigh.core.names import check_asked
from aweigh.core.rollout import Plan, trial_of
from aweigh.engine.asleep import EVICTED, REPLACED
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.follower import Decided
from aweigh.engine.footprint import Load
from aweigh.engine.loading import ENDING, Done, Job, Loader, Repository
from aweigh.engine.memory_budget import Room
from aweigh.engine.model import LoadedModel
from aweigh.engine.slab import LOADS_FAILED
from aweigh.engine.waking import Waking

_LOG = logging.getLogger("aweigh.server")
_DRAIN_ROUND_S: Final = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexLine:
    """One version in the repository. `state` is READY, LOADING, UNLOADING or UNAVAILABLE."""

    name: str
    version: str
    state: str
    reason: str


class ModelControl:
    """Changes what a data plane serves. One load at a time; `allowed` is False where the settings say so."""

    def __init__(self, dataplane: DataPlane, repository: Repository, load: Load, *, allowed: bool) -> None:
        self._dataplane = dataplane
        self._repository = repository
        self.loader = Loader(dataplane, repository, load, self)
        self.waking = Waking(self._wake, max_waiting=dataplane.settings.max_queue)
        dataplane.wake = self.waking.wait
        dataplane.room = self.room
        self._allowed = allowed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aweigh-load")
        self._aside: set[asyncio.Future[Any]] = set()
        self._asked = ""
        """The name that a client is having loaded."""
        self._overruled = False
        """Whether it was unloaded meanwhile."""
        self._retiring: set[LoadedModel] = set()
        self.rolling: dict[str, Plan] = {}
        """What is being tried out, by name."""
        self.rolled: Callable[[str], bool] = lambda _: False
        """Whether a name is being rolled out, from the first step to the last: only the rollout changes what it serves."""
        self.decided: Decided | None = None
        """Told what a client has had loaded or unloaded."""
        self.evicted = 0
        """Models that made room for others."""
        self._failures: dict[tuple[str, str], str] = {}
        """Why the last load of a version failed."""

    def index(self, done: Done, *, ready_only: bool = False) -> None:
        """Every version of the repository, and what is served although it is not there."""
        self.aside(self._repository.versions, lambda found, error: done(None if error else self._lines(found, ready_only), error))

    def load(self, name: str, version: int | None, done: Done) -> None:
        """Load a version and let it take over its name. Raises Denied, Conflict while another that was asked for is loaded."""
        self.check_allowed()
        self.check_settled(name)
        if self._asked:
            raise Conflict(f"model '{self._asked}' is being loaded", hint="one load at a time: try again when it is done")
        self._asked, self._overruled = name, False
        self.prepare(name, version, partial(self._loaded, version, done), first=self._dataplane.settings.version_transition == "resource")

    def prepare(self, name: str, version: int | None, done: Done, *, first: bool = False, evicts: bool = True) -> None:
        """Load a version beside what is served; `done` gets the model, which is to be given to `take_over`, `join` or `discard`.

        `first`: what the bare name means leaves memory before, and comes back on its next use if this fails. Without `evicts`, nothing makes
        room: InsufficientMemory is told where there is none.
        """
        leaves = (lambda: self._make_way(name)) if first else None
        self.loader.add(Job(name=name, version=version, done=partial(self._prepared, name, done), leaves=leaves, evicts=evicts))

    def take_over(self, model: LoadedModel) -> None:
        """Let a prepared model answer; what it takes over from ends when it has answered what it took."""
        self.loader.forget(model)
        for old in self._dataplane.replace(model):
            self._retire(old)
        self.waking.forget(model.name)
        _LOG.info("model ready", extra={"model": model.name, "version": model.version, "digest": model.digest})

    def join(self, model: LoadedModel, *, default: bool) -> None:
        """Let a prepared model answer beside the other versions of its name, also for the bare name where it is the `default`."""
        self.loader.forget(model)
        for old in self._dataplane.join(model, default=default):
            self._retire(old)
        if default:
            self._dataplane.asleep.settle(model.name)
        _LOG.info("model ready", extra={"model": model.name, "version": model.version, "digest": model.digest})

    def discard(self, model: LoadedModel) -> None:
        """Let go of a prepared model that never answered."""
        self.loader.keep(model, ENDING)
        self.aside(model.close, lambda *_: self.loader.forget(model))

    def let_go(self, name: str, version: str) -> None:
        """Serve one version no more, whether it is loaded or asleep."""
        model = self._dataplane.loaded(name, version)
        if model is not None:
            self.drop(model)
        else:
            self._dataplane.forget(name, version)

    def room(self) -> Room:
        """The memory for models, and what was done for it."""
        return Room(
            budget_bytes=self.loader.budget.limit_bytes,
            used_bytes=self.loader.used_bytes(),
            evicted=self.evicted,
            woken=self.waking.loads,
            waiting=self.waking.waiting,
        )

    def relabel(self) -> None:
        """Take over the labels that the repository has now, as far as the versions that they name are loaded."""
        self.aside(self._repository.aliases, self._relabelled)

    def _relabelled(self, found: Mapping[str, Mapping[str, int]] | None, error: AweighError | None) -> None:
        for name in self._dataplane.names() if found is not None else ():
            served = [*self._dataplane.versions(name), *self._dataplane.asleep.versions(name)]
            refused = self._dataplane.labels.assign(name, (found or {}).get(name, {}), served)
            if refused:
                _LOG.warning("labels stay: the versions that they are moved to are not loaded", extra={"model": name, "labels": refused})

    def _make_way(self, name: str) -> None:
        model = self._dataplane.meant(name)
        if model is not None:
            self._dataplane.lull(model, REPLACED)
            self._retire(model)

    def evict(self, model: LoadedModel) -> None:
        """Take a version out of memory to make room; it is loaded again when it is asked for."""
        self._dataplane.lull(model, EVICTED)
        self._retire(model)
        self.evicted += 1
        _LOG.info("model evicted", extra={"model": model.name, "version": model.version, "memory_bytes": model.report.memory_bytes})

    def remove(self, name: str) -> list[str]:
        """Take every version of a name out of service; their numbers. They end when they have answered what they took."""
        numbers = self._dataplane.asleep.versions(name)
        for model in self._dataplane.remove(name):
            self._retire(model)
            numbers.append(model.version)
        self.waking.forget(name)
        if numbers:
            _LOG.info("model unloaded", extra={"model": name, "versions": numbers})
        return numbers

    def unload(self, name: str, done: Done) -> None:
        """Take every version of a name out of service; they end when they have answered what they took. Raises Denied, ModelNotFound."""
        self.check_allowed()
        self.check_settled(name)
        loading = self._asked == name and not self._overruled
        self._overruled = self._overruled or loading
        if not self.remove(name) and not loading:
            check_asked(name)
            raise ModelNotFound(f"failed to unload '{name}', no version is available", hint="the repository index lists what is loaded")
        self._decide(name, None, loaded=False)
        asyncio.get_running_loop().call_soon(done, None, None)  # never before this returns: the caller is not waiting yet

    def drop(self, model: LoadedModel, then: Callable[[], None] | None = None) -> None:
        """Take one version out of service; it ends when it has answered what it took. `then` is called when its memory is released."""
        self._dataplane.drop(model)
        self._retire(model, then)

    def close(self) -> None:
        """Wait for the thread, and release what was still draining."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        for model, _ in list(self.loader.apart.values()):
            model.close()
        self.loader.apart.clear()
        self._retiring.clear()

    def check_allowed(self) -> None:
        """Raises Denied where the settings do not let clients load and unload."""
        if not self._allowed:
            raise Denied("explicit model load / unload is not allowed", hint="set model_control, or serve with an api_key_file")

    def changing(self, name: str) -> bool:
        """Whether somebody is changing what is served of a name."""
        return name == self._asked or self.rolled(name)

    def tried(self, name: str) -> bool:
        """Whether a version of a name is tried beside another."""
        return name in self.rolling

    def _decide(self, name: str, version: int | None, *, loaded: bool) -> None:
        self.relabel()
        if self.decided is not None:
            self.decided(name, version, loaded=loaded)

    def check_settled(self, name: str) -> None:
        """Raises Conflict while a name is rolled out."""
        if self.rolled(name):
            raise Conflict(f"model '{name}' is being rolled out", hint="promote it or roll it back first")

    def aside(self, work: Callable[[], Any], then: Done) -> None:
        """Do what takes time on the thread for it, in the order given; `then` is called on the event loop."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._aside.add(future)
        future.add_done_callback(self._aside.discard)
        future.add_done_callback(partial(_deliver, then))

    @property
    def busy(self) -> bool:
        """Whether its thread is at work, as far as the event loop has heard."""
        return bool(self._aside)

    def _wake(self, name: str, version: str, done: Done) -> None:
        woken = partial(self._prepared, name, partial(self._woken, name, version, done))
        wanted = partial(self._dataplane.asleep.holds, name, version)
        self.loader.add(Job(name=name, version=int(version), done=woken, wanted=wanted))

    def _woken(self, name: str, version: str, done: Done, model: LoadedModel | None, error: AweighError | None) -> None:
        if model is not None and self._dataplane.asleep.holds(name, version):
            self.join(model, default=False)
        elif model is not None:
            self.discard(model)
        done(None, error)  # without a model and an error too: the requests are handled anew, and find what there is now

    def _prepared(self, name: str, done: Done, model: LoadedModel | None, error: AweighError | None) -> None:
        if error is not None:
            self._note(name, error)
        elif model is not None:
            self._failures.pop((name, model.version), None)
        done(model, error)

    def _note(self, name: str, error: AweighError) -> None:
        """Let operators know of a load that failed, unless it is who asked that is to blame."""
        unknown = isinstance(error, ModelNotFound) and not self._dataplane.versions(name)  # what is served was there once
        if unknown or isinstance(error, InvalidName):
            return
        version = str(error.context.get("version", ""))
        if version:
            self._failures[name, version] = error.message
        self._dataplane.counts[LOADS_FAILED] += 1
        told = {"model": name, "version": version, "code": error.code, "error": error.message, "hint": error.hint}
        _LOG.error("a model was not loaded: what is served stays as it is", extra=told)

    def _loaded(self, version: int | None, done: Done, model: LoadedModel | None, error: AweighError | None) -> None:
        name, self._asked = self._asked, ""
        if model is not None and self._overruled:
            self.discard(model)
            error = Conflict(f"model '{name}' was unloaded while it was loaded", hint="load it again")
        elif model is not None:
            self.take_over(model)
            self._decide(name, version, loaded=True)
        done(None, error)

    def _retire(self, model: LoadedModel, then: Callable[[], None] | None = None) -> None:
        """Close a model once nothing is under way on it, or the drain's time is up."""
        self._retiring.add(model)
        self.loader.keep(model, ENDING)
        loop = asyncio.get_running_loop()
        self._drain(model, then, loop.time() + self._dataplane.settings.drain_timeout_s)

    def _drain(self, model: LoadedModel, then: Callable[[], None] | None, until: float) -> None:
        loop = asyncio.get_running_loop()
        if (model.statistics.in_flight or model.statistics.turns) and loop.time() < until:
            loop.call_later(_DRAIN_ROUND_S, self._drain, model, then, until)
        elif model in self._retiring:
            self._retiring.discard(model)
            model.refuse()
            self.aside(model.close, partial(self._released, model, then))

    def _released(self, model: LoadedModel, then: Callable[[], None] | None, _: Any, error: AweighError | None) -> None:
        self.loader.forget(model)
        if then is not None:
            then()

    def _lines(self, stored: list[tuple[str, int]], ready_only: bool) -> list[IndexLine]:
        states = {(str(model.name), model.version): "UNLOADING" for model in self._retiring}
        served = list(self._dataplane.models())
        states |= {(str(model.name), model.version): "READY" if model.ready else "UNAVAILABLE" for model in served}
        dying = {(str(model.name), model.version) for model in served if not model.ready}
        asleep = {(name, version): reason for name, version, reason in self._dataplane.asleep}
        lines = []
        for key in sorted({(name, str(version)) for name, version in stored} | set(states) | set(asleep)):
            state = states.get(key) or ("LOADING" if self.loader.loads(*key) else "UNAVAILABLE")
            if state == "READY" or not ready_only:
                reason = "its process keeps dying" if key in dying else ""
                if state == "UNAVAILABLE" and not reason:
                    reason = self._failures.get(key) or asleep.get(key, "unloaded")
                if state == "READY" and (plan := self.rolling.get(key[0])) is not None and key[1] == str(plan.candidate):
                    reason = f"candidate: {trial_of(plan)}"
                lines.append(IndexLine(name=key[0], version=key[1], state=state, reason=reason))
        return lines


def _deliver(then: Done, future: "asyncio.Future[Any]") -> None:
    if future.cancelled():
        return
    error = future.exception()
    if error is None:
        then(future.result(), None)
    elif isinstance(error, AweighError):
        then(None, error)
    else:
        _LOG.error("the repository failed", exc_info=error)
        then(None, InternalError("the server failed to do this", hint="the server's log has more"))

"""The data plane: the use cases of a serving process, the same for every dialect. Knows models and tensors; never bytes of a wire.

The request path is `find`, `accept`, then `run` for what is answered at once (`immediate_rows`) and `submit` for what waits: for the end of
the loop's turn, with others that run together, or for a thread. Must be called on the event loop's thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol

from aweigh.core.errors import AweighError, InternalError, InvalidInput, Kind, ModelNotFound, NotLoaded, NotReady
from aweigh.core.names import check_asked
from aweigh.core.nearest import nearest
from aweigh.core.rollout import Plan
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine import fallbacks
from aweigh.engine.asleep import Asleep
from aweigh.engine.batching.joined import Reply, Turns, Work
from aweigh.engine.batching.queue import BatchQueue
from aweigh.engine.choice import Asker, Attempt, patience_of
from aweigh.engine.executors import Caller
from aweigh.engine.labels import Labels
from aweigh.engine.memory_budget import Room
from aweigh.engine.model import LoadedModel
from aweigh.engine.regions import Regions
from aweigh.engine.response_cache import ResponseCache, Responses
from aweigh.engine.routing import Routing
from aweigh.engine.single import Single
from aweigh.engine.slab import CELLS, Connections

_TURN: Final = "turn"


class WireFacts(Protocol):
    """What a wire counts; shown by /metrics."""

    def connections(self) -> Connections: ...
    def total(self, cell: int) -> int: ...


class Control(Protocol):
    """What changes the models of a data plane; `control.ModelControl` is one."""

    def index(self, done: Callable[[Any, AweighError | None], None], *, ready_only: bool = False) -> None: ...
    def load(self, name: str, version: int | None, done: Callable[[Any, AweighError | None], None]) -> None: ...
    def unload(self, name: str, done: Callable[[Any, AweighError | None], None]) -> None: ...


class RolloutControl(Protocol):
    """What rolls versions out, in the whole server. Every verb tells `done` later, on the loop, a `core.rollout.Report` (`reports`: a list), or why not."""

    def begin(self, plan: Plan, done: Callable[[Any, AweighError | None], None]) -> None: ...
    def promote(self, name: str, done: Callable[[Any, AweighError | None], None]) -> None: ...
    def rollback(self, name: str, done: Callable[[Any, AweighError | None], None]) -> None: ...
    def reports(self, name: str, done: Callable[[Any, AweighError | None], None]) -> None: ...


class Logs(Protocol):
    """What this process logs; `app.logs.LogControl` is one."""

    def read(self) -> dict[str, bool | int | str]:
        """Every log setting, by Triton's names."""
        ...

    def change(self, values: Mapping[str, object]) -> None:
        """Set what is named. Raises InvalidInput, Unsupported, Denied, having changed nothing."""
        ...


class DataPlane:
    """The models of this process by name and version, and what can be asked of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self.started = False
        """Whether every model that was asked for at start has been loaded once."""
        self.in_flight = 0
        """Requests handed to threads and not yet answered."""
        self.wire: WireFacts | None = None
        """What carries the requests, where it can be counted."""
        self.counts: MutableSequence[int] = [0] * CELLS
        """What this process counts at the places that `slab` names; its wire's where it has one."""
        self.control: Control | None = None
        """What loads and unloads while the server runs; None where models stay as they are."""
        self.rollouts: RolloutControl | None = None
        """What rolls versions out; None where models stay as they are."""
        self.workers: Callable[[Callable[[Any, AweighError | None], None]], None] | None = None
        """Tells how all workers of the server are; None where there is one process."""
        self.logs: Logs | None = None
        """What is logged, where that can be asked and changed by request."""
        self.regions = Regions(settings)
        """Memory that clients share with this process."""
        self.cache = ResponseCache(settings.response_cache_bytes // settings.workers) if settings.response_cache_bytes else None
        """Answers that equal requests get again: this process's part of the memory for them."""
        self._versions: dict[str, dict[str, LoadedModel]] = {}
        self._default: dict[str, LoadedModel] = {}
        self.asleep = Asleep()
        """Versions that are loaded when they are asked for."""
        self.labels = Labels(unavailable=settings.labels_for_unavailable)
        """Words that stand for a version in requests."""
        self.wake: Callable[[str, str, Caller, Callable[[AweighError | None], None]], None] | None = None
        """Has a version that is asleep loaded, and tells a caller who waits; None where nothing is ever asleep."""
        self.room: Callable[[], Room] | None = None
        """Tells of the memory for models, where they are loaded and unloaded."""
        self.routing = Routing(self.find)
        """The names whose requests are dealt out to several models."""
        fallbacks.set_up(self.routing, settings)
        self.max_rows = settings.max_rows

    def add(self, model: LoadedModel) -> None:
        """Make a loaded model answerable; the last added version of a name is its default."""
        self._hold(model)
        self.prefer(model.name, model.version)

    def join(self, model: LoadedModel, *, default: bool) -> list[LoadedModel]:
        """Make a loaded model answerable beside the other versions of its name, also for the bare name where it is the `default`, or the first.

        Of the same version the one before is no longer answerable: it is returned.
        """
        before = self._versions.get(model.name, {}).get(model.version)
        meant = self._default.get(model.name) is before and before is not None
        first = model.name not in self._default and not self.asleep.default(model.name)
        meant = self._hold(model) or meant
        if default or first or meant:
            self.prefer(model.name, model.version)
        if before is not None:
            before.forget()
        return [before] if before is not None else []

    def _hold(self, model: LoadedModel) -> bool:
        """Whether the bare name meant this version, which was asleep."""
        self._versions.setdefault(model.name, {})[model.version] = model
        if self.cache is not None and model.cacheable:
            model.remember(self.cache)
        return self.asleep.drop(model.name, model.version)

    def prefer(self, name: str, version: str) -> None:
        """Let the bare name mean this version, if it is loaded or asleep."""
        model = self._versions.get(name, {}).get(version)
        if model is not None:
            self._default[name] = model
            self.asleep.prefer(name, version)
        elif self.asleep.prefer(name, version):
            self._default.pop(name, None)

    def loaded(self, name: str, version: str) -> LoadedModel | None:
        """One version, if it is loaded."""
        return self._versions.get(name, {}).get(version)

    def meant(self, name: str) -> LoadedModel | None:
        """What a bare name means, if that is loaded."""
        return self._default.get(name)

    def forget(self, name: str, version: str) -> None:
        """Serve a version no more that is asleep; of those that stay the last is what the bare name means, if this was."""
        if self.asleep.drop(name, version):
            self._prefer_last(name)

    def lull(self, model: LoadedModel, reason: str) -> None:
        """Take one version out of memory: it comes back when it is asked for. The caller closes it."""
        versions = self._versions.get(model.name, {})
        versions.pop(model.version, None)
        if not versions:
            self._versions.pop(model.name, None)
        model.forget()
        default = self._default.get(model.name) is model
        if default:
            del self._default[model.name]
        self.asleep.put(model.name, model.version, reason, default=default)

    def replace(self, model: LoadedModel) -> list[LoadedModel]:
        """Let a model take over its name; what it takes over from, the same version or the one that was the default, is no longer answerable."""
        versions = self._versions.get(model.name, {})
        default = self._default.get(model.name)
        old = [each for each in (versions.get(model.version), default) if each is not None]
        for each in old:
            versions.pop(each.version, None)
            each.forget()
        self.asleep.drop(model.name, self.asleep.default(model.name))
        self.add(model)
        return list({id(each): each for each in old}.values())

    def remove(self, name: str) -> list[LoadedModel]:
        """Take a name out of service; its models, which the caller closes."""
        self._default.pop(name, None)
        self.asleep.remove(name)
        removed = list(self._versions.pop(name, {}).values())
        for model in removed:
            model.forget()
        return removed

    def drop(self, model: LoadedModel) -> None:
        """Take one version out of service; of those that stay the last is what the bare name means, if this was. The caller closes it."""
        versions = self._versions.get(model.name, {})
        versions.pop(model.version, None)
        model.forget()
        if not versions:
            self._versions.pop(model.name, None)
        if self._default.get(model.name) is model:
            del self._default[model.name]
            self._prefer_last(model.name)

    def _prefer_last(self, name: str) -> None:
        staying = [*self.asleep.versions(name), *self._versions.get(name, ())]
        if staying:
            self.prefer(name, staying[-1])

    def close(self) -> None:
        """Release every model, and the memory of clients."""
        self.regions.close()
        for versions in self._versions.values():
            for model in versions.values():
                model.forget()
                model.close()
        self._versions.clear()
        self._default.clear()

    @property
    def ready(self) -> bool:
        """Whether this process wants new requests: started, with every model loaded, not draining, and able to answer for some model.

        One model whose process keeps dying takes no other out of service: whether it answers is a question of its own.
        """
        return self.started and not self.draining and (not self._default or any(model.ready for model in self._default.values()))

    def models(self) -> Iterable[LoadedModel]:
        """Every loaded version of every model, by name."""
        return (model for name in sorted(self._versions) for model in self._versions[name].values())

    def named(self, name: str, version: str) -> list[LoadedModel]:
        """The loaded versions that a name means without a version, or the one that it means with one. Wakes nothing. Raises ModelNotFound."""
        try:
            found = self.find(name, version)
        except NotLoaded:
            return [] if version else list(self._versions.get(name, {}).values())
        return [found] if version else list(self._versions[name].values())

    def names(self) -> list[str]:
        """Every name that has a version here, loaded or asleep."""
        return sorted({*self._versions, *(name for name, _, _ in self.asleep)})

    def only_name(self, *, hint: str) -> str:
        """The name of the one model of this server, for requests that say none. Raises InvalidInput, with the hint, where it has none or several."""
        names = self.names()
        if len(names) != 1:
            shown = ", ".join(names[:20]) or "no models"
            raise InvalidInput(f"which model is not said: this server has {shown}", hint=hint)
        return names[0]

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a name, in the order they were added."""
        return list(self._versions.get(name, ()))

    def find(self, name: str, version: str = "") -> LoadedModel:
        """The model of that name and version (the default version if empty). Raises ModelNotFound, InvalidName."""
        model = self._versions.get(name, {}).get(version) if version else self._default.get(name)
        if model is not None:
            return model
        labelled = self.labels.version(name, version)
        if labelled and labelled != version:
            return self.find(name, labelled)
        meant = version or self.asleep.default(name)
        if self.asleep.holds(name, meant):
            raise self._not_loaded(name, meant)
        if not self.started and name not in self._default:
            raise NotReady(f"model '{name}' is not loaded yet: the server is starting", hint="try again in a moment")
        check_asked(name)
        check_asked(version)
        raise self._not_found(name, version)

    def _not_loaded(self, name: str, version: str) -> NotLoaded:
        error = NotLoaded(f"model '{name}' version {version} is not loaded", hint="it is loaded on its next use", model=name)
        if self.wake is not None:
            error.wake = partial(self.wake, name, version)
        return error

    def choose(self, name: str, version: str, caller: Asker) -> LoadedModel:
        """The model that is to answer a request: as `find` says, but where the name is rolled out or has a model to fall back on. Raises as `find`."""
        return self.routing.choose(name, version, caller) if self.routing.active else self.find(name, version)

    def _not_found(self, name: str, version: str) -> ModelNotFound:
        if name in self._versions:
            known = ", ".join(self._versions[name])
            return ModelNotFound(
                f"Request for unknown model: '{name}' version {version} is not found",
                hint=f"loaded versions of '{name}': {known}",
                model=name,
            )
        near = nearest(name, self._versions)
        hint = f"did you mean '{near}'?" if near else f"this server has: {', '.join(sorted(self._versions)) or 'no models'}"
        return ModelNotFound(f"Request for unknown model: '{name}' is not found", hint=hint, model=name)

    def accept(self, model: LoadedModel, inputs: Tensors) -> int:
        """Check inputs against the signature and the limits; the number of rows. Raises InvalidInput, TooLarge, counted as the model's."""
        try:
            return model.acceptance.rows(inputs, self.max_rows)
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise

    def run(self, model: LoadedModel, inputs: Tensors, rows: int, *, anew: bool = False) -> list[Tensor]:
        """Answer accepted inputs here and now; `anew`: whatever the response cache knows. Raises AweighError when the session fails."""
        if model.responses is not None and not anew:
            return self._run_or_recall(model, model.responses, inputs, rows)
        started = perf_counter()
        try:
            outputs = model.run(inputs)
        except AweighError as error:
            model.statistics.failure(error.kind, perf_counter() - started)
            raise
        except Exception:
            model.statistics.failure(Kind.INTERNAL, perf_counter() - started)
            raise
        statistics = model.statistics
        statistics.last = ended = perf_counter()
        statistics.success(ended - started, rows)
        if model.observe is not None:
            model.observe(inputs, outputs, ended - started)
        return outputs

    def _run_or_recall(self, model: LoadedModel, responses: Responses, inputs: Tensors, rows: int) -> list[Tensor]:
        key, outputs = responses.recall(inputs)
        if outputs is None:
            outputs = self.run(model, inputs, rows, anew=True)
            responses.remember(key, outputs)
        return outputs

    def run_single(self, model: LoadedModel, single: Single) -> list[Tensor]:
        """Answer the row that was written to `single`. Raises AweighError when the session fails."""
        started = perf_counter()
        try:
            single.run()
        except AweighError as error:
            model.statistics.failure(error.kind, perf_counter() - started)
            raise
        statistics = model.statistics
        statistics.last = ended = perf_counter()
        statistics.success(ended - started, 1)
        if model.observe is not None:
            model.observe(single.inputs, single.outputs, ended - started)
        return single.outputs

    def submit(self, model: LoadedModel, inputs: Tensors, rows: int, caller: Caller, done: Reply) -> None:
        """Answer accepted inputs with others of this turn or on the model's threads; `done` is called later on the loop. Raises Overloaded."""
        if self.routing.active and (patience_s := patience_of(caller)):
            attempt = Attempt(caller, done, model.name)
            self.submit(model, inputs, rows, attempt, attempt.done)
            attempt.begin(patience_s)  # not before: nobody gives up what nobody has taken
            return
        if model.responses is not None:
            key, outputs = model.responses.recall(inputs)
            if outputs is not None:
                self.in_flight += 1
                model.statistics.in_flight += 1
                asyncio.get_running_loop().call_soon(self._answered, model, done, outputs, None)
                return
            done = partial(_remember, model.responses, key, done)
        if model.turn_rows and rows <= model.inline_rows:
            turns: Turns | None = model.prepared.get(_TURN)
            if turns is None:
                turns = model.prepared[_TURN] = Turns(model, partial(self.run, model, anew=True))
            turns.add(caller, Work(inputs=inputs, rows=rows, done=done))
            return
        if model.queue is not None:
            self._enqueue(model.queue, model, caller, Work(inputs=inputs, rows=rows, done=partial(self._answered, model, done)))
            return
        if model.threads is None:
            raise InternalError(f"model '{model.name}' runs inline")
        try:
            model.threads.submit(partial(model.run, inputs), caller, partial(self._finish, model, perf_counter(), inputs, rows, done))
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        self.in_flight += 1
        model.statistics.in_flight += 1

    def _enqueue(self, queue: BatchQueue, model: LoadedModel, caller: Caller, work: Work) -> None:
        try:
            queue.add(caller, work)
        except AweighError as error:
            model.statistics.failure(error.kind)
            raise
        self.in_flight += 1
        model.statistics.in_flight += 1

    def _answered(self, model: LoadedModel, done: Reply, outputs: list[Tensor] | None, error: AweighError | None) -> None:
        self.in_flight -= 1
        model.statistics.in_flight -= 1
        done(outputs, error)

    def _finish(
        self,
        model: LoadedModel,
        started: float,
        inputs: Tensors,
        rows: int,
        done: Reply,
        outputs: list[Tensor] | None,
        error: AweighError | None,
        waited: float,
    ) -> None:
        self.in_flight -= 1
        model.statistics.in_flight -= 1
        if error is None:
            model.statistics.queued.observe(waited)
            model.statistics.last = ended = perf_counter()
            model.statistics.success(ended - started, rows, waited)
            if model.observe is not None and outputs is not None:
                model.observe(inputs, outputs, ended - started - waited)
        else:
            model.statistics.failure(error.kind, perf_counter() - started)
        done(outputs, error)


def _remember(responses: Responses, key: bytes, done: Reply, outputs: list[Tensor] | None, error: AweighError | None) -> None:
    if outputs is not None:
        responses.remember(key, outputs)
    done(outputs, error)

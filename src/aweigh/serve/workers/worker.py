"""A worker's side: its heartbeat, its link to the supervisor, and the models that the supervisor wants it to serve. Run by `app` in a process of its own."""

import asyncio
import itertools
import logging
import os
from functools import partial
from typing import Any, Final

from aweigh.core.errors import AweighError, InsufficientMemory, InternalError, ModelNotFound, NotLoaded, from_dict
from aweigh.core.rollout import Plan
from aweigh.engine.asleep import NO_ROOM, ON_FIRST_USE
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.fleet import OneProcess, loaded
from aweigh.engine.loading import Done
from aweigh.engine.memory_budget import never_fits
from aweigh.engine.model import LoadedModel
from aweigh.engine.slab import BEATS, DRAINING, LOADING, PID, SERVING, STATE, Slab
from aweigh.engine.statistics import SharedStatistics
from aweigh.serve import patience
from aweigh.serve.server import HttpServer
from aweigh.serve.told import facts_of
from aweigh.serve.workers.messages import (
    Abort,
    Alarm,
    Answer,
    Ask,
    Become,
    Commit,
    Did,
    Drain,
    Failed,
    Link,
    Look,
    Open,
    Prepare,
    Relabel,
    Remove,
    Up,
    Version,
)  # fmt: skip
from aweigh.serve.workers.processes import give_back
from aweigh.serve.workers.watch import BEAT_S

_LOG: Final = logging.getLogger("aweigh.worker")


class WorkerControl:
    """Loading, unloading and rolling out as clients ask for it: the whole server does it or none of it."""

    def __init__(self, own: ModelControl, link: Link) -> None:
        self._own = own
        self._link = link
        self._numbers = itertools.count(1)
        self._asked: dict[int, Done] = {}

    def index(self, done: Done, *, ready_only: bool = False) -> None:
        self._own.index(done, ready_only=ready_only)

    def load(self, name: str, version: int | None, done: Done) -> None:
        self._own.check_allowed()
        self._ask(done, Ask(number=next(self._numbers), verb="load", name=name, version=version))

    def unload(self, name: str, done: Done) -> None:
        self._own.check_allowed()
        self._ask(done, Ask(number=next(self._numbers), verb="unload", name=name))

    def begin(self, plan: Plan, done: Done) -> None:
        self._own.check_allowed()
        self._ask(partial(_only, done), Ask(number=next(self._numbers), verb="begin", plan=plan))

    def promote(self, name: str, done: Done) -> None:
        self._own.check_allowed()
        self._ask(partial(_only, done), Ask(number=next(self._numbers), verb="promote", name=name))

    def rollback(self, name: str, done: Done) -> None:
        self._own.check_allowed()
        self._ask(partial(_only, done), Ask(number=next(self._numbers), verb="rollback", name=name))

    def reports(self, name: str, done: Done) -> None:
        self._ask(done, Ask(number=next(self._numbers), verb="reports", name=name))

    def overview(self, done: Done) -> None:
        """How all workers are."""
        self._ask(done, Ask(number=next(self._numbers), verb="overview"))

    def answered(self, answer: Answer) -> None:
        """The supervisor has done what was asked, or not."""
        done = self._asked.pop(answer.number, None)
        if done is not None:
            done(answer.overview or answer.reports, None if answer.error is None else from_dict(answer.error))

    def _ask(self, done: Done, message: Ask) -> None:
        self._asked[message.number] = done
        self._link.send(message)


class Worker:
    """Follows the supervisor until it is told to drain."""

    def __init__(
        self, dataplane: DataPlane, own: ModelControl, server: HttpServer, *, link: Link, slab: Slab, statistics: SharedStatistics
    ) -> None:
        self._dataplane = dataplane
        self._own = own
        self._server = server
        self._link = link
        self._slab = slab
        self._statistics = statistics
        self._prepared: LoadedModel | None = None
        self._fleet = OneProcess(dataplane, own)
        self._fleet.alarm = lambda name: link.send(Alarm(name=name))
        self._becoming: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        own.loader.busy = self._loads
        self.control = WorkerControl(own, link)
        slab.cells[PID] = os.getpid()
        patience.watched(slab.cells)  # type: ignore[arg-type]  # a memoryview of whole numbers
        self._beat()

    def drain(self, *, alone: bool) -> None:
        """Answer what is under way, then end `run`."""
        if not self._drained.is_set():
            self._slab.cells[STATE] = DRAINING
            self._alone = alone
            self._drained.set()

    async def run(self) -> None:
        """Until drained, or the supervisor is gone."""
        hearing = asyncio.ensure_future(self._hear())
        draining = asyncio.ensure_future(self._drained.wait())
        await asyncio.wait({hearing, draining}, return_when=asyncio.FIRST_COMPLETED)
        if not self._drained.is_set():  # nobody is there to answer for: what is under way dies as the supervisor did
            hearing.result()
            return
        await self._server.stop(alone=self._alone)
        self._statistics.publish()
        hearing.cancel()
        self._slab.cells[STATE] = LOADING  # what follows is not done on the event loop, which beats no more

    async def _hear(self) -> None:
        while (message := await self._link.to_worker()) is not None:
            if isinstance(message, Become):
                self._becoming = asyncio.ensure_future(self._become(message, self._becoming))
            elif isinstance(message, Answer):
                self.control.answered(message)
            elif isinstance(message, Prepare):
                self._slab.cells[STATE] = LOADING
                self._own.prepare(message.model.name, message.model.number, partial(self._on_prepared, message.number), first=message.first)
            elif isinstance(message, Look):
                self._link.send(self._seen(message))
            elif isinstance(message, Relabel):
                self._own.relabel()
            elif isinstance(message, Drain):
                self.drain(alone=message.alone)
            elif isinstance(message, Open):
                self._dataplane.started = self._dataplane.started or message.started
                await self._server.start()
            elif isinstance(message, Commit | Abort | Remove):
                self._change(message)

    def _change(self, order: Commit | Abort | Remove) -> None:
        if isinstance(order, Remove):
            self._own.remove(order.name)
        elif self._prepared is not None:
            model, self._prepared = self._prepared, None
            if isinstance(order, Abort):
                self._own.discard(model)
            elif order.beside:
                self._own.join(model, default=order.default)
            else:
                self._own.take_over(model)
        self._own.relabel()
        self._link.send(Did(number=order.number))

    def _on_prepared(self, number: int, model: Any, error: AweighError | None) -> None:
        self._serving()
        self._prepared = model
        self._link.send(Did(number=number, error=None if error is None else error.as_dict()))

    def _seen(self, order: Look) -> Did:
        try:
            seen, errors = self._fleet.look(order.plan, order.stable)
        except AweighError:  # it does not serve them yet, or no longer
            return Did(number=order.number)
        return Did(number=order.number, seen=seen, errors=errors)

    async def _become(self, wanted: Become, before: "asyncio.Task[None] | None") -> None:
        """Load what is missing, in order, and take away what is not wanted."""
        if before is not None:
            await asyncio.wait({before})
        self._slab.cells[STATE] = LOADING
        try:
            for version in wanted.models:
                await self._begin(version, wanted.plans)
            for version in wanted.models:  # the last of a name is what its bare name means
                self._dataplane.prefer(version.name, str(version.number))
            await self._try_out(wanted.plans)
        except AweighError as error:
            self._link.send(Failed(error=error.as_dict()))
            return
        except Exception as error:  # noqa: BLE001  # the worker's boundary: the supervisor waits to hear
            _LOG.exception("loading failed")
            self._link.send(Failed(error=InternalError(f"{type(error).__name__}: {error}").as_dict()))
            return
        kept = {(version.name, str(version.number)) for version in wanted.models}
        served = [
            *((model.name, model.version) for model in self._dataplane.models()),
            *((name, number) for name, number, _ in self._dataplane.asleep),
        ]
        for name, number in served:
            if (name, number) not in kept:
                self._own.let_go(name, number)
        self._own.relabel()
        give_back()
        self._serving()
        self._link.send(Up(models=tuple(facts_of(model) for model in self._dataplane.models()), generation=wanted.generation))

    async def _try_out(self, plans: tuple[Plan, ...]) -> None:
        """Deal requests out as these plans say, and no others."""
        for name in self._fleet.trials():
            if name not in {plan.name for plan in plans}:
                self._fleet.end(name)
        for plan in plans:
            if self._fleet.tried(plan.name) != plan.candidate:
                try:
                    await self._fleet.try_out(plan)
                except (ModelNotFound, NotLoaded, InsufficientMemory) as error:  # its stable version answers all that this worker is asked
                    _LOG.error("a candidate is not tried out here", extra={"model": plan.name, "error": error.message})

    async def _begin(self, wanted: Version, plans: tuple[Plan, ...]) -> None:
        """Serve a version, where it is a candidate only if it can be loaded: it shall not keep this worker from serving what is stable."""
        plan = next((plan for plan in plans if plan.name == wanted.name), None)
        try:
            await self._serve(wanted.name, wanted.number, now=plan is not None)
        except AweighError as error:
            if plan is None or plan.candidate != wanted.number:
                raise
            _LOG.error("a candidate cannot be loaded", extra={"model": wanted.name, "version": wanted.number, "error": error.message})

    async def _serve(self, name: str, number: int, *, now: bool) -> None:
        """Load a version, unless it is to be loaded on its first use (and not `now`), or there is no room for it now."""
        version = str(number)
        if self._dataplane.loaded(name, version) is not None or (self._dataplane.asleep.holds(name, version) and not now):
            return
        if self._dataplane.settings.load_on_first_use and not now:
            self._dataplane.asleep.put(name, version, ON_FIRST_USE, default=True)
            return
        try:
            model = await loaded(self._own, name, number, evicts=False)
        except InsufficientMemory as error:
            if never_fits(error):
                raise
            self._dataplane.asleep.put(name, version, NO_ROOM, default=True)
            return
        self._own.join(model, default=True)

    def _loads(self, busy: bool) -> None:
        if busy and not self._drained.is_set():
            self._slab.cells[STATE] = LOADING
        elif self._becoming is None or self._becoming.done():
            self._serving()

    def _serving(self) -> None:
        if not self._drained.is_set():
            self._slab.cells[STATE] = SERVING

    def _beat(self) -> None:
        """Written by the event loop itself: when it stands still, for whatever reason, so does this number."""
        self._slab.cells[BEATS] += 1
        self._statistics.publish()
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)


def _only(done: Done, reports: Any, error: AweighError | None) -> None:
    """The one report that a verb has."""
    done(reports[0] if reports else None, error)

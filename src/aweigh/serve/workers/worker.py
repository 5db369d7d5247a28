"""A worker's side: its heartbeat, its link to the supervisor, and the models that the supervisor wants it to serve. Run by `app` in a process of its own."""

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aweigh.core.errors import AweighError, InternalError, from_dict
from aweigh.engine.control import Done, ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.slab import BEATS, DRAINING, LOADING, PID, SERVING, STATE, Slab
from aweigh.engine.statistics import SharedStatistics
from aweigh.serve import patience
from aweigh.serve.server import HttpServer
from aweigh.serve.told import facts_of
from aweigh.serve.workers.messages import Abort, Answer, Ask, Become, Commit, Did, Drain, Failed, Link, Open, Prepare, Remove, Up
from aweigh.serve.workers.processes import give_back
from aweigh.serve.workers.watch import BEAT_S

_LOG: Final = logging.getLogger("aweigh.worker")


class WorkerControl:
    """Loading and unloading as clients ask for it: the whole server does it or none of it."""

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

    def overview(self, done: Done) -> None:
        """How all workers are."""
        self._ask(done, Ask(number=next(self._numbers), verb="overview"))

    def answered(self, answer: Answer) -> None:
        """The supervisor has done what was asked, or not."""
        done = self._asked.pop(answer.number, None)
        if done is not None:
            done(answer.overview, None if answer.error is None else from_dict(answer.error))

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
        self._becoming: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
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
                self._own.prepare(message.model.name, message.model.number, partial(self._on_prepared, message.number))
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
            (self._own.take_over if isinstance(order, Commit) else self._own.discard)(model)
        self._link.send(Did(number=order.number))

    def _on_prepared(self, number: int, model: Any, error: AweighError | None) -> None:
        self._serving()
        self._prepared = model
        self._link.send(Did(number=number, error=None if error is None else error.as_dict()))

    async def _become(self, wanted: Become, before: "asyncio.Task[None] | None") -> None:
        """Load what is missing, in order, and take away what is not wanted."""
        if before is not None:
            await asyncio.wait({before})
        self._slab.cells[STATE] = LOADING
        try:
            for version in wanted.models:
                if str(version.number) not in self._dataplane.versions(version.name):
                    model = await _waited(partial(self._own.prepare, version.name, version.number))
                    self._dataplane.add(model)
        except AweighError as error:
            self._link.send(Failed(error=error.as_dict()))
            return
        except Exception as error:  # noqa: BLE001  # the worker's boundary: the supervisor waits to hear
            _LOG.exception("loading failed")
            self._link.send(Failed(error=InternalError(f"{type(error).__name__}: {error}").as_dict()))
            return
        kept = {(version.name, str(version.number)) for version in wanted.models}
        for model in [model for model in self._dataplane.models() if (model.name, model.version) not in kept]:
            self._own.drop(model)
        give_back()
        self._serving()
        self._link.send(Up(models=tuple(facts_of(model) for model in self._dataplane.models()), generation=wanted.generation))

    def _serving(self) -> None:
        if not self._drained.is_set():
            self._slab.cells[STATE] = SERVING

    def _beat(self) -> None:
        """Written by the event loop itself: when it stands still, for whatever reason, so does this number."""
        self._slab.cells[BEATS] += 1
        self._statistics.publish()
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)


def _waited(begin: Callable[[Done], None]) -> Awaitable[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(outcome: Any, error: AweighError | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(outcome)

    begin(done)
    return future

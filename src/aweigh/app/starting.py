"""What a server of one process has loaded when it begins: every model that it was given, or those that there is room for, or none until they are
asked for. And the hands by which it follows the store from then on."""

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aweigh.app.leaving import LOADING
from aweigh.core.errors import InsufficientMemory
from aweigh.core.protocols import PackageHandle
from aweigh.engine.asleep import NO_ROOM, ON_FIRST_USE
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.fleet import loaded
from aweigh.engine.footprint import Load, load_weighed
from aweigh.engine.memory_budget import never_fits
from aweigh.engine.model import LoadedModel

_LOG: Final = logging.getLogger("aweigh.server")


class OneProcessHands:
    """The hands of a follower in a server of one process."""

    def __init__(self, dataplane: DataPlane, control: ModelControl) -> None:
        self._dataplane = dataplane
        self._control = control

    def served(self, name: str) -> list[int] | None:
        if self._control.changing(name):
            return None
        return [int(version) for version in [*self._dataplane.versions(name), *self._dataplane.asleep.versions(name)]]

    async def load(self, name: str, number: int, *, default: bool, first: bool, wanted: Callable[[], bool]) -> None:
        model = await loaded(self._control, name, number, first=first)
        if wanted():
            self._control.join(model, default=default)
        else:
            self._control.discard(model)

    async def unload(self, name: str, number: int) -> None:
        self._control.let_go(name, str(number))

    async def prefer(self, name: str, number: int) -> None:
        self._dataplane.prefer(name, str(number))

    async def relabel(self) -> None:
        self._control.relabel()


async def load_all(
    dataplane: DataPlane, control: ModelControl, handles: Sequence[PackageHandle], load: Load, stop: asyncio.Event
) -> list[LoadedModel] | None:
    """Load every model beside the event loop; None when told to stop meanwhile. Raises what loading raises."""
    models: list[LoadedModel] = []
    stopping = asyncio.ensure_future(stop.wait())
    for handle in handles:
        if not _now(dataplane, control, handle):
            continue
        loading = _beside(partial(load_weighed, load, handle))
        waited: set[asyncio.Future[Any]] = {loading, stopping}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            return None
        model = loading.result()
        dataplane.add(model)
        models.append(model)
        facts = {"model": model.name, "version": model.version, "variant": model.variant.name, **dataclasses.asdict(model.report)}
        _LOG.info("model ready", extra=facts)
    stopping.cancel()
    control.relabel()
    return models


def _now(dataplane: DataPlane, control: ModelControl, handle: PackageHandle) -> bool:
    """Whether to load a package at the start. What is not is asleep. Raises InsufficientMemory for what never fits."""
    reason = ON_FIRST_USE if dataplane.settings.load_on_first_use else ""
    if not reason:
        try:
            control.loader.check_room(handle)
        except InsufficientMemory as error:
            if never_fits(error):
                raise
            reason = NO_ROOM
            _LOG.warning(
                "there is no room for a model: it is loaded on its first use", extra={"model": str(handle.reference), "why": error.message}
            )
    if reason:
        dataplane.asleep.put(handle.reference.name, str(handle.reference.version or 1), reason, default=True)
        dataplane.prefer(handle.reference.name, str(handle.reference.version or 1))
    return not reason


def _beside(work: Callable[[], LoadedModel]) -> asyncio.Future[LoadedModel]:
    """Run blocking work in a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[LoadedModel] = loop.create_future()

    def run() -> None:
        try:
            model = work()
        except BaseException as error:  # noqa: BLE001  # whatever loading raises belongs to who waits for it
            settle = partial(done.set_exception, error)
        else:
            settle = partial(done.set_result, model)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name=LOADING, daemon=True).start()
    return done

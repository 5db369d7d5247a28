"""Serving from one process: open the packages, load them until each may answer, listen, and drain when told to stop. The composition root of the server."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from aweigh.app.logs import LogControl
from aweigh.app.repository import StoreRepository
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.lifecycle import Count, load_model
from aweigh.engine.model import LoadedModel
from aweigh.serve.guard import is_loopback
from aweigh.serve.memory import keep_freed_memory
from aweigh.serve.overview import ModelFacts
from aweigh.serve.server import HttpServer
from aweigh.serve.told import facts_of

_LOG = logging.getLogger("aweigh.server")
Ready = Callable[[int, Sequence[ModelFacts]], None]
"""Told the port and the models once the server answers."""


def run_server(settings: Settings, handles: Sequence[PackageHandle], *, ready: Ready, variant: str = "") -> None:
    """Serve until SIGTERM or SIGINT; returns after the drain. Raises PortInUse, or why a model may not answer.

    The port answers from the start: live at once, ready once every model has replayed its golden set.
    """
    dataplane = DataPlane(settings)
    control = make_control(settings, dataplane, variant)
    dataplane.control = control
    dataplane.logs = logs = LogControl(settings, allowed=_allowed(settings))
    server = HttpServer(dataplane)
    port = server.bind()
    try:
        run_loop(
            _serve(server, dataplane, [partial(load_model, handle, settings, variant=variant) for handle in handles], partial(ready, port))
        )
    finally:
        server.close()
        control.close()
        dataplane.close()
        logs.close()


def make_control(settings: Settings, dataplane: DataPlane, variant: str, *, count: Count | None = None) -> ModelControl:
    """What loads from the store of the home folder; `count` gives the statistics of what it loads."""
    load = (
        partial(load_model, settings=settings, variant=variant)
        if count is None
        else partial(load_model, settings=settings, variant=variant, count=count)
    )
    return ModelControl(dataplane, StoreRepository(settings), load, allowed=_allowed(settings))


def _allowed(settings: Settings) -> bool:
    """Whether the server may be changed by request, as the settings say: by themselves only where no stranger can ask for it."""
    safe = bool(settings.api_key_file) or is_loopback(settings.host)
    return settings.model_control == "on" or (settings.model_control == "auto" and safe)


async def _serve(
    server: HttpServer, dataplane: DataPlane, loads: Sequence[Callable[[], LoadedModel]], announce: Callable[[Sequence[ModelFacts]], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    await server.start()
    try:
        models = await _load(dataplane, loads, stop)
        if models is not None:
            dataplane.started = True
            gc.collect()
            gc.freeze()  # what was loaded stays: the collector need not walk it between requests
            announce([facts_of(model) for model in models])
            await stop.wait()
    finally:
        await server.stop()
    _LOG.info("stopped")


async def _load(dataplane: DataPlane, loads: Sequence[Callable[[], LoadedModel]], stop: asyncio.Event) -> list[LoadedModel] | None:
    """Load every model beside the event loop; None when told to stop meanwhile. Raises what loading raises."""
    models: list[LoadedModel] = []
    stopping = asyncio.ensure_future(stop.wait())
    for load in loads:
        loading = _beside(load)
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
    return models


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

    threading.Thread(target=run, name="aweigh-load", daemon=True).start()
    return done


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        raise SystemExit(128 + number)  # asked twice: at once
    _LOG.info("draining", extra={"signal": signal.Signals(number).name})
    stop.set()


def run_loop(main: Coroutine[None, None, None]) -> None:
    """On uvloop where it is installed, else on asyncio's own loop. The process is the server's own from here on."""
    keep_freed_memory()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    uvloop.run(main)

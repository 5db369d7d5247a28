"""Serving: open the packages, load them until each may answer, listen, and drain when told to stop. The composition root of the server."""

import asyncio
import dataclasses
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence

from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel
from aweigh.serve.server import HttpServer

_LOG = logging.getLogger("aweigh.server")
Ready = Callable[[int, list[LoadedModel]], None]
"""Told the port and the models once the server answers."""


def run_server(settings: Settings, handles: Sequence[PackageHandle], *, ready: Ready, variant: str = "") -> None:
    """Serve until SIGTERM or SIGINT; returns after the drain. Raises PortInUse, or why a model may not answer, before it listens."""
    dataplane = DataPlane(settings)
    server = HttpServer(dataplane)
    port = server.bind()
    try:
        models = [load_model(handle, settings, variant=variant) for handle in handles]
        for model in models:
            dataplane.add(model)
            report = dataclasses.asdict(model.report)
            _LOG.info("model ready", extra={"model": model.name, "version": model.version, "variant": model.variant.name, **report})
        _run(_serve(server, dataplane, lambda: ready(port, models)))
    finally:
        server.close()
        dataplane.close()


async def _serve(server: HttpServer, dataplane: DataPlane, announce: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    await server.start()
    dataplane.started = True
    gc.collect()
    gc.freeze()  # what was loaded stays: the collector need not walk it between requests
    announce()
    await stop.wait()
    await server.stop()
    _LOG.info("stopped")


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        raise SystemExit(128 + number)  # asked twice: at once
    _LOG.info("draining", extra={"signal": signal.Signals(number).name})
    stop.set()


def _run(main: Coroutine[None, None, None]) -> None:
    """On uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    uvloop.run(main)

"""Serving from several processes: take the port, and supervise workers until told to stop. Loads no model and little code: it stays small."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial

from aweigh.app.repository import StoreRepository
from aweigh.core.errors import InvalidSetting
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.serve.overview import ModelFacts
from aweigh.serve.sockets import bind
from aweigh.serve.workers.messages import Version
from aweigh.serve.workers.processes import give_back
from aweigh.serve.workers.supervisor import Supervisor

_LOG = logging.getLogger("aweigh.server")
Ready = Callable[[int, Sequence[ModelFacts]], None]
"""Told the port and the models once the server answers."""


def run_workers(settings: Settings, handles: Sequence[PackageHandle], *, ready: Ready, variant: str) -> None:
    """As `run_server`, from `settings.workers` processes. Raises what it raises, and ChildDied for a worker that ends before it could serve."""
    listening = bind(settings)
    port = int(listening.getsockname()[1])
    try:
        asyncio.run(_supervise(make_supervisor(settings, handles, listening, variant), partial(ready, port)))
    finally:
        listening.close()


def make_supervisor(settings: Settings, handles: Sequence[PackageHandle], listening: socket.socket, variant: str) -> Supervisor:
    """The supervisor of workers that serve these packages of the store. Raises InvalidSetting for what several workers cannot do."""
    if settings.shared_memory:
        raise InvalidSetting(
            "shared_memory needs one worker: a region is known to the process alone that it was registered with",
            hint="leave shared_memory off, or serve with --workers 1",
        )
    repository = StoreRepository(settings)

    def newest(name: str) -> int:
        return repository.open(name, None).reference.version or 1

    models = [Version(name=handle.reference.name, number=handle.reference.version or 1) for handle in handles]
    return Supervisor(settings, models, listening, module="aweigh.app.worker", variant=variant, newest=newest)


def _ready(announce: Callable[[Sequence[ModelFacts]], None], models: Sequence[ModelFacts]) -> None:
    announce(models)
    give_back()


async def _supervise(supervisor: Supervisor, ready: Callable[[Sequence[ModelFacts]], None]) -> None:
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def on_signal(number: int) -> None:
        if asked:
            supervisor.kill()
            raise SystemExit(128 + number)  # asked twice: at once
        asked.append(number)
        _LOG.info("draining", extra={"signal": signal.Signals(number).name})
        supervisor.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if not sys.stdin.isatty():  # at a terminal SIGHUP means that it was closed, and ends the server as ever
        loop.add_signal_handler(signal.SIGHUP, supervisor.roll)
    await supervisor.run(partial(_ready, ready))
    _LOG.info("stopped")

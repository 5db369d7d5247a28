"""Serving from several processes: take the port, and supervise workers until told to stop. Loads no model and little code: it stays small."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from aweigh.app.following import WorkersHands, make_follower
from aweigh.app.log_writer import lines_written_aside
from aweigh.app.repository import StoreRepository
from aweigh.app.rollouts import Rolled
from aweigh.core.errors import AweighError, InvalidSetting
from aweigh.core.fallback import check_fallbacks
from aweigh.core.plugins import plugin
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.follower import Followed, Follower
from aweigh.engine.slab import CELLS
from aweigh.engine.variants import choose_variant, environments_of
from aweigh.runtimes.homes import needs_environment
from aweigh.serve.overview import ModelFacts
from aweigh.serve.sockets import bind
from aweigh.serve.workers.forks import Starter
from aweigh.serve.workers.messages import Version
from aweigh.serve.workers.processes import give_back
from aweigh.serve.workers.supervisor import Supervisor

_LOG = logging.getLogger("aweigh.server")
Ready = Callable[[int, Sequence[ModelFacts]], None]
"""Told the port and the models once the server answers."""


def run_workers(
    settings: Settings, handles: Sequence[PackageHandle], *, ready: Ready, variant: str, followed: Mapping[str, Followed] | None = None
) -> None:
    """As `run_server`, from `settings.workers` processes. Raises what it raises, and ChildDied for a worker that ends before it could serve."""
    listening = bind(settings)
    port = int(listening.getsockname()[1])
    try:
        with lines_written_aside([0] * CELLS):
            supervisor = make_supervisor(settings, handles, listening, variant)
            follower = make_follower(settings, WorkersHands(supervisor.changes, supervisor.desired), followed or {})
            supervisor.changes.decided = follower.decided
            asyncio.run(_supervise(supervisor, follower, partial(ready, port)))
    finally:
        listening.close()


def make_supervisor(settings: Settings, handles: Sequence[PackageHandle], listening: socket.socket, variant: str) -> Supervisor:
    """The supervisor of workers that serve these packages of the store. Raises InvalidSetting for what several workers cannot do."""
    if settings.shared_memory:
        raise InvalidSetting(
            "shared_memory needs one worker: a region is known to the process alone that it was registered with",
            hint="leave shared_memory off, or serve with --workers 1",
        )
    check_fallbacks(settings, [(handle.reference.name, handle.manifest.signature) for handle in handles])
    repository = StoreRepository(settings)

    def newest(name: str) -> int:
        return repository.open(name, None).reference.version or 1

    models = [Version(name=handle.reference.name, number=handle.reference.version or 1) for handle in handles]
    starter = Starter("aweigh.app.worker", "aweigh.app.template", _runtimes(settings, handles, variant))
    return Supervisor(settings, models, listening, starter=starter, variant=variant, newest=newest, rolled=Rolled(settings))


def _runtimes(settings: Settings, handles: Sequence[PackageHandle], variant: str) -> list[str]:
    """What workers will import to run these packages, as far as it is run in the workers themselves."""
    names: dict[str, None] = {}
    for handle in handles:
        with contextlib.suppress(AweighError):  # the worker that is to load it says so
            chosen = choose_variant(handle.manifest, variant, environments=environments_of(settings))
            if not plugin("runtime", chosen.runtime).runs_code and not needs_environment(chosen.runtime):
                names[chosen.runtime] = None
    return list(names)


def _ready(announce: Callable[[Sequence[ModelFacts]], None], models: Sequence[ModelFacts]) -> None:
    announce(models)
    give_back()


async def _supervise(supervisor: Supervisor, follower: Follower, ready: Callable[[Sequence[ModelFacts]], None]) -> None:
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
    following = asyncio.ensure_future(follower.run())
    try:
        await supervisor.run(partial(_ready, ready))
    finally:
        following.cancel()
    _LOG.info("stopped")

"""Serving from one process: open the packages, load them until each may answer, listen, and drain when told to stop. The composition root of the server."""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial

from aweigh.app.following import make_follower
from aweigh.app.leaving import closed_at_the_end
from aweigh.app.log_writer import lines_written_aside
from aweigh.app.logs import LogControl
from aweigh.app.repository import StoreRepository
from aweigh.app.rollouts import Rolled
from aweigh.app.starting import OneProcessHands, load_all
from aweigh.core.fallback import check_fallbacks
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.fleet import OneProcess
from aweigh.engine.follower import Followed, Follower
from aweigh.engine.lifecycle import Count, count_alone, load_model
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.pool import Pool
from aweigh.engine.rollout_requests import Requested
from aweigh.engine.rollouts import Rollouts
from aweigh.serve.guard import is_loopback
from aweigh.serve.memory import keep_freed_memory
from aweigh.serve.overview import ModelFacts
from aweigh.serve.server import HttpServer
from aweigh.serve.told import facts_of

_LOG = logging.getLogger("aweigh.server")
Ready = Callable[[int, Sequence[ModelFacts]], None]
"""Told the port and the models once the server answers."""


def run_server(
    settings: Settings, handles: Sequence[PackageHandle], *, ready: Ready, variant: str = "", followed: Mapping[str, Followed] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; returns after the drain. Raises PortInUse, or why a model may not answer.

    The port answers from the start: live at once, ready once every model has replayed its golden set. Names that are `followed` change with
    the store.
    """
    check_fallbacks(settings, [(handle.reference.name, handle.manifest.signature) for handle in handles])
    dataplane = DataPlane(settings)
    pool = Pool()
    control = make_control(settings, dataplane, variant, pool=pool)
    dataplane.control = control
    rollouts = make_rollouts(settings, dataplane, control)
    dataplane.logs = logs = LogControl(settings, allowed=_allowed(settings))
    server = HttpServer(dataplane)
    port = server.bind()
    with closed_at_the_end(dataplane, control, server, logs):
        load = partial(load_model, settings=settings, variant=variant, pool=pool)
        start = partial(load_all, dataplane, control, handles, load)
        follower = make_follower(settings, OneProcessHands(dataplane, control), followed or {})
        control.decided = follower.decided
        with lines_written_aside(dataplane.counts):
            run_loop(_serve(server, dataplane, start, rollouts, follower, partial(ready, port)))


def make_control(
    settings: Settings, dataplane: DataPlane, variant: str, *, count: Count = count_alone, pool: Pool | None = None
) -> ModelControl:
    """What loads from the store of the home folder; `count` gives the statistics of what it loads, `pool` is where sessions are shared."""
    load = partial(load_model, settings=settings, variant=variant, count=count, pool=pool or Pool())
    return ModelControl(dataplane, StoreRepository(settings), load, allowed=_allowed(settings))


def make_rollouts(settings: Settings, dataplane: DataPlane, control: ModelControl) -> Rollouts:
    """What moves a name from version to version in a server of one process, as its home folder remembers."""
    fleet = OneProcess(dataplane, control)
    rollouts = Rollouts(fleet, Rolled(settings))
    fleet.alarm = rollouts.alarm
    control.rolled = rollouts.rolls
    dataplane.rollouts = Requested(rollouts, control.check_allowed)
    return rollouts


def _allowed(settings: Settings) -> bool:
    """Whether the server may be changed by request, as the settings say: by themselves only where no stranger can ask for it."""
    safe = bool(settings.api_key_file) or is_loopback(settings.host)
    return settings.model_control == "on" or (settings.model_control == "auto" and safe)


async def _serve(
    server: HttpServer,
    dataplane: DataPlane,
    start: Callable[[asyncio.Event], Awaitable[list[LoadedModel] | None]],
    rollouts: Rollouts,
    follower: Follower,
    announce: Callable[[Sequence[ModelFacts]], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    await server.start()
    try:
        models = await start(stop)
        if models is not None:
            await rollouts.recall()
            dataplane.started = True
            gc.collect()
            gc.freeze()  # what was loaded stays: the collector need not walk it between requests
            announce([facts_of(model) for model in models])
            beside = [asyncio.ensure_future(rollouts.resume()), asyncio.ensure_future(follower.run())]
            await stop.wait()
            for each in beside:
                each.cancel()
    finally:
        rollouts.close()
        await server.stop()
    _LOG.info("stopped")


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
